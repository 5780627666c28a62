'use strict'

// getOrSet against an origin that is down and against other processes, with Redis itself as the witness of what was written.
// What a load gives within one cache is in contract/loading.js and contract/staleness.js.

const assert = require('node:assert/strict')
const { performance } = require('node:perf_hooks')
const { after, before, describe, test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { parseExposition, sumOf } = require('./support/exposition.js')
const { monitor } = require('./support/monitor.js')
const { gated, origin } = require('./support/origin.js')
const { startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const stream = (cache) => cache.health().cache.l2.invalidation

/** Two caches as two processes would have them. */
async function pair(t, options = {}) {
  const shared = { namespace: ownNamespace(), l1: { ttl: 600_000 }, jitter: 0, ...options }
  const caches = await Promise.all([openOn(t, server, shared), openOn(t, server, shared)])
  const { invalidation = 'tracking' } = options
  for (const cache of caches) await until(() => stream(cache).mode === invalidation)
  return caches
}

/** The bytes of a key in Redis, as text that can be compared. */
async function bytesOf(key) {
  return (await server.buffers('GET', key))?.toString('hex')
}

describe('an origin that fails for a long time', () => {
  const KEYS = Array.from({ length: 20 }, (_, n) => `key-${n}`)
  const RATE = 50
  const FAILING_MS = 5_000
  const LOAD = { ttl: 150, staleFor: 60_000, jitter: 0, retryAfter: 500 }

  /** A cache and its judge; every key holds a value past its TTL. */
  async function prepared(t) {
    const client = ownNamespace()
    const redis = { url: server.url, connectionName: client }
    const cache = openCache(t, { redis, namespace: client })
    const other = openCache(t, { redis: server.url, namespace: client, l1: { ttl: 600_000 } })
    for (const each of [cache, other]) {
      await each.ready()
      await until(() => stream(each).mode === 'tracking')
    }
    for (const key of KEYS) await cache.getOrSet(key, () => ({ old: key }), LOAD)
    await cache.settled()
    await until(async () => (await other.getMany(KEYS)).every((value) => value === undefined))
    const judge = await monitor(server, client)
    t.after(() => judge.close())
    return { cache, other, judge, client }
  }

  for (const [name, wait] of [
    ['behind its callers', undefined],
    ['while they wait', 5_000],
  ]) {
    test(`${name}: no request fails, and a key is tried once in retryAfter`, async (t) => {
      const { cache, other, judge, client } = await prepared(t)
      const inRedis = () => Promise.all(KEYS.map((key) => bytesOf(`${client}:${key}`)))
      const written = await inRedis()
      assert.ok(written.every((bytes) => bytes.length > 0))
      await judge.commands()
      const tries = new Map(KEYS.map((key) => [key, []]))
      const failing = async ({ key }) => {
        tries.get(key).push(performance.now())
        throw new Error('origin is down')
      }
      let asked = 0
      const load = { ...LOAD, factorySoftTimeout: wait }
      const until = performance.now() + FAILING_MS
      const calls = steadily(RATE, () => {
        const key = KEYS[asked++ % KEYS.length]
        return cache.getOrSet(key, failing, load).then((value) => assert.deepEqual(value, { old: key }))
      })
      await passed(until)
      const answers = await calls.stop()
      assert.ok(answers.length > 0.8 * RATE * (FAILING_MS / 1_000), `${answers.length} requests`)
      assert.deepEqual(
        answers.filter(({ error }) => error),
        [],
      )
      for (const at of tries.values()) {
        // Each key is asked for every 400 ms, so that it is tried at every second of them at most.
        assert.ok(at.length >= 4 && at.length <= 1 + FAILING_MS / LOAD.retryAfter, `${at.length} tries`)
        const pauses = at.slice(1).map((time, n) => time - at[n])
        assert.ok(Math.min(...pauses) >= LOAD.retryAfter - 2, `${pauses}`)
      }
      assert.deepEqual(await inRedis(), written, 'what is in Redis is what was there before')
      const changing = (await judge.commands()).filter((line) => !/^(M?GET|PING|INFO|CLIENT) ?/.test(line))
      assert.deepEqual(changing, [], 'nothing was written or announced')
      for (const key of KEYS) assert.equal(await other.get(key), undefined)
    })
  }

  test('once it is well again its values are served, here and elsewhere', async (t) => {
    const { cache, other } = await prepared(t)
    let isDown = true
    const make = async ({ key }) => {
      if (isDown) throw new Error('origin is down')
      return { new: key }
    }
    const all = () => Promise.all(KEYS.map((key) => cache.getOrSet(key, make, { ...LOAD, ttl: 60_000 })))
    assert.deepEqual(
      await all(),
      KEYS.map((key) => ({ old: key })),
    )
    await cache.settled()
    isDown = false
    const renewed = KEYS.map((key) => ({ new: key }))
    await until(async () => {
      assert.deepEqual(await all(), renewed)
      return true
    })
    await cache.settled()
    assert.deepEqual(await other.getMany(KEYS), renewed)
  })
})

/** Resolves at `time`, of `performance.now()`. */
function passed(time) {
  return until(() => performance.now() > time)
}

describe('no resurrection by a slow factory', () => {
  const changes = {
    'a delete': (cache) => cache.delete('key'),
    'one of its tags': (cache) => cache.invalidateTags('red'),
    'a clear': (cache) => cache.clear(),
    'a pattern': (cache) => cache.deletePattern('ke*'),
  }
  const LOAD = { ttl: 60_000, staleFor: 60_000, tags: ['red'], factoryTimeout: 5_000 }

  for (const [name, change] of Object.entries(changes)) {
    test(`${name} during a factory keeps its value out, here and in Redis`, async (t) => {
      const [a, b] = await pair(t)
      const slow = gated()
      const made = a.getOrSet('key', slow.make, LOAD)
      await until(() => slow.calls === 1)
      await change(a)
      slow.open('from before')
      assert.equal(await made, 'from before')
      await a.settled()
      assert.equal(await bytesOf(`${a.prefix}key`), undefined)
      assert.deepEqual([await a.get('key'), await b.get('key')], [undefined, undefined])
      assert.equal(await a.getOrSet('key', () => 'new', LOAD), 'new')
      await a.settled()
      assert.equal(await b.get('key'), 'new')
    })

    test(`${name} in another process during a refresh keeps its value out`, async (t) => {
      const [a, b] = await pair(t)
      await a.set('key', 'old', { ...LOAD, factoryTimeout: undefined, ttl: 60 })
      await until(async () => (await a.get('key')) === undefined)
      const slow = gated()
      assert.equal(await a.getOrSet('key', slow.make, LOAD), 'old')
      await until(() => slow.calls === 1)
      await change(b)
      // What Redis has to say of it comes before this answer.
      await a.ping()
      slow.open('from before')
      await a.settled()
      assert.equal(await a.get('key'), undefined)
      assert.equal(await b.get('key'), undefined)
    })
  }

  test('what another process set meanwhile is not overwritten after a miss', async (t) => {
    const [a, b] = await pair(t, { invalidation: 'off' })
    const slow = gated()
    const made = a.getOrSet('key', slow.make, LOAD)
    await until(() => slow.calls === 1)
    await b.set('key', 'newer', { tags: ['red'] })
    const written = await bytesOf(`${b.prefix}key`)
    slow.open('older')
    assert.equal(await made, 'older')
    await a.settled()
    assert.equal(await bytesOf(`${b.prefix}key`), written)
    assert.equal(await a.get('key'), 'newer', 'what was made here is not kept here either')
  })

  test('what two processes make at once is one value for both after that', async (t) => {
    const [a, b] = await pair(t, { invalidation: 'off' })
    const [one, two] = [gated(), gated()]
    const both = [a.getOrSet('key', one.make, LOAD), b.getOrSet('key', two.make, LOAD)]
    await until(() => one.calls + two.calls === 2)
    two.open('two')
    await both[1]
    await b.settled()
    one.open('one')
    assert.deepEqual(await Promise.all(both), ['one', 'two'])
    await a.settled()
    assert.deepEqual([await a.get('key'), await b.get('key')], ['two', 'two'])
  })

  test('a stale value in Redis is replaced by its refresh, whoever renews it', async (t) => {
    const [a, b] = await pair(t)
    await a.set('key', 'old', { ttl: 60, staleFor: 60_000 })
    await until(async () => (await b.get('key')) === undefined)
    assert.equal(await b.getOrSet('key', () => 'new', LOAD), 'old', 'what only Redis has past its TTL')
    await b.settled()
    await until(async () => (await a.get('key')) === 'new')
  })
})

describe('what loads come to is counted', () => {
  const figures = (cache) => {
    const samples = parseExposition(cache.metrics())
    const loads = (result) => sumOf(samples, 'cache_loads_total', { result })
    const { loads: all, staleServed, stampedesPrevented } = cache.stats()
    const counted = {
      ok: loads('ok'),
      error: loads('error'),
      timeout: loads('timeout'),
      stale: loads('stale'),
      served: sumOf(samples, 'cache_stale_served_total'),
      waited: sumOf(samples, 'cache_stampedes_prevented_total'),
    }
    assert.deepEqual(
      { all, staleServed, stampedesPrevented },
      {
        all: counted.ok + counted.error + counted.timeout + counted.stale,
        staleServed: counted.served,
        stampedesPrevented: counted.waited,
      },
    )
    return counted
  }
  const NONE = { ok: 0, error: 0, timeout: 0, stale: 0, served: 0, waited: 0 }

  const kinds = {
    'memory only': (t) => openCache(t, {}),
    'L2 only': (t) => openOn(t, server, { l1: false }),
    tiered: (t) => openOn(t, server),
  }
  for (const [name, open] of Object.entries(kinds)) {
    test(`${name}: each load once, by its outcome, and each answer that was stale`, async (t) => {
      const cache = await open(t)
      const failing = origin(() => {
        throw new Error('origin is down')
      })
      assert.deepEqual(figures(cache), NONE)
      const slow = gated()
      const asked = Array.from({ length: 10 }, () => cache.getOrSet('a', slow.make))
      await until(() => slow.calls === 1)
      slow.open('made')
      await Promise.all(asked)
      const waited = { ...NONE, ok: 1, waited: 9 }
      assert.deepEqual(figures(cache), waited)
      await cache.getOrSet('a', slow.make)
      assert.deepEqual(figures(cache), waited, 'a hit is no load')
      await assert.rejects(cache.getOrSet('b', failing.make))
      await assert.rejects(cache.getOrSet('c', () => new Promise(() => {}), { factoryTimeout: 30 }))
      assert.deepEqual(figures(cache), { ...waited, error: 1, timeout: 1 })

      await cache.set('d', 'old', { ttl: 60, staleFor: 60_000, jitter: 0 })
      await until(async () => (await cache.get('d')) === undefined)
      const load = { ttl: 60_000, staleFor: 60_000 }
      for (let n = 0; n < 3; n++) assert.equal(await cache.getOrSet('d', failing.make, load), 'old')
      await until(() => figures(cache).stale === 1)
      const failed = { ...waited, error: 1, timeout: 1, stale: 1, served: 3 }
      assert.deepEqual(figures(cache), failed)
      const again = { ...load, factorySoftTimeout: 5_000, factoryTimeout: 30 }
      await cache.set('e', 'old', { ttl: 60, staleFor: 60_000, jitter: 0 })
      await until(async () => (await cache.get('e')) === undefined)
      assert.equal(await cache.getOrSet('e', () => new Promise(() => {}), again), 'old')
      assert.deepEqual(figures(cache), { ...failed, stale: 2, served: 4 })
    })
  }
})
