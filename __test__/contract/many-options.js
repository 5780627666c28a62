'use strict'

// The options of getOrSetMany: what they are for one key they are for each of several.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { gate, noting } = require('../support/origin.js')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
  test('fresh makes what is cached, too', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 'old', b: 'old' })
    const { calls, load } = noting()
    const options = { fresh: true }
    assert.deepEqual(await cache.getOrSetMany(['a', 'b', 'c'], load, options), ['of a', 'of b', 'of c'])
    await cache.settled()
    assert.deepEqual(await cache.getMany(['a', 'b', 'c']), ['of a', 'of b', 'of c'])
    assert.deepEqual(calls, [['a', 'b', 'c']])
  })

  test('ttl is that of each', async (t) => {
    const cache = await kind.open(t)
    await cache.getOrSetMany(['a', 'b'], (keys) => keys, { ttl: 20_000, jitter: 0 })
    await cache.settled()
    for (const key of ['a', 'b']) {
      const ttl = await cache.ttl(key)
      assert.ok(ttl > 15_000 && ttl <= 20_000, `${key}: ${ttl} ms`)
    }
  })

  test('nullTtl is that of null alone', async (t) => {
    const cache = await kind.open(t)
    const options = { ttl: 60_000, nullTtl: 10_000, jitter: 0 }
    await cache.getOrSetMany(['a', 'b'], () => [null, 1], options)
    await cache.settled()
    assert.ok((await cache.ttl('a')) <= 10_000)
    assert.ok((await cache.ttl('b')) > 10_000)
  })

  test('tags are carried by each', async (t) => {
    const cache = await kind.open(t)
    await cache.getOrSetMany(['a', 'b'], () => [1, 2], { tags: ['catalog'] })
    await cache.settled()
    assert.deepEqual(await cache.getMany(['a', 'b']), [1, 2])
    await cache.invalidateTags('catalog')
    assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, undefined])
  })

  test('nothing is stored of what a tag lost while it was made', async (t) => {
    const cache = await kind.open(t)
    const { opens, open } = gate()
    const { calls, load } = noting(() => opens)
    const made = cache.getOrSetMany(['a', 'b'], load, { tags: ['catalog'] })
    await until(() => calls.length > 0)
    await cache.invalidateTags('catalog')
    open([1, 2])
    assert.deepEqual(await made, [1, 2])
    await cache.settled()
    assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, undefined])
  })

  test('what is stale comes at once and is made behind, in one call', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 'old a', b: 'old b' }, { ttl: 20, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.get('a')) === undefined && (await cache.get('b')) === undefined)
    const { opens, open } = gate()
    const { calls, load } = noting(async (keys) => {
      await opens
      return keys.map((key) => `new ${key}`)
    })
    const options = { ttl: 60_000, staleFor: 60_000 }
    assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, options), ['old a', 'old b'])
    await until(() => calls.length > 0)
    open()
    await until(async () => (await cache.get('a')) === 'new a' && (await cache.get('b')) === 'new b')
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('what is stale and what is missing are made by one call', async (t) => {
    const cache = await kind.open(t)
    await cache.set('a', 'old a', { ttl: 20, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.get('a')) === undefined)
    const { calls, load } = noting((keys) => keys.map((key) => `new ${key}`))
    const options = { ttl: 60_000, staleFor: 60_000 }
    assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, options), ['old a', 'new b'])
    await until(async () => (await cache.get('a')) === 'new a')
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('what is stale stands in for a loader that fails', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 'old a', b: 'old b' }, { ttl: 20, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.get('a')) === undefined && (await cache.get('b')) === undefined)
    const { calls, load } = noting(() => Promise.reject(new Error('the origin is away')))
    const options = { ttl: 60_000, staleFor: 60_000 }
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, options), ['old a', 'old b'])
      await cache.settled()
    }
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('what is due by eagerRefresh comes at once and is made behind, in one call', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 'old a', b: 'old b' }, { ttl: 2_000, jitter: 0 })
    await until(async () => (await cache.ttl('a')) < 1_800)
    const { calls, load } = noting((keys) => keys.map((key) => `new ${key}`))
    const options = { ttl: 60_000, eagerRefresh: 0.1 }
    assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, options), ['old a', 'old b'])
    await until(async () => (await cache.get('a')) === 'new a' && (await cache.get('b')) === 'new b')
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('errors are remembered for errorTtl', async (t) => {
    const cache = await kind.open(t)
    const error = new Error('the origin is away')
    const { calls, load } = noting(() => Promise.reject(error))
    for (let round = 0; round < 3; round++)
      await assert.rejects(cache.getOrSetMany(['a', 'b'], load, { errorTtl: 60_000 }), error)
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('a loader past its timeout rejects, and the keys are free again', async (t) => {
    const cache = await kind.open(t)
    const stuck = cache.getOrSetMany(['a', 'b'], () => new Promise(() => {}), { factoryTimeout: 50 })
    await assert.rejects(stuck, cacheError('ERR_CACHE_FACTORY_TIMEOUT'))
    // The timeout of the other key may come a moment later.
    const values = await until(() => cache.getOrSetMany(['a', 'b'], (keys) => keys))
    assert.deepEqual(values, ['a', 'b'])
  })

  test('an aborted signal rejects before anything is asked', async (t) => {
    const cache = await kind.open(t)
    const { calls, load } = noting()
    const options = { signal: AbortSignal.abort() }
    await assert.rejects(cache.getOrSetMany(['a'], load, options), cacheError('ERR_CACHE_ABORTED'))
    assert.deepEqual(calls, [])
  })

  test("the loader's signal aborts when nobody wants any of its keys", async (t) => {
    const cache = await kind.open(t)
    const [first, second] = [new AbortController(), new AbortController()]
    let inner
    const load = (_keys, { signal }) => {
      inner = signal
      return new Promise(() => {})
    }
    const several = cache.getOrSetMany(['a', 'b'], load, { signal: first.signal })
    await until(() => inner)
    const other = cache.getOrSet('b', () => 'own', { signal: second.signal })
    first.abort()
    await assert.rejects(several, cacheError('ERR_CACHE_ABORTED'))
    // Long enough for the news of `a`, which nobody wants any more.
    await cache.set('c', 1)
    await cache.get('d')
    assert.equal(inner.aborted, false)
    second.abort()
    await assert.rejects(other, cacheError('ERR_CACHE_ABORTED'))
    await until(() => inner.aborted, { message: "the loader's signal aborts" })
  })
}
