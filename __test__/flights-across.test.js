'use strict'

// getOrSet with `lock: true`: one factory in all processes, whoever is killed and whatever becomes of Redis.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { mostInside, startProcess } = require('./support/processes.js')
const { freePort, startRedis } = require('./support/redis.js')
const { timed, until } = require('./support/wait.js')

const MODES = ['off', 'pubsub', 'tracking']
const PROCESSES = 4
const CALLERS = 50
/** The life of a flight's lease. */
const LEASE_MS = 5_000
/** What a loaded machine may add to a bound. */
const SLACK_MS = 1_000
/** So that a load that nobody would end fails a test, and does not hang it. */
const BOUND = { lock: true, factoryTimeout: 20_000 }

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** Two caches as two processes would have them. */
async function pair(t, at = server, options = {}) {
  const shared = { namespace: ownNamespace(), ...options }
  const caches = await Promise.all([openOn(t, at, shared), openOn(t, at, shared)])
  // What is being made when a cache begins to hear of changes is not stored: it may have missed one.
  const heard = (cache) => cache.health().cache.l2.invalidation.mode === (options.invalidation ?? 'tracking')
  await until(() => caches.every(heard))
  return caches
}

const isLeased = async (cache, key, at = server) =>
  (await at.command('EXISTS', `${cache.prefix}~lock:${key}`)) === 1

/** A factory that counts its calls and ends when it is told how. */
function controlled() {
  const factory = () => {
    factory.calls += 1
    return new Promise((resolve, reject) => Object.assign(factory, { resolve, reject }))
  }
  return Object.assign(factory, { calls: 0 })
}

/** Processes that are ready to ask for `key`; `go()` lets them. */
async function fleet(t, count, words) {
  const started = Array.from({ length: count }, () => startProcess(t, 'loader', words))
  await Promise.all(started.map((child) => child.heard('ready')))
  return {
    started,
    go: () => started.forEach((child) => child.tell('go')),
    /** How often a factory ran in all of them. */
    runs: () => started.flatMap((child) => child.all('factory')).length,
    async values() {
      const heard = await Promise.all(started.map((child) => child.heard('values')))
      return heard.flatMap(({ values }) => values)
    },
    settled: () => Promise.all(started.map((child) => child.heard('settled'))),
  }
}

const diaryOf = (namespace) => server.command('LRANGE', `${namespace}:diary`, '0', '-1')

/** The one value that all of `values` are equal to. */
function only(values, count) {
  assert.equal(values.length, count)
  for (const value of values) assert.deepEqual(value, values[0])
  return values[0]
}

for (const invalidation of MODES) {
  test(`four processes with fifty callers each run one factory, with invalidation by '${invalidation}'`, async (t) => {
    const options = { redis: server.url, namespace: ownNamespace(), invalidation }
    const words = { options, key: 'key', callers: CALLERS, load: BOUND, takes: 200 }
    const { go, runs, values, settled } = await fleet(t, PROCESSES, words)
    const { ms } = await timed(async () => {
      go()
      only(await values(), PROCESSES * CALLERS)
    })
    console.log(`a factory of 200 ms served all after ${ms.toFixed(0)} ms ('${invalidation}')`)
    await settled()
    assert.equal(runs(), 1)
    assert.equal(await server.command('EXISTS', `${options.namespace}:~lock:key`), 0)
  })
}

test('an owner that is killed in its factory is succeeded within its lease, by one at a time', async (t) => {
  const succession = async (invalidation) => {
    const namespace = ownNamespace()
    const options = { redis: server.url, namespace, invalidation }
    const words = { options, key: 'key', callers: CALLERS, load: BOUND }
    const first = await fleet(t, 1, words)
    const others = await fleet(t, PROCESSES - 1, { ...words, takes: 200 })
    const [owner] = first.started
    first.go()
    await owner.heard('factory')
    others.go()
    await Promise.all(others.started.map((child) => child.heard('asked')))
    const { ms } = await timed(async () => {
      await owner.kill()
      await server.command('RPUSH', `${namespace}:diary`, `killed ${owner.pid}`)
      await Promise.any(others.started.map((child) => child.heard('factory')))
    })
    console.log(`a flight was taken over ${ms.toFixed(0)} ms after the kill ('${invalidation}')`)
    assert.ok(ms < LEASE_MS + SLACK_MS, `${ms} ms`)
    only(await others.values(), (PROCESSES - 1) * CALLERS)
    await others.settled()
    assert.equal(others.runs(), 1)
    assert.equal(mostInside(await diaryOf(namespace)), 1)
  }
  await Promise.all(MODES.map(succession))
})

test('four processes with a stale value are given it at once, and refresh it once in all', async (t) => {
  for (const invalidation of MODES) {
    const cache = await openOn(t, server, { invalidation, l1: false })
    const namespace = cache.prefix.slice(0, -1)
    const load = { ...BOUND, staleFor: 60_000 }
    await cache.set('key', 'old', { ttl: 50, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.get('key')) === undefined)
    const options = { redis: server.url, namespace, invalidation }
    const words = { options, key: 'key', callers: CALLERS, load, takes: 500 }
    const { go, runs, started, values, settled } = await fleet(t, PROCESSES, words)
    const { ms } = await timed(async () => {
      go()
      assert.equal(only(await values(), PROCESSES * CALLERS), 'old')
    })
    assert.ok(ms < 450, `The stale value came after ${ms} ms`)
    const ends = await settled()
    assert.equal(runs(), 1)
    const maker = started.find((child) => child.all('factory').length === 1)
    for (const { now } of ends) assert.deepEqual(now, { madeBy: maker.pid })
    assert.equal(await isLeased(cache, 'key'), false)
  }
})

describe('the lease of a flight is there while its factory runs, and gone after', () => {
  /** What becomes of a load: `end` is what its factory does, `settles` what its caller sees. */
  const ends = {
    'a value': { end: () => 1, settles: (load) => load },
    'nothing to store': { end: () => undefined, settles: (load) => load },
    null: { end: () => null, settles: (load) => load },
    'an error': {
      end: () => Promise.reject(new RangeError('no')),
      settles: (load) => assert.rejects(load, RangeError),
    },
    'a value that is not to be stored': { end: ({ skip }) => (skip(), 1), settles: (load) => load },
    'a value that cannot be stored': { end: () => () => 1, settles: (load) => load },
    'the end of its last caller': {
      end: ({ signal }, leave) => (leave(), new Promise((resolve) => (signal.onabort = resolve))),
      settles: (load) => assert.rejects(load, cacheError('ERR_CACHE_ABORTED')),
    },
    'its timeout': {
      end: () => new Promise(() => {}),
      options: { factoryTimeout: 100 },
      settles: (load) => assert.rejects(load, cacheError('ERR_CACHE_FACTORY_TIMEOUT')),
    },
  }
  for (const [what, { end, settles, options }] of Object.entries(ends)) {
    test(`with ${what}`, async (t) => {
      const [cache, other] = await pair(t)
      const leaving = new AbortController()
      let leased
      const factory = async (context) => {
        leased = await isLeased(cache, 'key')
        return end(context, () => leaving.abort())
      }
      await settles(cache.getOrSet('key', factory, { ...BOUND, ...options, signal: leaving.signal }))
      assert.equal(leased, true)
      await until(async () => !(await isLeased(cache, 'key')), { timeout: 2_000 })
      // Whoever comes next is not held up.
      const { value, ms } = await timed(() => other.getOrSet('other', () => 2, BOUND))
      assert.equal(value, 2)
      assert.ok(ms < 500, `${ms} ms`)
    })
  }

  test('also if the key was deleted meanwhile', async (t) => {
    const [cache, other] = await pair(t)
    const factory = controlled()
    const load = cache.getOrSet('key', factory, BOUND)
    await until(() => factory.calls === 1)
    await cache.delete('key')
    factory.resolve(1)
    assert.equal(await load, 1)
    await until(async () => !(await isLeased(cache, 'key')), { timeout: 2_000 })
    assert.equal(await other.get('key'), undefined)
  })
})

describe('who waits for the value of another process', () => {
  for (const invalidation of MODES) {
    test(`makes it when that has none, and soon, with invalidation by '${invalidation}'`, async (t) => {
      const [a, b] = await pair(t, server, { invalidation })
      const endings = [
        ({ reject }) => reject(new RangeError('no')),
        ({ resolve }) => resolve(undefined),
        (_factory, leave) => leave(),
      ]
      for (const [number, end] of endings.entries()) {
        const [first, second] = [controlled(), controlled()]
        const leaving = new AbortController()
        const key = `key-${number}`
        const one = a.getOrSet(key, first, { ...BOUND, signal: leaving.signal }).catch(() => {})
        await until(() => first.calls === 1)
        const two = b.getOrSet(key, second, BOUND)
        await b.ping()
        assert.equal(second.calls, 0)
        end(first, () => leaving.abort())
        await one
        const { ms } = await timed(() => until(() => second.calls === 1))
        assert.ok(ms < 500 + SLACK_MS, `${ms} ms`)
        second.resolve('mine')
        assert.equal(await two, 'mine')
      }
    })

    test(`gets it soon after it was stored, with invalidation by '${invalidation}'`, async (t) => {
      const [a, b] = await pair(t, server, { invalidation })
      const [first, second] = [controlled(), controlled()]
      const one = a.getOrSet('key', first, BOUND)
      await until(() => first.calls === 1)
      const two = b.getOrSet('key', second, BOUND)
      await b.ping()
      first.resolve('made')
      const { value, ms } = await timed(() => two)
      assert.equal(value, 'made')
      assert.equal(await one, 'made')
      assert.ok(ms < 500 + SLACK_MS, `${ms} ms`)
      assert.equal(second.calls, 0)
    })
  }

  test('makes it for himself after factoryTimeout, whoever holds the lease for however long', async (t) => {
    const cache = await openOn(t, server)
    await server.command('SET', `${cache.prefix}~lock:key`, 'of somebody who never ends')
    const load = () => cache.getOrSet('key', () => 'mine', { lock: true, factoryTimeout: 400 })
    const { value, ms } = await timed(load)
    assert.equal(value, 'mine')
    assert.ok(ms >= 395 && ms < 400 + SLACK_MS, `${ms} ms`)
    assert.ok(await isLeased(cache, 'key'))
  })

  test('may leave, and leaves the others waiting', async (t) => {
    const [a, b] = await pair(t)
    const [first, second] = [controlled(), controlled()]
    const one = a.getOrSet('key', first, BOUND)
    await until(() => first.calls === 1)
    const leaving = new AbortController()
    const left = b.getOrSet('key', second, { ...BOUND, signal: leaving.signal })
    const stays = b.getOrSet('key', second, BOUND)
    await b.ping()
    leaving.abort()
    await assert.rejects(left, cacheError('ERR_CACHE_ABORTED'))
    first.resolve('made')
    assert.deepEqual(await Promise.all([one, stays]), ['made', 'made'])
    assert.equal(second.calls, 0)
    await b.settled({ timeout: 2_000 })
  })

  test('leaves nothing behind if he was the last to leave', async (t) => {
    const [a, b] = await pair(t)
    const first = controlled()
    const one = a.getOrSet('key', first, BOUND)
    await until(() => first.calls === 1)
    const leaving = new AbortController()
    const left = b.getOrSet('key', () => 'never', { ...BOUND, signal: leaving.signal })
    await b.ping()
    leaving.abort()
    await assert.rejects(left, cacheError('ERR_CACHE_ABORTED'))
    await b.settled({ timeout: 2_000 })
    first.resolve('made')
    assert.equal(await one, 'made')
    assert.equal(await b.getOrSet('key', () => 'never', BOUND), 'made')
  })
})

describe('without a Redis that answers', () => {
  test('everybody makes the value for himself, at once', async (t) => {
    const options = { redis: `redis://127.0.0.1:${await freePort()}`, namespace: ownNamespace() }
    const caches = [openCache(t, options), openCache(t, options), openCache(t, {})]
    await until(() => caches[0].state === 'down' && caches[1].state === 'down')
    for (const cache of caches) {
      const factory = controlled()
      const asked = Array.from({ length: CALLERS }, () => cache.getOrSet('key', factory, BOUND))
      const { ms } = await timed(() => until(() => factory.calls === 1))
      assert.ok(ms < 250, `${ms} ms`)
      factory.resolve('made')
      assert.equal(only(await Promise.all(asked), CALLERS), 'made')
      assert.equal(factory.calls, 1)
    }
  })

  for (const [what, seize] of Object.entries({
    frozen: (own) => own.freeze(),
    killed: (own) => own.kill(),
  })) {
    test(`that is ${what} while one makes the value and another waits for it, nobody hangs`, async (t) => {
      const own = await startRedis()
      t.after(() => own.stop())
      const [a, b] = await pair(t, own)
      const first = controlled()
      const one = a.getOrSet('key', first, BOUND)
      await until(() => first.calls === 1)
      const two = b.getOrSet('key', () => 'mine', BOUND)
      await b.ping()
      const { ms } = await timed(async () => {
        await seize(own)
        assert.equal(await two, 'mine')
      })
      console.log(`who waited made the value ${ms.toFixed(0)} ms after Redis was ${what}`)
      assert.ok(ms < (what === 'frozen' ? LEASE_MS : SLACK_MS), `${ms} ms`)
      first.resolve('made')
      assert.equal(await one, 'made')
      // Nor does who asks now.
      const { value, ms: later } = await timed(() => b.getOrSet('another', () => 'mine', BOUND))
      assert.equal(value, 'mine')
      assert.ok(later < 2_000, `${later} ms`)
      if (what === 'frozen') own.thaw()
      else await own.start()
      for (const cache of [a, b]) {
        await until(() => cache.state === 'up', { timeout: 15_000 })
        await cache.settled({ timeout: 10_000 })
      }
      await until(async () => !(await isLeased(a, 'another', own)), { timeout: 3_000 })
      assert.equal(await a.getOrSet('third', () => 3, BOUND), 3)
      assert.equal(await b.getOrSet('third', () => 'never', BOUND), 3)
    })
  }

  test('that does not answer, everybody waits for it once, and not for the lease as well', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const [a, b] = await pair(t, own, { l2: { timeout: 1_500 } })
    own.freeze()
    const { value, ms } = await timed(() =>
      Promise.all([a, b].map((cache) => cache.getOrSet('key', () => 'mine', BOUND))),
    )
    own.thaw()
    assert.deepEqual(value, ['mine', 'mine'])
    console.log(`a frozen Redis with a deadline of 1500 ms cost ${ms.toFixed(0)} ms`)
    assert.ok(ms < 1_500 + SLACK_MS, `${ms} ms`)
  })
})
