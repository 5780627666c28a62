'use strict'

// getOrSetMany: each key is a load like any other, and those that nobody has or is making are made by one call.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { cacheError, openCache, ownNamespace } = require('../support/cache.js')
const { root } = require('../support/child.js')
const { startProxy } = require('../support/fault-proxy.js')
const { monitor } = require('../support/monitor.js')
const { eventOf, until } = require('../support/wait.js')

/** A loader that notes the keys of each call, in their order of names; the value of a key is `of <key>`. */
function noting(answer = (keys) => keys.map((key) => `of ${key}`)) {
  const calls = []
  const load = async (keys, context) => {
    calls.push(keys.toSorted())
    return answer(keys, context)
  }
  return { calls, load }
}

/** A promise to be settled from outside. */
function gate() {
  const parts = {}
  parts.opens = new Promise((resolve, reject) => Object.assign(parts, { open: resolve, fail: reject }))
  return parts
}

/** Ends with the test, for what would otherwise wait for ever. */
const soon = () => ({ signal: AbortSignal.timeout(10_000) })

module.exports = (kind) => {
  describe('what is asked for', () => {
    test('values come in the order of the keys, duplicates too, and one call makes what nobody has', async (t) => {
      const cache = await kind.open(t)
      await cache.set('b', 'had')
      const { calls, load } = noting()
      const keys = ['c', 'b', 'a', 'c', 'b']
      const values = ['of c', 'had', 'of a', 'of c', 'had']
      assert.deepEqual(await cache.getOrSetMany(keys, load), values)
      await cache.settled()
      assert.deepEqual(await cache.getOrSetMany(keys, load), values)
      assert.deepEqual(await cache.getMany(keys), values)
      assert.deepEqual(calls, [['a', 'c']])
    })

    test('nothing is asked for no keys', async (t) => {
      const cache = await kind.open(t)
      const { calls, load } = noting()
      assert.deepEqual(await cache.getOrSetMany([], load), [])
      assert.deepEqual(calls, [])
    })

    test('a thousand keys are one call', async (t) => {
      const cache = await kind.open(t)
      const { calls, load } = noting()
      const keys = Array.from({ length: 1_000 }, (_, index) => `key-${index}`)
      const values = keys.map((key) => `of ${key}`)
      assert.deepEqual(await cache.getOrSetMany(keys, load), values)
      assert.deepEqual(
        calls.map(({ length }) => length),
        [1_000],
      )
      await cache.settled()
      assert.deepEqual(await cache.getMany(keys), values)
    })

    test('a key that a getOrSet is making is waited for, and not asked for', async (t) => {
      const cache = await kind.open(t)
      const { opens, open } = gate()
      let isMaking = false
      const single = cache.getOrSet('b', () => {
        isMaking = true
        return opens
      })
      await until(() => isMaking)
      const { calls, load } = noting()
      const several = cache.getOrSetMany(['a', 'b', 'c'], load)
      await until(() => calls.length > 0, { message: 'the others are asked for meanwhile' })
      open('from the other')
      assert.deepEqual(await several, ['of a', 'from the other', 'of c'])
      assert.equal(await single, 'from the other')
      assert.deepEqual(calls, [['a', 'c']])
    })

    test('a getOrSet of a key that is being made waits for it', async (t) => {
      const cache = await kind.open(t)
      const { opens, open } = gate()
      const { calls, load } = noting(() => opens)
      const several = cache.getOrSetMany(['a', 'b'], load)
      await until(() => calls.length > 0)
      const single = cache.getOrSet('b', () => assert.fail('it is being made'))
      open({ a: 1, b: 2 })
      assert.deepEqual(await several, [1, 2])
      assert.equal(await single, 2)
    })

    test('calls that overlap make each key once', async (t) => {
      const cache = await kind.open(t)
      const { opens, open } = gate()
      const { calls, load } = noting(async (keys) => {
        await opens
        return keys.map((key) => `of ${key}`)
      })
      const first = cache.getOrSetMany(['a', 'b'], load)
      const second = cache.getOrSetMany(['b', 'c'], load)
      const third = cache.getOrSetMany(['c', 'a', 'b'], load)
      await until(() => calls.length > 1)
      open()
      assert.deepEqual(await first, ['of a', 'of b'])
      assert.deepEqual(await second, ['of b', 'of c'])
      assert.deepEqual(await third, ['of c', 'of a', 'of b'])
      assert.deepEqual(calls, [['a', 'b'], ['c']])
    })

    test('a loader whose caller has left goes on for those who wait for a key of it', async (t) => {
      const cache = await kind.open(t)
      const leaving = new AbortController()
      const { opens, open } = gate()
      const [one, two] = [noting(() => opens), noting()]
      const first = cache.getOrSetMany(['a', 'b'], one.load, { signal: leaving.signal })
      await until(() => one.calls.length > 0)
      const second = cache.getOrSetMany(['b', 'c'], two.load)
      await until(() => two.calls.length > 0)
      leaving.abort()
      await assert.rejects(first, cacheError('ERR_CACHE_ABORTED'))
      open(['from the first', 'from the first'])
      assert.deepEqual(await second, ['from the first', 'of c'])
      assert.deepEqual(two.calls, [['c']])
    })
  })

  describe('what a loader may give', () => {
    const forms = {
      'an array in the order of its keys': (keys) => keys.map((key) => `of ${key}`),
      'a Map': (keys) => new Map(keys.map((key) => [key, `of ${key}`])),
      'an object': (keys) => Object.fromEntries(keys.map((key) => [key, `of ${key}`])),
      'an object without a prototype': (keys) =>
        Object.assign(Object.create(null), Object.fromEntries(keys.map((key) => [key, `of ${key}`]))),
    }
    for (const [name, form] of Object.entries(forms)) {
      test(`${name}, at once or later`, async (t) => {
        const cache = await kind.open(t)
        assert.deepEqual(await cache.getOrSetMany(['b', 'a'], form), ['of b', 'of a'])
        assert.deepEqual(await cache.getOrSetMany(['d', 'c'], async (keys) => form(keys)), ['of d', 'of c'])
        assert.deepEqual(await cache.getMany(['a', 'b', 'c', 'd']), ['of a', 'of b', 'of c', 'of d'])
      })
    }

    test('what is missing is undefined and asked for again, and null is a value', async (t) => {
      const cache = await kind.open(t)
      const first = noting(() => new Map([['b', null]]))
      const keys = ['a', 'b', 'toString', '__proto__']
      const none = [undefined, null, undefined, undefined]
      assert.deepEqual(await cache.getOrSetMany(keys, first.load), none)
      await cache.settled()
      const second = noting(() => ({ a: undefined }))
      assert.deepEqual(await cache.getOrSetMany(keys, second.load), none)
      assert.deepEqual(second.calls, [['__proto__', 'a', 'toString']])
    })

    test('names of Object.prototype are keys like any other', async (t) => {
      const cache = await kind.open(t)
      const keys = ['__proto__', 'constructor', 'toString']
      const own = () => JSON.parse('{"__proto__":1,"constructor":2,"toString":3}')
      assert.deepEqual(await cache.getOrSetMany(keys, own), [1, 2, 3])
      assert.deepEqual(await cache.getMany(keys), [1, 2, 3])
    })

    for (const value of [0, '', false]) {
      test(`${JSON.stringify(value)} is stored`, async (t) => {
        const cache = await kind.open(t)
        assert.deepEqual(await cache.getOrSetMany(['a'], () => [value]), [value])
        await cache.settled()
        assert.deepEqual(await cache.getOrSetMany(['a'], () => ['other']), [value])
      })
    }

    test('every caller gets a copy of its own', async (t) => {
      const cache = await kind.open(t)
      const made = { list: [1] }
      const [one, two] = await Promise.all([
        cache.getOrSetMany(['a'], () => [made]),
        cache.getOrSetMany(['a'], () => [made]),
      ])
      one[0].list.push(2)
      assert.deepEqual(two, [{ list: [1] }])
      assert.deepEqual(await cache.get('a'), { list: [1] })
    })

    test('a value that cannot be stored is returned all the same, and the others are stored', async (t) => {
      const cache = await kind.open(t)
      const odd = () => 'a function'
      assert.deepEqual(await cache.getOrSetMany(['a', 'b'], () => [odd, 2]), [odd, 2])
      await cache.settled()
      assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, 2])
    })

    test('a value that cannot be decoded is made with the others, and told once', async (t) => {
      let isBroken = false
      const codec = {
        encode: (value) => Buffer.from(String(value)),
        decode(bytes) {
          if (isBroken && String(bytes) === 'old') throw new Error('not mine')
          return String(bytes)
        },
      }
      const cache = await kind.open(t, { codec })
      const warnings = []
      cache.on('warning', ({ code }) => warnings.push(code))
      await cache.set('a', 'old')
      isBroken = true
      const { calls, load } = noting()
      assert.deepEqual(await cache.getOrSetMany(['a', 'b'], load), ['of a', 'of b'])
      await cache.settled()
      assert.deepEqual(await cache.getMany(['a', 'b']), ['of a', 'of b'])
      assert.deepEqual(calls, [['a', 'b']])
      assert.deepEqual(warnings, ['value-not-decodable'])
    })

    test('an error reaches every caller of the keys unchanged, and the next call tries again', async (t) => {
      const cache = await kind.open(t)
      const { opens, fail } = gate()
      const error = new RangeError('no such products')
      const { calls, load } = noting(() => opens)
      const several = cache.getOrSetMany(['a', 'b'], load)
      await until(() => calls.length > 0)
      const others = [
        cache.getOrSetMany(['b', 'c'], () => ['c']),
        cache.getOrSet('a', () => assert.fail('it is being made')),
      ]
      fail(error)
      for (const { reason } of await Promise.allSettled([several, ...others])) assert.equal(reason, error)
      assert.deepEqual(await cache.getOrSetMany(['a', 'b', 'c'], (keys) => keys), ['a', 'b', 'c'])
    })

    test('what a call made itself is stored, even if a key that somebody else makes fails it', async (t) => {
      const cache = await kind.open(t)
      const { opens, fail } = gate()
      const error = new Error('the other failed')
      const single = cache.getOrSet('a', () => opens)
      const { calls, load } = noting()
      const several = cache.getOrSetMany(['a', 'b'], load)
      await until(() => calls.length > 0)
      fail(error)
      for (const { reason } of await Promise.allSettled([single, several])) assert.equal(reason, error)
      await cache.settled()
      assert.equal(await cache.get('b'), 'of b')
      assert.deepEqual(calls, [['b']])
    })

    const wrong = {
      'too few': [() => [1], /give as many values as keys \(2\), got 1/],
      'too many': [() => [1, 2, 3], /give as many values as keys \(2\), got 3/],
      nothing: [() => undefined, /an array, a Map or an object of values, got undefined/],
      null: [() => null, /got null/],
      'a string': [() => 'ab', /got "ab"/],
      'a number': [() => 2, /got 2/],
    }
    for (const [name, [load, message]] of Object.entries(wrong)) {
      test(`${name} is refused, and the keys are free again`, async (t) => {
        const cache = await kind.open(t)
        await assert.rejects(cache.getOrSetMany(['a', 'b'], load), cacheError('ERR_CACHE_OPTIONS', message))
        assert.deepEqual(await cache.getOrSetMany(['a', 'b'], () => [1, 2]), [1, 2])
      })
    }
  })

  describe('what is refused', () => {
    const misuses = {
      'no loader': [(cache) => cache.getOrSetMany(['a']), 'ERR_CACHE_OPTIONS', /loadMissing/],
      'a string for keys': [(cache) => cache.getOrSetMany('ab', () => []), 'ERR_CACHE_KEY', /keys/],
      'a key that is none': [
        (cache, load) => cache.getOrSetMany(['a', ''], load),
        'ERR_CACHE_KEY',
        /keys\[1\]/,
      ],
      'a key that is a number': [
        (cache, load) => cache.getOrSetMany([1], load),
        'ERR_CACHE_KEY',
        /keys\[0\]/,
      ],
      'a key of our own': [(cache, load) => cache.getOrSetMany(['a', '~epoch'], load), 'ERR_CACHE_KEY', /~/],
      'a key that is too long': [
        (cache, load) => cache.getOrSetMany(['a', 'k'.repeat(33 * 1024)], load),
        'ERR_CACHE_KEY',
        /\S/,
      ],
      'a number for options': [
        (cache, load) => cache.getOrSetMany(['a'], load, 60),
        'ERR_CACHE_OPTIONS',
        /ttl/,
      ],
      'an unknown option': [
        (cache, load) => cache.getOrSetMany(['a'], load, { tll: 1 }),
        'ERR_CACHE_OPTIONS',
        /tll/,
      ],
    }
    for (const [name, [misuse, code, message]] of Object.entries(misuses)) {
      test(`${name}, and the loader is not called`, async (t) => {
        const cache = await kind.open(t)
        const { calls, load } = noting()
        await assert.rejects(misuse(cache, load), cacheError(code, message))
        assert.deepEqual(calls, [])
        assert.deepEqual(await cache.getOrSetMany(['a'], load), ['of a'])
      })
    }
  })

  describe('options', () => {
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
  })

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

  test('a view asks for its own keys', async (t) => {
    const cache = await kind.open(t)
    const users = cache.namespaced('user')
    const { calls, load } = noting()
    await cache.set('user:1', 'Ada')
    assert.deepEqual(await users.getOrSetMany(['1', '2'], load), ['Ada', 'of 2'])
    assert.deepEqual(calls, [['2']])
    await cache.settled()
    assert.equal(await cache.get('user:2'), 'of 2')
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

  test('one MGET asks for what L1 lacks, and one loader makes what Redis lacks', async (t) => {
    const { redis: url, ...options } = kind.options()
    const client = ownNamespace()
    const redis = { url, connectionName: client }
    const cache = await kind.open(t, { ...options, redis })
    await cache.setMany({ near: 1, far: 2 })
    await cache.command('SET', [`${cache.prefix}alien`, '3'])
    const server = kind.server()
    const judge = await monitor(server, client)
    t.after(() => judge.close())
    await judge.commands()
    const { calls, load } = noting()
    const keys = ['near', 'alien', 'none', 'far', 'none']
    assert.deepEqual(await cache.getOrSetMany(keys, load), [1, 3, 'of none', 2, 'of none'])
    await cache.settled()
    const sent = await judge.commands()
    const reads = sent.filter((words) => /^m?get /i.test(words))
    const asked = (kind.l1 ? ['alien', 'none'] : ['near', 'alien', 'none', 'far']).map(
      (key) => cache.prefix + key,
    )
    assert.deepEqual(reads, [`MGET ${asked.join(' ')}`])
    assert.deepEqual(calls, [['none']])
  })
}
