'use strict'

// The bounds on how old a value an L1 serves after another process changed it: with a stream of changes that is whole, and with
// one that is cut again and again.

const assert = require('node:assert/strict')
const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { describe, test } = require('node:test')
const { setImmediate: turn, setTimeout: pause } = require('node:timers/promises')
const { openOn, ownNamespace } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const WRITES = 10_000
/** What is promised of a healthy stream. */
const BOUND_MS = 50
const KILLS = 6
const KEYS = Array.from({ length: 20 }, (_, n) => `k-${n}`)

/** The same clock in every process of a machine. */
const now = () => Number(process.hrtime.bigint()) / 1e6

const stream = (cache) => cache.health().cache.l2.invalidation

async function started(t) {
  const server = await startRedis()
  t.after(() => server.stop())
  return server
}

/** A process that reads the key `k` without pause; `stop()` answers its notes. */
async function reader(t, ...words) {
  const child = fork(path.join(__dirname, 'fixtures', 'reader.js'), words)
  t.after(() => child.kill())
  await once(child, 'message')
  return {
    async stop() {
      child.send('stop')
      const [notes] = await once(child, 'message')
      return notes
    },
  }
}

/** For each write, how long after it resolved something older was still served. */
function staleTimes(resolved, last) {
  const read = new Map(last)
  let lastOlder = -Infinity
  return resolved.map((at, version) => {
    const stale = Math.max(0, lastOlder - at)
    lastOlder = Math.max(lastOlder, read.get(version) ?? -Infinity)
    return stale
  })
}

const percentile = (sorted, share) => sorted[Math.ceil(sorted.length * share) - 1]

/** Writes growing numbers to all keys in turn until told to stop; `newest` is what resolved last, key by key. */
function writer(cache) {
  const newest = new Map(KEYS.map((key) => [key, 0]))
  const end = new AbortController()
  async function work() {
    for (let version = 1; !end.signal.aborted; version++) {
      const key = KEYS[version % KEYS.length]
      await cache.set(key, version)
      newest.set(key, version)
      await pause(1)
    }
  }
  const done = work()
  return {
    newest,
    stop() {
      end.abort()
      return done
    },
  }
}

/**
 * Reads all keys again and again. As long as the cache says that it does not hear of changes, what is `newest` at each look becomes
 * the least that may be served once it says that it does: anything older was in L1 before the stream was whole. What L1
 * serves while the stream is broken is not judged, nor a read during which it was lost.
 */
function judge(cache, way, newest) {
  const hears = () => cache.state === 'up' && stream(cache).mode === way
  let least = new Map(KEYS.map((key) => [key, 0]))
  const seen = { hits: 0, reads: 0, deaf: 0, older: [] }
  const end = new AbortController()
  let wasDeaf = false
  function compare(key, value, kind) {
    if (value < least.get(key)) seen.older.push(`${kind} of ${key}: ${value}, not ${least.get(key)}`)
  }
  async function read(key) {
    const { losses } = stream(cache)
    const counts = () => hears() && stream(cache).losses === losses
    const value = cache.peek(key)
    if (value !== undefined && counts()) {
      seen.hits++
      compare(key, value, 'peek')
    }
    const answer = await cache.get(key, { strict: true }).catch(() => undefined)
    if (answer !== undefined && counts()) {
      seen.reads++
      compare(key, answer, 'get')
    }
  }
  /** L1 holds, and is filled with, what nobody will tell of. */
  async function readDeaf(key) {
    wasDeaf = true
    least = new Map(newest)
    const value = await cache.get(key)
    seen.deaf += Number(value < newest.get(key))
    await turn()
  }
  /** What was read before does not count any more. */
  async function hearAgain() {
    wasDeaf = false
    await turn()
  }
  async function work() {
    while (!end.signal.aborted) {
      for (const key of KEYS) {
        if (!hears()) await readDeaf(key)
        else if (wasDeaf) await hearAgain()
        else await read(key)
      }
      await turn()
    }
  }
  const done = work()
  return {
    hears,
    async stop() {
      end.abort()
      await done
      return seen
    },
  }
}

for (const way of ['tracking', 'pubsub']) {
  describe(way, () => {
    test(`after a write resolved, another process serves the older value for ${BOUND_MS} ms at most`, async (t) => {
      const server = await started(t)
      const namespace = ownNamespace()
      const cache = await openOn(t, server, { namespace, invalidation: way })
      await cache.set('k', 0)
      const other = await reader(t, server.url, namespace, way)
      const resolved = [now()]
      for (let version = 1; version < WRITES; version++) {
        await cache.set('k', version)
        resolved.push(now())
        await pause(1)
      }
      const { last, hits } = await other.stop()
      const times = staleTimes(resolved, last).toSorted((a, b) => a - b)
      const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentile(times, share))
      const figures = [p50, p99, p999, times.at(-1)].map((ms) => ms.toFixed(2)).join(' / ')
      t.diagnostic(
        `p50 / p99 / p99.9 / most: ${figures} ms; ${last.length} versions seen, ${hits} reads from L1`,
      )
      assert.ok(hits > WRITES && last.length > WRITES / 10, `${hits} hits, ${last.length} versions`)
      assert.ok(p999 <= BOUND_MS, `${p999} ms`)
    })

    test('a stream that is cut again and again leaves nothing from before in L1', async (t) => {
      const server = await started(t)
      const shared = { namespace: ownNamespace(), invalidation: way }
      // It writes, and hears nothing, so that there is one stream only.
      const a = await openOn(t, server, { ...shared, l1: false })
      const redis = { port: server.port, connectionName: shared.namespace, retryStrategy: () => 50 }
      const b = await openOn(t, server, { ...shared, redis, l1: { ttl: 600_000 } })
      const writes = writer(a)
      const reads = judge(b, way, writes.newest)
      for (let kill = 1; kill <= KILLS; kill++) {
        await until(() => reads.hears())
        await pause(100)
        const words = way === 'tracking' ? `name=${shared.namespace}` : 'sub=1'
        assert.equal(await server.killClients(words), 1)
        await until(() => stream(b).losses === kill)
      }
      await until(() => reads.hears())
      await pause(100)
      const { hits, reads: answered, deaf, older } = await reads.stop()
      await writes.stop()
      const seen = `${hits} hits in L1, ${answered} reads, ${deaf} old values while the stream was broken`
      t.diagnostic(`${writes.newest.get(KEYS[0])} versions, ${seen}`)
      assert.deepEqual(older, [])
      assert.ok(hits > 500 && answered > 500 && deaf > 0, seen)
    })
  })
}
