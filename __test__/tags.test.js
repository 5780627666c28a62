'use strict'

// Tags across processes: who hears of an invalidation and when, what becomes of one while Redis is away, and what tags cost
// in commands. What they mean within one cache is in contract/tags.js.

const assert = require('node:assert/strict')
const { performance } = require('node:perf_hooks')
const { after, before, describe, test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { monitor } = require('./support/monitor.js')
const { gated } = require('./support/origin.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const RED = { tags: ['red'] }
/** How long an entry may outlive its tag where nobody tells of changes. */
const DEAF_MS = 600
const WAYS = {
  tracking: { ttl: 600_000 },
  pubsub: { ttl: 600_000 },
  off: { ttl: DEAF_MS },
}

let server
before(async () => {
  // What is written survives a kill.
  server = await startRedis({ persist: true })
})
after(() => server.stop())

const stream = (cache) => cache.health().cache.l2.invalidation

/** Two caches as two processes would have them, once they hear of each other in their way. */
async function pair(t, way, options = {}) {
  const shared = { namespace: ownNamespace(), invalidation: way, l1: WAYS[way], jitter: 0, ...options }
  const caches = await Promise.all([openOn(t, server, shared), openOn(t, server, shared)])
  for (const cache of caches) await until(() => stream(cache).mode === way)
  return caches
}

/** Until both have `key` in L1. */
async function inBoth(caches, key, value) {
  for (const cache of caches)
    await until(async () => (await cache.get(key)) === value && cache.peek(key) === value)
}

for (const way of Object.keys(WAYS)) {
  describe(way, () => {
    const latest = way === 'off' ? DEAF_MS + 400 : 2_000

    test('what is invalidated in one process is gone in the other', async (t) => {
      const caches = await pair(t, way)
      const [a, b] = caches
      await a.set('key', 'old', RED)
      await a.set('other', 'stays', { tags: ['blue'] })
      await inBoth(caches, 'key', 'old')
      await a.invalidateTags('red')
      assert.equal(await a.get('key'), undefined)
      await until(async () => (await b.get('key')) === undefined, { timeout: latest })
      assert.equal(await b.get('other'), 'stays')
      assert.equal(await b.getOrSet('key', () => 'new', RED), 'new')
      await b.settled()
      assert.equal(await a.get('key'), 'new')
    })

    test('a tag whose version is gone from Redis makes its entries misses', async (t) => {
      // Messages tell of what caches change, and of nothing else.
      const l1 = way === 'tracking' ? WAYS[way] : WAYS.off
      const caches = await pair(t, way, { l1 })
      const [a, b] = caches
      const bound = way === 'pubsub' ? 2 * DEAF_MS + 400 : latest
      await a.set('key', 'old', RED)
      await inBoth(caches, 'key', 'old')
      // As an eviction does.
      assert.equal(await server.command('DEL', `${a.prefix}~tag:red`), 1)
      for (const cache of caches)
        await until(async () => (await cache.get('key')) === undefined, { timeout: bound })
      await b.set('key', 'new', RED)
      for (const cache of caches)
        await until(async () => (await cache.get('key')) === 'new', { timeout: bound })
    })

    test('what a factory made in one process goes by the tag that another invalidates meanwhile', async (t) => {
      const [a, b] = await pair(t, way)
      await a.set('first', 1, RED)
      await until(async () => (await b.get('first')) === 1)
      const slow = gated()
      const made = b.getOrSet('key', slow.make, { ...RED, factoryTimeout: 5_000 })
      await until(() => slow.calls === 1)
      await a.invalidateTags('red')
      await until(async () => (await b.get('first')) === undefined, { timeout: latest })
      slow.open('from before')
      assert.equal(await made, 'from before')
      await b.settled()
      assert.equal(await a.get('key'), undefined)
      assert.equal(await b.get('key'), undefined)
    })

    test('an outage: what is invalidated here meanwhile is gone here at once, and for all after the return', async (t) => {
      const caches = await pair(t, way)
      const [a, b] = caches
      await a.set('key', 'old', RED)
      await a.set('other', 'stays', { tags: ['blue'] })
      await inBoth(caches, 'key', 'old')
      await server.kill()
      await until(() => a.state !== 'up' && b.state !== 'up')
      await a.invalidateTags('red')
      assert.equal(await a.get('key'), undefined)
      assert.equal(await a.getOrSet('key', () => 'of the outage', RED), 'of the outage')
      assert.equal(a.health().cache.pending_invalidations > 0, true)
      await server.restart()
      await until(() => a.state === 'up' && b.state === 'up')
      await a.settled({ timeout: 5_000 })
      assert.equal(await a.get('key'), undefined, 'neither the old nor what the outage made')
      await until(async () => (await b.get('key')) === undefined, { timeout: latest })
      for (const cache of caches) {
        assert.equal(await cache.getOrSet('key', () => 'new', RED), 'new')
        await cache.settled()
        assert.equal(await cache.get('other'), 'stays')
      }
    })
  })
}

test('off: a version that is believed does not let an entry outlive its tag by more than l1.ttl', async (t) => {
  const [a, b] = await pair(t, 'off')
  await a.setMany({ first: 1, second: 2 }, RED)
  assert.equal(await b.get('first'), 1)
  const heard = performance.now()
  await a.invalidateTags('red')
  const invalidated = performance.now()
  await until(() => performance.now() - heard > 0.75 * DEAF_MS)
  // The version that was heard is still believed, so this is a hit.
  await b.get('second')
  await until(async () => (await b.get('second')) === undefined)
  const ms = performance.now() - invalidated
  assert.ok(ms < DEAF_MS + 100, `${ms} ms`)
})

test('a server that hangs: an invalidation is journaled and holds after its return', async (t) => {
  const caches = await pair(t, 'tracking', { l2: { timeout: 300 } })
  const [a, b] = caches
  await a.set('key', 'old', RED)
  await inBoth(caches, 'key', 'old')
  server.freeze()
  try {
    await a.invalidateTags('red')
    assert.equal(await a.get('key'), undefined)
    const strict = a.invalidateTags('red', { strict: true })
    await assert.rejects(strict, { code: /ERR_CACHE_(TIMEOUT|L2_UNAVAILABLE)/ })
  } finally {
    server.thaw()
  }
  await until(() => a.state === 'up' && b.state === 'up')
  await a.settled({ timeout: 5_000 })
  for (const cache of caches)
    await until(async () => (await cache.get('key')) === undefined, { timeout: 2_000 })
})

test('in forced memory mode tags act here, and are made up for in Redis', async (t) => {
  const caches = await pair(t, 'tracking')
  const [a, b] = caches
  await a.set('key', 'old', RED)
  await inBoth(caches, 'key', 'old')
  a.setMemoryMode(true)
  await a.set('here', 1, RED)
  await a.invalidateTags('red')
  assert.deepEqual(await a.getMany(['key', 'here']), [undefined, undefined])
  a.setMemoryMode(false)
  await until(() => a.state === 'up')
  await a.settled({ timeout: 5_000 })
  assert.equal(await a.get('key'), undefined)
  await until(async () => (await b.get('key')) === undefined, { timeout: 2_000 })
})

test('a read that crosses an invalidation never leaves the entry in L1', async (t) => {
  const [a, b] = await pair(t, 'tracking')
  for (let n = 1; n <= 150; n++) {
    await a.set('key', n, RED)
    const reads = [b.get('key'), b.get('key')]
    await Promise.all([a.invalidateTags('red'), ...reads, b.get('key')])
    await until(async () => (await b.get('key')) === undefined, { timeout: 2_000, message: `round ${n}` })
  }
})

test('an entry of one version is a miss under another, in a process that knew neither', async (t) => {
  const [a] = await pair(t, 'tracking')
  await a.set('key', 'old', RED)
  await server.command('SET', `${a.prefix}~tag:red`, '4711')
  const late = await openOn(t, server, { namespace: a.prefix.slice(0, -1), l1: false })
  assert.equal(await late.get('key'), undefined)
  assert.equal(await late.has('key'), false)
  await late.set('key', 'new', RED)
  assert.equal(await late.get('key'), 'new')
  assert.equal(await server.command('GET', `${a.prefix}~tag:red`), '4711', 'whoever is there keeps it')
})

test('a tag outlives the entries that carry it', async (t) => {
  const [a] = await pair(t, 'tracking')
  const life = async (tag) => server.command('PTTL', `${a.prefix}~tag:${tag}`)
  await a.set('brief', 1, { tags: ['brief'], ttl: 60_000 })
  assert.ok((await life('brief')) >= 24 * 3_600_000 - 10_000)
  const week = 7 * 24 * 3_600_000
  await a.set('long', 1, { tags: ['brief'], ttl: week, staleFor: week })
  assert.ok((await life('brief')) > 2 * week)
  await a.set('for ever', 1, { tags: ['brief'], ttl: null })
  assert.equal(await life('brief'), -1)
})

describe('what tags cost', () => {
  /** A cache, and what it sends. */
  async function judged(t, namespace) {
    const client = ownNamespace()
    const redis = { url: server.url, connectionName: client }
    const cache = openCache(t, { redis, namespace, jitter: 0, health: { interval: 0 } })
    await cache.ready()
    await until(() => stream(cache).mode === 'tracking')
    const judge = await monitor(server, client)
    t.after(() => judge.close())
    await judge.commands()
    /** What `work` has it send, the names of the commands and their keys. */
    const sent = async (work) => {
      await work()
      await cache.settled()
      const commands = await judge.commands()
      return commands.map((line) => line.split(' ').slice(0, 2).join(' ').replaceAll(`${namespace}:`, ''))
    }
    return { cache, sent }
  }

  test('a new tag is one command more, once; a known one none, written or read', async (t) => {
    const namespace = ownNamespace()
    const [writer, reader] = [await judged(t, namespace), await judged(t, namespace)]
    const { cache: a, sent: byA } = writer
    const { cache: b, sent: byB } = reader
    assert.deepEqual(await byA(() => a.set('k1', 1, RED)), ['SET ~tag:red', 'SET k1'])
    assert.deepEqual(await byA(() => a.set('k2', 2, RED)), ['SET k2'])
    assert.deepEqual(await byA(() => a.getOrSet('k3', () => 3, RED)), ['GET k3', 'SET k3'])
    assert.deepEqual(await byA(() => a.setMany({ k4: 4, k5: 5 }, RED)), ['SET k4', 'SET k5'])
    assert.deepEqual(await byB(() => b.get('k1')), ['GET k1', 'GET ~tag:red'])
    assert.deepEqual(await byB(() => b.get('k2')), ['GET k2'])
    assert.deepEqual(await byB(() => b.getMany(['k3', 'k4', 'k5'])), ['MGET k3'])
    assert.deepEqual(await byB(() => b.getMany(['k1', 'k2', 'k3', 'k4', 'k5'])), [])
    assert.deepEqual(await byA(() => a.invalidateTags('red')), ['UNLINK ~tag:red'])
    // What has no version gets one: the end of what is not there is told to nobody.
    const told = await byA(() => a.invalidateTags('red', 'blue'))
    assert.deepEqual(told, ['UNLINK ~tag:blue', 'SET ~tag:blue', 'SET ~tag:red'])
  })

  test('entries of one tag that is not known ask for it once', async (t) => {
    const namespace = ownNamespace()
    const [{ cache: a }, { cache: b, sent }] = [await judged(t, namespace), await judged(t, namespace)]
    await a.setMany({ k1: 1, k2: 2, k3: 3 }, RED)
    const commands = await sent(async () => {
      assert.deepEqual(await b.getMany(['k1', 'k2', 'k3']), [1, 2, 3])
    })
    assert.deepEqual(commands, ['MGET k1', 'GET ~tag:red'])
  })
})
