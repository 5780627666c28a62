'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
  test('without a TTL an entry lives for the default, a random tenth of it less', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1)
    const ttl = await cache.ttl('key')
    assert.ok(ttl > 269_000 && ttl <= 300_000, `${ttl} ms`)
  })

  test('a TTL is what ttl() tells', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { ttl: 10_000, jitter: 0 })
    const ttl = await cache.ttl('key')
    assert.ok(ttl > 9_000 && ttl <= 10_000, `${ttl} ms`)
  })

  test('ttl: null never expires', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { ttl: null })
    assert.equal(await cache.ttl('key'), null)
  })

  test('an entry past its TTL is gone for every reader', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { ttl: 200, jitter: 0 })
    assert.equal(await cache.get('key'), 1)
    await until(async () => (await cache.get('key')) === undefined, { timeout: 2_000 })
    assert.deepEqual(await cache.getMany(['key']), [undefined])
    assert.equal(await cache.has('key'), false)
    assert.equal(await cache.ttl('key'), undefined)
    assert.equal(cache.peek('key'), undefined)
  })

  test('touch gives an entry a new life, exactly', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { ttl: 5_000 })
    assert.equal(await cache.touch('key', 60_000), true)
    const ttl = await cache.ttl('key')
    assert.ok(ttl > 59_000 && ttl <= 60_000, `${ttl} ms`)
    assert.equal(await cache.touch('key', null), true)
    assert.equal(await cache.ttl('key'), null)
    assert.equal(await cache.get('key'), 1)
    assert.equal(await cache.touch('none', 5_000), false)
  })

  test('a shorter touch ends the life that was longer', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', { n: 1 })
    assert.equal(await cache.touch('key', 150), true)
    await until(async () => (await cache.get('key')) === undefined, { timeout: 2_000 })
  })

  test('markStale ends the freshness of an entry', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { staleFor: 60_000 })
    assert.equal(await cache.markStale('key'), true)
    assert.equal(await cache.get('key'), undefined)
    assert.equal(await cache.markStale('none'), false)
  })

  for (const ttl of [0, -1, NaN, Infinity, '60', true]) {
    test(`a ttl of ${typeof ttl} ${ttl} is refused`, async (t) => {
      const cache = await kind.open(t)
      const refused = cacheError('ERR_CACHE_OPTIONS', /ttl/)
      await assert.rejects(cache.set('key', 1, { ttl }), refused)
      await assert.rejects(cache.touch('key', ttl), refused)
      await assert.rejects(
        cache.getOrSet('key', () => 1, { ttl }),
        refused,
      )
    })
  }

  test('a TTL that looks like seconds raises an advice', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { ttl: 60 })
    const codes = cache.health().cache.advice.map(({ code }) => code)
    assert.ok(codes.includes('ttl-looks-like-seconds'), codes.join())
  })
}
