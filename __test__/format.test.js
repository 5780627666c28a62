'use strict'

// What stands in Redis: how entries are written, what of other programs' keys can be read, and how few commands it takes.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** How often each command of `names` is called while `work` runs. */
async function callsDuring(names, work) {
  const count = () => Promise.all(names.map((name) => server.calls(name)))
  const earlier = await count()
  await work()
  const later = await count()
  return Object.fromEntries(names.map((name, index) => [name, later[index] - earlier[index]]))
}

describe('what other programs wrote is read', () => {
  const texts = [
    ['{"id":1,"tags":["a"]}', { id: 1, tags: ['a'] }],
    ['[1,null]', [1, null]],
    ['"quoted"', 'quoted'],
    ['true', true],
    ['false', false],
    ['null', null],
    ['42', 42],
    ['-7', -7],
    ['007', '007'],
    ['1.5', '1.5'],
    ['9007199254740993', '9007199254740993'],
    ['plain text', 'plain text'],
    ['{not json', '{not json'],
    ['', ''],
  ]
  for (const [text, value] of texts) {
    test(`the text ${JSON.stringify(text)}`, async (t) => {
      const cache = await openOn(t, server, { l1: false })
      await server.command('SET', `${cache.prefix}key`, text)
      assert.deepEqual(await cache.get('key'), value)
    })
  }

  test('with a life of its own, in L1 for five seconds at most', async (t) => {
    const cache = await openOn(t, server, { l1: { plainTtl: 150 } })
    await server.command('SET', `${cache.prefix}key`, '"old"')
    assert.equal(await cache.get('key'), 'old')
    await server.command('SET', `${cache.prefix}key`, '"new"')
    await until(async () => (await cache.get('key')) === 'new', { timeout: 2_000 })
  })

  test('and bytes that are no text are there as a buffer', async (t) => {
    const cache = await openOn(t, server)
    const bytes = Buffer.from([0x00, 0x9f, 0x92, 0x96])
    await server.command('SET', `${cache.prefix}key`, bytes)
    assert.deepEqual(await cache.get('key', { as: 'buffer' }), bytes)
  })
})

describe('what is written', () => {
  test('plain format is exactly JSON.stringify', async (t) => {
    const cache = await openOn(t, server, { l2: { format: 'plain' } })
    const values = {
      object: { a: [1, 'x'] },
      text: 'hello',
      yes: true,
      nothing: null,
      float: 1.5,
      integer: 12,
    }
    await cache.setMany(values)
    for (const [key, value] of Object.entries(values)) {
      assert.equal(await server.command('GET', cache.prefix + key), JSON.stringify(value))
      assert.deepEqual(await cache.get(key), value)
    }
  })

  test('plain format refuses what JSON has no words for', async (t) => {
    const cache = await openOn(t, server, { l2: { format: 'plain' } })
    for (const value of [Buffer.from('x'), new Map(), new Set(), 1n]) {
      await assert.rejects(cache.set('key', value), { code: 'ERR_CACHE_VALUE' })
    }
    await assert.rejects(cache.set('key', 1, { staleFor: 1_000 }), { code: 'ERR_CACHE_OPTIONS' })
  })

  test('integers are digits, everything else is an envelope that says who wrote it', async (t) => {
    const cache = await openOn(t, server)
    await cache.setMany({ integer: 42, object: { a: 1 } })
    assert.equal(await server.command('GET', `${cache.prefix}integer`), '42')
    const envelope = await server.buffers('GET', `${cache.prefix}object`)
    assert.ok(envelope.includes('{"a":1}'))
    assert.ok(envelope.length > '{"a":1}'.length)
  })

  test('a TTL is the life in Redis, and ttl: null is a life without end', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('short', { a: 1 }, { ttl: 20_000, jitter: 0 })
    await cache.set('forever', { a: 1 }, { ttl: null })
    const ttl = await server.command('PTTL', `${cache.prefix}short`)
    assert.ok(ttl > 15_000 && ttl <= 20_000, `${ttl} ms`)
    assert.equal(await server.command('PTTL', `${cache.prefix}forever`), -1)
  })

  test('jitter shortens lives by up to a tenth, each by its own share', async (t) => {
    const cache = await openOn(t, server)
    await cache.setMany(
      Array.from({ length: 50 }, (_, index) => [`key-${index}`, { index }]),
      { ttl: 100_000 },
    )
    const lives = await Promise.all(
      Array.from({ length: 50 }, (_, index) => server.command('PTTL', `${cache.prefix}key-${index}`)),
    )
    assert.ok(Math.max(...lives) <= 100_000 && Math.min(...lives) > 89_000)
    assert.ok(Math.max(...lives) - Math.min(...lives) > 1_000, 'they differ')
  })

  test('keyPrefix is used as it is', async (t) => {
    const cache = await openOn(t, server, {
      namespace: undefined,
      redis: { url: server.url, keyPrefix: 'old-app-' },
    })
    await cache.set('key', 1)
    assert.equal(await server.command('GET', 'old-app-key'), '1')
  })
})

describe('what cannot be read is a miss', () => {
  test('a damaged envelope is counted and removed', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    await cache.set('key', { a: 1 })
    const envelope = await server.buffers('GET', `${cache.prefix}key`)
    for (const damaged of [
      envelope.subarray(0, 8),
      Buffer.concat([envelope.subarray(0, 12), Buffer.from('x')]),
    ]) {
      await server.command('SET', `${cache.prefix}key`, damaged)
      assert.equal(await cache.get('key'), undefined)
      await until(async () => (await server.command('EXISTS', `${cache.prefix}key`)) === 0)
    }
    assert.doesNotMatch(cache.metrics(), /cache_l2_errors_total\{[^}]*class="corrupt"[^}]*\} 0/)
    await cache.set('key', 'again')
    assert.equal(await cache.get('key'), 'again')
  })

  test('the envelope of another key is a miss', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    await cache.set('one', { a: 1 })
    await server.command('SET', `${cache.prefix}two`, await server.buffers('GET', `${cache.prefix}one`))
    assert.equal(await cache.get('two'), undefined)
  })

  test('a key of another type is a miss, counted as such, alone and among others', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    await server.command('RPUSH', `${cache.prefix}list`, 'x')
    await cache.set('good', 1)
    assert.equal(await cache.get('list'), undefined)
    assert.deepEqual(await cache.getMany(['list', 'good']), [undefined, 1])
    assert.match(cache.metrics(), /cache_l2_errors_total\{[^}]*class="type"[^}]*\} [1-9]/)
    assert.equal(await server.command('TYPE', `${cache.prefix}list`), 'list')
  })
})

describe('commands are few', () => {
  test('getMany is one MGET of what L1 lacks', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('here', 1)
    const calls = await callsDuring(['mget', 'get'], () => cache.getMany(['here', 'b', 'c', 'b']))
    assert.deepEqual(calls, { mget: 1, get: 0 })
  })

  test('a thousand gets of one tick are a handful of commands', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    const keys = Array.from({ length: 1000 }, (_, index) => `key-${index}`)
    const calls = await callsDuring(['mget', 'get'], () => Promise.all(keys.map((key) => cache.get(key))))
    assert.ok(calls.mget + calls.get <= 20, JSON.stringify(calls))
  })

  test('the same key asked a hundred times at once is asked once', async (t) => {
    const cache = await openOn(t, server)
    const calls = await callsDuring(['mget', 'get'], () =>
      Promise.all(Array.from({ length: 100 }, () => cache.get('same'))),
    )
    assert.equal(calls.mget + calls.get, 1)
  })

  test('a hit in L1 sends nothing', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('key', 1)
    const before = await server.info('total_commands_processed')
    for (let n = 0; n < 100; n++) await cache.get('key')
    assert.equal(Number(await server.info('total_commands_processed')) - Number(before), 1)
  })

  test('patterns use SCAN and UNLINK, never KEYS or DEL', async (t) => {
    const cache = await openOn(t, server)
    await cache.setMany(Array.from({ length: 3000 }, (_, index) => [`key-${index}`, 1]))
    const calls = await callsDuring(['scan', 'unlink', 'keys', 'del', 'flushdb'], async () => {
      assert.equal(await cache.deletePattern('key-1*'), 1111)
      await cache.clear()
    })
    assert.ok(calls.scan > 0 && calls.unlink > 0)
    assert.deepEqual([calls.keys, calls.del, calls.flushdb], [0, 0, 0])
    assert.deepEqual(await server.command('KEYS', `${cache.prefix}key*`), [])
  })

  test('a glob that begins with the namespace raises a warning', async (t) => {
    const cache = await openOn(t, server)
    const warnings = []
    cache.on('warning', (warning) => warnings.push(warning))
    await cache.deletePattern(`${cache.prefix}user:*`)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0].message, /namespace/)
  })
})
