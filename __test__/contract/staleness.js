'use strict'

// What getOrSet does with a value past its TTL, or near it: who is given it, who waits, and what is made behind them.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { gated, origin } = require('../support/origin.js')
const { BRIEF, KEPT, LONG, NEVER_WAITED, stale } = require('../support/stale.js')
const { timed, until } = require('../support/wait.js')

module.exports = (kind) => {
  test('a value past its TTL is returned at once, and one factory renews it behind however many ask', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const slow = gated()
    const ask = () => cache.getOrSet('key', slow.make, LONG)
    assert.deepEqual(await Promise.all(Array.from({ length: 50 }, ask)), Array(50).fill('old'))
    await until(() => slow.calls === 1)
    assert.equal(await ask(), 'old', 'as long as the factory runs')
    slow.open('new')
    await cache.settled()
    assert.equal(await ask(), 'new')
    assert.equal(await cache.get('key'), 'new')
    assert.equal(slow.calls, 1)
  })

  test('nobody but a loader sees a value past its TTL, before, while and after it is renewed in vain', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const unseen = async () => {
      assert.equal(await cache.get('key'), undefined)
      assert.equal(await cache.has('key'), false)
      assert.deepEqual(await cache.getMany(['key']), [undefined])
      assert.equal(await cache.ttl('key'), undefined)
      assert.equal(cache.peek('key'), undefined)
    }
    await unseen()
    const slow = gated()
    assert.equal(await cache.getOrSet('key', slow.make, LONG), 'old')
    await until(() => slow.calls === 1)
    await unseen()
    slow.fail(new Error('origin is down'))
    await cache.settled()
    await unseen()
    assert.equal(await cache.getOrSet('key', slow.make, LONG), 'old')
    await unseen()
    assert.equal(slow.calls, 1)
  })

  test('a factory is told what it is to replace and how old that is', async (t) => {
    const cache = await kind.open(t)
    const seen = []
    const make = ({ stale }) => {
      seen.push(stale)
      return { made: seen.length }
    }
    assert.deepEqual(await cache.getOrSet('key', make, BRIEF), { made: 1 })
    await until(async () => (await cache.get('key')) === undefined)
    assert.deepEqual(await cache.getOrSet('key', make, LONG), { made: 1 })
    await until(() => seen.length === 2)
    const [none, { value, age }] = seen
    assert.equal(none, undefined)
    assert.deepEqual(value, { made: 1 })
    assert.ok(age >= BRIEF.ttl && age < 10_000, `${age} ms`)
  })

  test('past staleFor a value is as good as none', async (t) => {
    const cache = await kind.open(t)
    const failing = origin(() => {
      throw new Error('origin is down')
    })
    await cache.set('key', 'old', { ttl: 50, staleFor: 150, jitter: 0 })
    const ask = () => cache.getOrSet('key', failing.make, { retryAfter: NEVER_WAITED })
    await until(async () => (await ask().catch(({ message }) => message)) === 'origin is down')
    await assert.rejects(ask(), { message: 'origin is down' })
  })

  test('without staleFor nobody is given a value past its TTL', async (t) => {
    const cache = await kind.open(t)
    await stale(cache, { staleFor: undefined })
    const failing = origin(() => {
      throw new Error('origin is down')
    })
    await assert.rejects(cache.getOrSet('key', failing.make), { message: 'origin is down' })
    assert.equal(await cache.getOrSet('key', () => 'new'), 'new')
  })

  test('a value that was marked stale is served, renewed and kept for fail-safe', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 'old', KEPT)
    assert.equal(await cache.markStale('key'), true)
    const slow = gated()
    assert.equal(await cache.getOrSet('key', slow.make, { ...LONG, retryAfter: NEVER_WAITED }), 'old')
    await until(() => slow.calls === 1)
    slow.fail(new Error('origin is down'))
    await cache.settled()
    assert.equal(await cache.getOrSet('key', slow.make, LONG), 'old')
    assert.equal(slow.calls, 1)
    await cache.set('key', 'old', KEPT)
    await cache.markStale('key')
    assert.equal(await cache.getOrSet('key', () => 'new', LONG), 'old')
    await until(async () => (await cache.get('key')) === 'new')
  })

  test('a value without staleFor that was marked stale is gone for a loader as well', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 'old', { ttl: 60_000 })
    assert.equal(await cache.markStale('key'), true)
    assert.equal(await cache.getOrSet('key', () => 'new'), 'new')
  })

  /* ---------------------------------------------------------------------------------------- factorySoftTimeout */

  test('factorySoftTimeout waits for the new value, and for no longer than that', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const options = { ...LONG, factorySoftTimeout: 5_000 }
    assert.equal(await cache.getOrSet('key', async () => 'new', options), 'new')
    await cache.settled()
    await stale(cache)
    const slow = gated()
    const ask = () => cache.getOrSet('key', slow.make, { ...LONG, factorySoftTimeout: 150 })
    const { value, ms } = await timed(() => Promise.all([ask(), ask()]))
    assert.deepEqual(value, ['old', 'old'])
    assert.ok(ms >= 145 && ms < 2_000, `${ms} ms`)
    assert.equal(slow.calls, 1)
    slow.open('made late')
    await until(async () => (await cache.get('key')) === 'made late')
    assert.equal(slow.calls, 1)
  })

  test('who comes once factorySoftTimeout is over does not wait for it again', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const slow = gated()
    const ask = () => cache.getOrSet('key', slow.make, { ...LONG, factorySoftTimeout: 250 })
    assert.equal(await ask(), 'old')
    const { value, ms } = await timed(ask)
    assert.equal(value, 'old')
    assert.ok(ms < 200, `${ms} ms`)
    slow.open('new')
    await until(async () => (await cache.get('key')) === 'new')
    assert.equal(slow.calls, 1)
  })

  test('factorySoftTimeout does nothing without a stale value', async (t) => {
    const cache = await kind.open(t)
    const slow = gated()
    const asked = timed(() => cache.getOrSet('key', slow.make, { ...LONG, factorySoftTimeout: 30 }))
    await until(() => slow.calls === 1)
    setTimeout(slow.open, 200, 'made')
    const { value, ms } = await asked
    assert.equal(value, 'made')
    assert.ok(ms > 150, `${ms} ms`)
  })

  /* --------------------------------------------------------------------------------------------- eager refresh */

  test('eagerRefresh renews a value that is near its end behind those who get it, once', async (t) => {
    const cache = await kind.open(t)
    const slow = gated()
    const life = { ttl: 1_500, jitter: 0 }
    const ask = () => cache.getOrSet('key', slow.make, { ...life, eagerRefresh: 0.5 })
    await cache.set('key', 'old', life)
    assert.equal(await ask(), 'old')
    await until(async () => (await cache.ttl('key')) < 1_000)
    assert.equal(await ask(), 'old')
    assert.equal(slow.calls, 0, 'two thirds of its life are left')
    await until(async () => (await cache.ttl('key')) < 740)
    assert.deepEqual(await Promise.all([ask(), ask(), ask()]), ['old', 'old', 'old'])
    await until(() => slow.calls === 1)
    assert.equal(await cache.get('key'), 'old', 'it is fresh all the while')
    assert.equal(await ask(), 'old')
    slow.open('new')
    await until(async () => (await cache.get('key')) === 'new')
    assert.ok((await cache.ttl('key')) > 1_000)
    assert.equal(slow.calls, 1)
  })

  /* ----------------------------------------------------------------------------------------------------- fresh */

  test('fresh calls the factory whatever is cached, and stores what it makes', async (t) => {
    const cache = await kind.open(t)
    const seen = []
    const make = ({ stale }) => {
      seen.push(stale)
      return 'new'
    }
    await cache.set('key', 'old', KEPT)
    assert.equal(await cache.getOrSet('key', make, { ...LONG, fresh: true }), 'new')
    await cache.settled()
    assert.equal(await cache.get('key'), 'new')
    assert.deepEqual(seen, [undefined])
  })

  /* ------------------------------------------------------------------------------------ the signal of a caller */

  test('a caller whose signal has aborted gets nothing and calls nothing, whatever is cached', async (t) => {
    const cache = await kind.open(t)
    const never = origin(() => 'made')
    const aborted = cacheError('ERR_CACHE_ABORTED')
    const ask = (key) => cache.getOrSet(key, never.make, { ...LONG, signal: AbortSignal.abort() })
    await cache.set('cached', 1)
    await stale(cache)
    for (const key of ['none', 'cached', 'key']) await assert.rejects(ask(key), aborted)
    await cache.settled()
    assert.equal(never.calls, 0)
  })

  test('a caller who has the stale value does not end its renewal by aborting', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const caller = new AbortController()
    const slow = gated()
    const options = { ...LONG, signal: caller.signal }
    assert.equal(await cache.getOrSet('key', slow.make, options), 'old')
    await until(() => slow.calls === 1)
    caller.abort()
    assert.equal(slow.signals[0].aborted, false)
    slow.open('new')
    await until(async () => (await cache.get('key')) === 'new')
  })

  /* -------------------------------------------------------------------------------------- options of the cache */

  test('what a call does not say, the loader of the cache does', async (t) => {
    const loader = { ttl: 60, staleFor: 60_000, jitter: 0, retryAfter: 300, factorySoftTimeout: NEVER_WAITED }
    const cache = await kind.open(t, { loader })
    assert.equal(await cache.getOrSet('key', () => 'old'), 'old')
    await cache.settled()
    await until(async () => (await cache.get('key')) === undefined)
    const failing = origin(() => {
      throw new Error('origin is down')
    })
    const ask = () => cache.getOrSet('key', failing.make)
    assert.equal(await ask(), 'old')
    assert.equal(failing.calls, 1, 'it was waited for')
    await until(async () => (assert.equal(await ask(), 'old'), failing.calls === 2))
    const [first, second] = failing.at
    assert.ok(second - first >= 295, `again after ${second - first} ms`)
  })
}
