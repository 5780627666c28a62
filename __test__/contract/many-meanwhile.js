'use strict'

// getOrSetMany while something else happens: a delete, a close, a thread that ends, a Redis that is away.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { cacheError, openCache, ownNamespace } = require('../support/cache.js')
const { root } = require('../support/child.js')
const { startProxy } = require('../support/fault-proxy.js')
const { gate, noting } = require('../support/origin.js')
const { eventOf, until } = require('../support/wait.js')

/** Ends with the test, for what would otherwise wait for ever. */
const soon = () => ({ signal: AbortSignal.timeout(10_000) })

module.exports = (kind) => {
  test('what a slow loader makes is not stored over a delete', async (t) => {
    const cache = await kind.open(t)
    const { opens, open } = gate()
    const { calls, load } = noting(() => opens)
    const slow = cache.getOrSetMany(['a', 'b'], load)
    await until(() => calls.length > 0)
    await cache.delete('a')
    open(['old', 'old'])
    assert.deepEqual(await slow, ['old', 'old'])
    await cache.settled()
    assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, 'old'])
  })

  test('a closed cache calls the loader once for all keys, and a strict call rejects', async (t) => {
    const cache = await kind.open(t)
    await cache.set('a', 'had')
    await cache.close()
    const { calls, load } = noting()
    assert.deepEqual(await cache.getOrSetMany(['a', 'b', 'a'], load), ['of a', 'of b', 'of a'])
    assert.deepEqual(calls, [['a', 'b']])
    const strict = cache.getOrSetMany(['a', 'b'], load, { strict: true })
    await assert.rejects(strict, cacheError('ERR_CACHE_CLOSED'))
    await assert.rejects(
      cache.getOrSetMany(['a', 'b'], () => Promise.reject(new RangeError('no'))),
      RangeError,
    )
  })

  test('a cache that closes meanwhile settles every call', async (t) => {
    const cache = await kind.open(t)
    const { opens, open } = gate()
    const { calls, load } = noting(() => opens)
    const made = cache.getOrSetMany(['a', 'b'], load)
    const others = [cache.getOrSetMany(['b', 'c'], () => ['c']), cache.getOrSet('a', () => 'alone')]
    await until(() => calls.length > 0)
    const closing = cache.close()
    open([1, 2])
    for (const { status } of await Promise.allSettled([made, ...others])) assert.equal(status, 'fulfilled')
    await closing
  })

  describe('threads', () => {
    /** Caches of one name: that of this thread, and `start(keys)`, a thread whose getOrSetMany waits for a message. */
    async function threads(t) {
      const options = { name: ownNamespace(), namespace: ownNamespace(), ...kind.options() }
      const cache = openCache(t, options)
      await cache.ready()
      const source = `
        const { parentPort, workerData } = require('node:worker_threads')
        const { Cache } = require(${JSON.stringify(root)})
        const cache = new Cache(workerData.options)
        async function load(keys) {
          parentPort.postMessage({ asked: keys.toSorted() })
          await new Promise((resolve) => parentPort.once('message', resolve))
          return keys.map((key) => 'of ' + key)
        }
        cache.getOrSetMany(workerData.keys, load).then((values) => parentPort.postMessage({ values }))`
      const start = (keys) => {
        const worker = new Worker(source, { eval: true, workerData: { options, keys } })
        t.after(() => worker.terminate())
        const told = (name) =>
          eventOf(worker, 'message', { timeout: 20_000, matches: (message) => name in message })
        return { worker, told }
      }
      return { cache, start }
    }

    test('two that ask for overlapping keys make each once', async (t) => {
      const { start } = await threads(t)
      const one = start(['a', 'b', 'c'])
      assert.deepEqual(await one.told('asked'), { asked: ['a', 'b', 'c'] })
      const two = start(['b', 'c', 'd'])
      assert.deepEqual(await two.told('asked'), { asked: ['d'] })
      const values = [one.told('values'), two.told('values')]
      for (const { worker } of [two, one]) worker.postMessage('go')
      assert.deepEqual(await Promise.all(values), [
        { values: ['of a', 'of b', 'of c'] },
        { values: ['of b', 'of c', 'of d'] },
      ])
    })

    test('keys whose maker is gone are asked for in a further call', async (t) => {
      const { cache, start } = await threads(t)
      const { worker, told } = start(['a', 'b'])
      await told('asked')
      const { calls, load } = noting()
      const several = cache.getOrSetMany(['a', 'b', 'c'], load)
      await until(() => calls.length > 0)
      await worker.terminate()
      assert.deepEqual(await several, ['of a', 'of b', 'of c'])
      assert.deepEqual(calls[0], ['c'])
      assert.deepEqual(calls.slice(1).flat().toSorted(), ['a', 'b'])
    })
  })

  if (kind.l2) withRedis(kind)
}

function withRedis(kind) {
  /** A cache of the kind behind a proxy. */
  async function behindProxy(t, options) {
    const server = new URL(kind.options().redis)
    const proxy = await startProxy({ port: Number(server.port) })
    t.after(() => proxy.close())
    const redis = `redis://127.0.0.1:${proxy.port}`
    return { proxy, cache: await kind.open(t, { redis, ...options }) }
  }

  async function away({ cache, proxy }) {
    await proxy.down()
    await until(() => cache.state !== 'up')
  }

  test('while Redis is away one call makes all keys', async (t) => {
    const { cache, proxy } = await behindProxy(t)
    await away({ cache, proxy })
    const { calls, load } = noting()
    assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, soon()), ['of a', 'of b'])
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('while Redis is silent one call makes all keys', async (t) => {
    const { cache, proxy } = await behindProxy(t, { l2: { timeout: 300 } })
    proxy.silence()
    const { calls, load } = noting()
    assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load, soon()), ['of a', 'of b'])
    assert.deepEqual(calls, [['a', 'b']])
  })

  test('while Redis is away a strict call rejects at once, and does not make others wait', async (t) => {
    const { cache, proxy } = await behindProxy(t)
    await cache.set('had', 1)
    await away({ cache, proxy })
    const { opens, open } = gate()
    let isMaking = false
    const single = cache.getOrSet('made', () => {
      isMaking = true
      return opens
    })
    await until(() => isMaking)
    const { calls, load } = noting()
    const strict = { strict: true, ...soon() }
    const unavailable = cacheError('ERR_CACHE_L2_UNAVAILABLE')
    await assert.rejects(cache.getOrSetMany(['had', 'a', 'b'], load, strict), unavailable)
    await assert.rejects(cache.getOrSetMany(['made', 'a'], load, strict), unavailable)
    assert.deepEqual(calls, [])
    const lenient = cache.getOrSetMany(['made', 'a', 'b'], load, soon())
    await until(() => calls.length > 0)
    open('value')
    assert.deepEqual(await lenient, ['value', 'of a', 'of b'])
    assert.equal(await single, 'value')
    assert.deepEqual(calls, [['a', 'b']])
  })

  if (kind.l1) {
    test('a strict call that rejects for one key does not hold up the renewal of another', async (t) => {
      const { cache, proxy } = await behindProxy(t)
      await cache.set('a', 'old', { ttl: 5_000, jitter: 0 })
      await away({ cache, proxy })
      await until(async () => (await cache.ttl('a')) < 4_500)
      const { calls, load } = noting()
      const call = cache.getOrSetMany(['a', 'b'], load, { strict: true, eagerRefresh: 0.1, ...soon() })
      await assert.rejects(call, cacheError('ERR_CACHE_L2_UNAVAILABLE'))
      await until(() => cache.peek('a') === 'of a')
      assert.deepEqual(calls, [['a']])
    })
  }

  test('a strict call whose Redis goes silent rejects by its deadline', async (t) => {
    const { cache, proxy } = await behindProxy(t, { l2: { timeout: 300 } })
    proxy.silence()
    const { calls, load } = noting()
    const call = cache.getOrSetMany(['a', 'b', 'c'], load, { strict: true, ...soon() })
    await assert.rejects(call, ({ code }) => ['ERR_CACHE_TIMEOUT', 'ERR_CACHE_L2_UNAVAILABLE'].includes(code))
    assert.deepEqual(calls, [])
  })
}
