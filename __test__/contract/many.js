'use strict'

// getOrSetMany: each key is a load like any other, and those that nobody has or is making are made by one call.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { cacheError, ownNamespace } = require('../support/cache.js')
const { monitor } = require('../support/monitor.js')
const { gate, noting } = require('../support/origin.js')
const { until } = require('../support/wait.js')

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

  if (kind.l2)
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
