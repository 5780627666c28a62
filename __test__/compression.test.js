'use strict'

// Large values on their way to Redis and back: what is compressed, who reads it, and what is not unpacked.

const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')
const { after, before, describe, test } = require('node:test')
const { crc32 } = require('node:zlib')
const { openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const MIB = 2 ** 20

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const sizeOf = (cache, key) => server.command('STRLEN', cache.prefix + key)

/** An entry of kind text that lives for ever, whose payload is said to be an LZ4 block of so many bytes. */
function packed(key, size, block) {
  const entry = Buffer.concat([Buffer.from('f5ec0182', 'hex'), Buffer.alloc(20), block])
  entry.writeUIntLE(Date.now(), 4, 6)
  entry.writeUInt32LE(size, 20)
  entry.writeUInt32LE(crc32(Buffer.concat([entry.subarray(3, 4), Buffer.from(key), entry.subarray(20)])), 16)
  return entry
}

/** A block that unpacks to 19 and `more` times 255 bytes and one: a letter, itself again, and the letter as the end. */
const bomb = (more) =>
  Buffer.concat([Buffer.from('1f780100', 'hex'), Buffer.alloc(more, 255), Buffer.from('001078', 'hex')])
const sizeOfBomb = (more) => 1 + 19 + 255 * more + 1

describe('with compress', () => {
  const values = {
    json: Array.from({ length: 200 }, (_, id) => ({ id, name: 'Kettle, 1.2 l, brushed' })),
    text: 'grüezi '.repeat(1_000),
    bytes: Buffer.alloc(20_000, 'abc'),
    rich: { when: new Date(0), all: new Map(Array.from({ length: 200 }, (_, n) => [n, 'the same'])) },
  }
  for (const [name, value] of Object.entries(values)) {
    test(`${name} is shorter in Redis and the same for every reader`, async (t) => {
      const [writer, plain] = [
        await openOn(t, server, { l2: { compress: true } }),
        await openOn(t, server, { l1: false }),
      ]
      await writer.set('k', value)
      await plain.set('k', value)
      const [short, long] = [await sizeOf(writer, 'k'), await sizeOf(plain, 'k')]
      assert.ok(short < long / 3, `${short} of ${long} bytes`)
      const reader = await openOn(t, server, { l1: false, namespace: writer.prefix.slice(0, -1) })
      assert.deepEqual(await reader.get('k'), value)
      assert.deepEqual(await reader.getMany(['k', 'none']), [value, undefined])
      assert.deepEqual(await reader.getOrSet('k', () => assert.fail('it is there')), value)
    })
  }

  test('what is small, and what would not become shorter, stays as it is', async (t) => {
    const cache = await openOn(t, server, { l2: { compress: { above: 100 } } })
    const noise = randomBytes(5_000)
    await cache.setMany({ small: 'x'.repeat(100), large: 'x'.repeat(101), noise })
    assert.equal(await sizeOf(cache, 'small'), 120)
    assert.ok((await sizeOf(cache, 'large')) < 60)
    assert.equal(await sizeOf(cache, 'noise'), 5_020)
  })

  test('an entry has its life, its tags and its stale value as any other', async (t) => {
    const cache = await openOn(t, server, { l1: false, l2: { compress: true } })
    const value = 'x'.repeat(2_000)
    await cache.set('k', value, { ttl: 60_000, staleFor: 60_000, tags: ['t'] })
    assert.equal(await cache.touch('k', 90_000), true)
    assert.ok((await cache.ttl('k')) > 60_000)
    await cache.markStale('k')
    assert.equal(await cache.get('k'), undefined)
    assert.equal(await cache.getOrSet('k', () => Promise.reject(new Error('away'))), value)
    await cache.invalidateTags('t')
    await assert.rejects(
      cache.getOrSet('k', () => Promise.reject(new Error('away'))),
      /away/,
    )
  })

  test('the limit of a value is that of its own size', async (t) => {
    const cache = await openOn(t, server, { l2: { compress: true, maxValueBytes: 5_000 } })
    await cache.set('k', 'x'.repeat(5_001))
    assert.equal(await sizeOf(cache, 'k'), 0)
    await cache.set('k', 'x'.repeat(5_000))
    assert.ok((await sizeOf(cache, 'k')) > 0)
  })
})

describe('what is read', () => {
  test('is unpacked up to 16 MiB, whatever the reader compresses, and above that a miss which is left alone', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    const most = Math.floor((16 * MIB - 21) / 255)
    for (const more of [most, most + 1, 500_000]) {
      const key = `${cache.prefix}bomb`
      const entry = packed(key, sizeOfBomb(more), bomb(more))
      await server.command('SET', key, entry)
      const value = await cache.get('bomb')
      assert.equal(value?.length, more === most ? sizeOfBomb(more) : undefined)
      assert.equal(await server.command('STRLEN', key), entry.length)
    }
    assert.equal(cache.stats().l2Errors, 0)
  })

  test('is unpacked further where values may be larger', async (t) => {
    const cache = await openOn(t, server, { l1: false, l2: { maxValueBytes: 20 * MIB } })
    const more = Math.floor((20 * MIB - 21) / 255)
    const key = `${cache.prefix}bomb`
    await server.command('SET', key, packed(key, sizeOfBomb(more), bomb(more)))
    assert.equal((await cache.get('bomb', { as: 'string' })).length, sizeOfBomb(more))
  })

  test('and found to be no block, or one of another size, is damaged: a miss that is counted and removed', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    const key = `${cache.prefix}lie`
    const lies = [
      packed(key, 10, Buffer.from('ffffffff', 'hex')),
      packed(key, sizeOfBomb(10) - 1, bomb(10)),
      packed(key, sizeOfBomb(10) + 1, bomb(10)),
    ]
    for (const [index, lie] of lies.entries()) {
      await server.command('SET', key, lie)
      assert.equal(await cache.get('lie'), undefined)
      await until(async () => (await server.command('EXISTS', key)) === 0)
      assert.equal(cache.stats().l2Errors, index + 1)
    }
  })
})
