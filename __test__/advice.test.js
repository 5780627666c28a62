'use strict'

// The advice in health(): each is provoked once, and is absent from a cache that does the same as it should.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { openCache, openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const logger = { error() {}, warn() {}, info() {}, debug() {} }
/** More reads than the rules wait for. */
const READS = 1_200
/** More commands than they wait for. */
const COMMANDS = 5_400

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** A cache with a logger, so that nothing is to be advised of it yet. */
async function opened(t, options, on = server) {
  const cache = await openOn(t, on, { logger, ...options })
  assert.deepEqual(cache.health().cache.advice, [])
  return cache
}

function codes(cache) {
  return cache.health().cache.advice.map(({ code }) => code)
}

/** The message of the only advice, which has `code`. */
function only(cache, code) {
  assert.deepEqual(codes(cache), [code])
  const [{ message }] = cache.health().cache.advice
  assert.match(message, /^.{20,}\.$/)
  return message
}

function names(count, prefix = 'key') {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index}`)
}

describe('options that are probably mistakes', () => {
  test('no-logger', async (t) => {
    only(await openOn(t, server), 'no-logger')
  })

  test('namespace-empty, but not without Redis', async (t) => {
    only(await openOn(t, server, { logger, namespace: '' }), 'namespace-empty')
    assert.deepEqual(codes(openCache(t, { logger })), [])
  })

  test('ttl-looks-like-seconds, in the options or in a call', async (t) => {
    only(openCache(t, { logger, l2: { ttl: 60 } }), 'ttl-looks-like-seconds')
    const cache = await opened(t)
    await cache.set('key', 1, { ttl: 1_000 })
    assert.deepEqual(codes(cache), [])
    await cache.set('key', 1, { ttl: 999 })
    only(cache, 'ttl-looks-like-seconds')
  })
})

describe('L1', () => {
  const keys = names(2 * READS)

  test('hit-rate-low-at-full-l1 if it is too small for what is read', async (t) => {
    const cache = openCache(t, { logger, l1: { maxBytes: 256 * 1024 } })
    await cache.setMany(keys.map((key) => [key, key]))
    await cache.getMany(keys)
    assert.match(only(cache, 'hit-rate-low-at-full-l1'), /l1\.maxBytes/)
  })

  test('nothing if it has room, or if it is full and answers most', async (t) => {
    const roomy = openCache(t, { logger })
    await roomy.setMany(keys.map((key) => [key, key]))
    await roomy.getMany(names(2 * READS, 'none'))
    assert.deepEqual(codes(roomy), [])
    const full = openCache(t, { logger, l1: { maxBytes: 256 * 1024 } })
    await full.setMany(keys.map((key) => [key, key]))
    await full.getMany(Array.from({ length: READS }, () => keys.at(-1)))
    assert.deepEqual(codes(full), [])
  })

  /** Reads keys twelve times, each time after L1 let go of them if `expired`. */
  async function readTwelveTimes(cache, { expired = false } = {}) {
    const few = names(READS / 12)
    await cache.setMany(few.map((key) => [key, key]))
    for (let round = 0; round < 12; round++) {
      if (expired) await until(() => few.every((key) => cache.peek(key) === undefined))
      await cache.getMany(few)
    }
  }

  test('l1-ttl-short if what it let go comes back from Redis unchanged', async (t) => {
    const cache = await opened(t, { l1: { ttl: 20 } })
    await readTwelveTimes(cache, { expired: true })
    assert.match(only(cache, 'l1-ttl-short'), /20 ms/)
  })

  test('nothing if it answers, or if Redis keeps entries for hardly longer', async (t) => {
    const long = await opened(t)
    await readTwelveTimes(long)
    assert.deepEqual(codes(long), [])
    const alike = await opened(t, { l1: { ttl: 300 }, l2: { ttl: 1_000 } })
    const few = names(READS)
    await alike.setMany(few.map((key) => [key, key]))
    await until(() => few.every((key) => alike.peek(key) === undefined))
    await alike.getMany(few)
    assert.deepEqual(codes(alike), [])
  })
})

describe('one-command-dominates', () => {
  test('if nearly all are increments', async (t) => {
    const cache = await opened(t)
    await Promise.all(names(COMMANDS).map((key) => cache.increment(key)))
    assert.match(only(cache, 'one-command-dominates'), /increments/)
  })

  test('if nearly all are single reads that memory cannot answer, but not if they are joined', async (t) => {
    const single = await opened(t, { l1: false })
    for (const key of names(COMMANDS)) await single.get(key)
    assert.match(only(single, 'one-command-dominates'), /getMany/)
    const joined = await opened(t, { l1: false })
    for (let index = 0; index < COMMANDS; index++) await joined.getMany(names(2))
    assert.deepEqual(codes(joined), [])
  })

  test('nothing if they are mixed', async (t) => {
    const cache = await opened(t)
    const keys = names(COMMANDS / 2)
    await Promise.all(keys.flatMap((key) => [cache.increment(key), cache.set(`${key}-value`, key)]))
    assert.deepEqual(codes(cache), [])
  })
})

test('value-near-limit if a value is larger than four fifths of l2.maxValueBytes', async (t) => {
  const cache = await opened(t, { l2: { maxValueBytes: 10_000 } })
  await cache.set('key', Buffer.alloc(8_000))
  assert.deepEqual(codes(cache), [])
  await cache.set('key', Buffer.alloc(8_001))
  assert.match(only(cache, 'value-near-limit'), /8001 bytes/)
})

describe('pattern-scans-much', () => {
  /** Makes 60,000 keys that begin with `prefix`. */
  async function populate(t, prefix) {
    const own = await startRedis()
    t.after(() => own.stop())
    const script = "for n = 1, 60000 do redis.call('SET', ARGV[1] .. n, 1) end"
    await own.command('EVAL', script, '0', prefix)
    return own
  }

  test('if a pattern finds next to nothing among many keys', async (t) => {
    const cache = await opened(t, {}, await populate(t, 'other:'))
    await cache.set('key-1', 1)
    assert.equal(await cache.deletePattern('key-*'), 1)
    assert.match(only(cache, 'pattern-scans-much'), /deletePattern/)
  })

  test('nothing if what is looked at is what is searched for', async (t) => {
    const cache = await opened(t, { namespace: 'own' }, await populate(t, 'own:key-'))
    let found = 0
    for await (const _ of cache.keys('key-*')) found++
    assert.equal(found, 60_000)
    assert.ok(!codes(cache).includes('pattern-scans-much'))
  })
})

describe("the server's limits", () => {
  test('quota-nearly-used from the first share of warnAt on', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const quota = { commands: 200, window: 'day', warnAt: [0.5, 0.9] }
    const cache = await opened(t, { l1: false, quota }, own)
    for (let index = 0; index < 60; index++) await cache.get('none')
    assert.deepEqual(codes(cache), [])
    for (let index = 0; index < 60; index++) await cache.get('none')
    await until(() => codes(cache).length > 0)
    assert.match(only(cache, 'quota-nearly-used'), /%/)
  })

  test('connections-nearly-used, by what the server says of itself', async (t) => {
    const own = await startRedis({ args: ['--maxclients', '20'] })
    t.after(() => own.stop())
    const cache = await opened(t, { health: { interval: 50 } }, own)
    await until(() => cache.health().cache.l2.total_keys !== null)
    assert.deepEqual(codes(cache), [])
    const clients = await Promise.all(Array.from({ length: 16 }, () => own.connect()))
    t.after(() => clients.forEach((client) => client.close()))
    await until(() => codes(cache).length > 0)
    only(cache, 'connections-nearly-used')
  })
})
