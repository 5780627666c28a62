'use strict'

// A function with a cache before it: what each kind of cache does for one. The keys are in wrap-keys.test.js.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { kindsOn } = require('./contract/kinds.js')
const { cacheError, openCache } = require('./support/cache.js')
const { freePort, startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** A function that notes its calls. */
function spy(answer = (...args) => ({ args })) {
  const calls = []
  const fn = async (...args) => {
    calls.push(args)
    return answer(...args)
  }
  return { fn, calls }
}

/** The warnings of `cache` from now on. */
function warningsOf(cache) {
  const warnings = []
  cache.on('warning', (warning) => warnings.push(warning))
  return warnings
}

for (const kind of kindsOn(() => server)) {
  describe(kind.name, () => {
    test('the function is called once for each list of arguments', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy()
      const find = cache.wrap(fn, { key: 'user' })
      for (let round = 0; round < 2; round++) {
        assert.deepEqual(await find(1), { args: [1] })
        assert.deepEqual(await find('1'), { args: ['1'] })
        assert.deepEqual(await find(1, { full: true, deep: false }), {
          args: [1, { full: true, deep: false }],
        })
        assert.deepEqual(await find(1, { deep: false, full: true }), {
          args: [1, { full: true, deep: false }],
        })
        assert.deepEqual(await find(), { args: [] })
      }
      assert.equal(calls.length, 4)
    })

    test('however many ask at once, it is called once', async (t) => {
      const cache = await kind.open(t)
      let open
      const gate = new Promise((resolve) => (open = resolve))
      const { fn, calls } = spy(() => gate)
      const find = cache.wrap(fn, { key: 'user' })
      const asked = Array.from({ length: 50 }, () => find(7))
      await until(() => calls.length > 0)
      open('value')
      assert.deepEqual(await Promise.all(asked), Array(50).fill('value'))
      assert.equal(calls.length, 1)
    })

    test('the key of some arguments is the one of get, set and delete', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy(() => 'made')
      const find = cache.wrap(fn, { key: 'user' })
      assert.equal(find.keyOf(7), 'user:7')
      await cache.set('user:7', 'set')
      assert.equal(await find(7), 'set')
      assert.equal(await find(8), 'made')
      await cache.settled()
      assert.equal(await cache.get(find.keyOf(8)), 'made')
      assert.deepEqual(calls, [[8]])
    })

    test('delete removes the entry of its arguments and no other', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy()
      const find = cache.wrap(fn, { key: 'user' })
      await find(1)
      await find(2)
      await cache.settled()
      assert.equal(await find.delete(1), true)
      assert.equal(await find.delete(1), false)
      await find(1)
      await find(2)
      assert.deepEqual(calls, [[1], [2], [1]])
    })

    test('a key function makes the whole key', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy()
      const find = cache.wrap(fn, { key: (id) => `u/${id}` })
      const { signal } = new AbortController()
      await find(1, signal)
      await find(1, AbortSignal.abort())
      await cache.settled()
      assert.deepEqual(calls, [[1, signal]])
      assert.equal(find.keyOf(1, signal), 'u/1')
      assert.equal(await cache.has('u/1'), true)
      assert.equal(await find.delete(1), true)
    })

    test('fresh calls the function and replaces what is cached', async (t) => {
      const cache = await kind.open(t)
      let made = 0
      const find = cache.wrap(async (id) => `${id}/${++made}`, { key: 'user', ttl: 60_000 })
      assert.equal(await find(1), '1/1')
      await cache.settled()
      assert.equal(await find.fresh(1), '1/2')
      await cache.settled()
      assert.equal(await find(1), '1/2')
    })

    test('undefined is not stored, null is', async (t) => {
      const cache = await kind.open(t)
      const warnings = warningsOf(cache)
      const { fn, calls } = spy((value) => (value === 'none' ? undefined : null))
      const find = cache.wrap(fn, { key: 'user', ttl: (value) => (value === null ? 60_000 : -1) })
      for (let round = 0; round < 2; round++) {
        assert.equal(await find('none'), undefined)
        assert.equal(await find('null'), null)
        await cache.settled()
      }
      assert.deepEqual(calls, [['none'], ['null'], ['none']])
      assert.deepEqual(warnings, [])
    })

    test('an error is passed on unchanged and not stored, thrown or rejected', async (t) => {
      const cache = await kind.open(t)
      const error = new TypeError('no such user')
      let fails = true
      const fail = () => {
        if (fails) throw error
        return 'made'
      }
      const sync = cache.wrap(fail, { key: 'sync', ttl: () => 60_000 })
      const async = cache.wrap(async () => fail(), { key: 'async' })
      for (const wrapped of [sync, async]) await assert.rejects(wrapped(), (reason) => reason === error)
      fails = false
      for (const wrapped of [sync, async]) assert.equal(await wrapped(), 'made')
    })

    test('ttl may depend on the value and the arguments', async (t) => {
      const cache = await kind.open(t)
      const { fn } = spy((id) => ({ id, life: 20_000 }))
      const seen = []
      const ttl = (...given) => {
        seen.push(given)
        return given[0].life * given[1]
      }
      const find = cache.wrap(fn, { key: 'token', ttl, jitter: 0 })
      await find(2, 'x')
      await cache.settled()
      assert.deepEqual(seen, [[{ id: 2, life: 20_000 }, 2, 'x']])
      const left = await cache.ttl('token:2:"x"')
      assert.ok(left > 30_000 && left <= 40_000, `${left} ms`)
    })

    test('tags may depend on the value and the arguments', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy((id) => ({ team: id % 2 }))
      const tags = ({ team }, id) => [`team:${team}`, `user:${id}`]
      const find = cache.wrap(fn, { key: 'user', tags })
      const list = cache.wrap(fn, { key: 'users', tags: ['team:1'] })
      const all = async () => {
        for (const id of [1, 2, 3]) await find(id)
        await list(0)
        await cache.settled()
        return calls.splice(0).map(([id]) => id)
      }
      assert.deepEqual(await all(), [1, 2, 3, 0])
      await cache.invalidateTags('team:1')
      assert.deepEqual(await all(), [1, 3, 0])
      await cache.invalidateTags('user:2')
      assert.deepEqual(await all(), [2])
    })

    const unusable = {
      'a ttl that throws': { ttl: () => { throw new Error('no idea') } }, // prettier-ignore
      'a ttl that throws what has no text': { ttl: () => { throw Object.create(null) } }, // prettier-ignore
      'a ttl that gives nothing': { ttl: () => undefined },
      'a ttl in the past': { ttl: () => -5 },
      'a ttl that is NaN': { ttl: () => NaN },
      'a ttl that comes too late': { ttl: async () => 60_000 },
      'a ttl that rejects': { ttl: async () => { throw new Error('late') } }, // prettier-ignore
      'tags that throw': { tags: () => { throw new Error('no idea') } }, // prettier-ignore
      'tags that are one text': { tags: () => 'team' },
      'both, told of once': { tags: () => 'team', ttl: () => undefined },
      'tags that are none after a ttl that is one': { ttl: () => 60_000, tags: () => null },
    }
    for (const [name, options] of Object.entries(unusable)) {
      test(`${name}: the value is returned and not stored, with a warning`, async (t) => {
        const cache = await kind.open(t)
        const warnings = warningsOf(cache)
        const { fn, calls } = spy(() => 'value')
        const find = cache.wrap(fn, { key: 'user', ...options })
        assert.deepEqual(await Promise.all([find(1), find(1)]), ['value', 'value'])
        await cache.settled()
        assert.equal(await cache.has('user:1'), false)
        assert.equal(calls.length, 1)
        const [{ code, message }, ...more] = warnings
        assert.equal(code, 'wrap-option-failed')
        assert.match(message, new RegExp(`\`${Object.keys(options).at(-1)}\`.*"fn".*not stored`))
        assert.deepEqual(more, [])
      })
    }

    test('the options of getOrSet hold for every call', async (t) => {
      const cache = await kind.open(t)
      const controller = new AbortController()
      const options = { key: 'user', ttl: 30_000, jitter: 0, signal: controller.signal, factoryTimeout: 50 }
      const find = cache.wrap((id) => (id === 0 ? new Promise(() => {}) : id), options)
      options.ttl = 1
      await find(1)
      await cache.settled()
      const left = await cache.ttl('user:1')
      assert.ok(left > 20_000 && left <= 30_000, `${left} ms`)
      await assert.rejects(find(0), cacheError('ERR_CACHE_FACTORY_TIMEOUT'))
      controller.abort()
      await assert.rejects(find(1), cacheError('ERR_CACHE_ABORTED'))
      await assert.rejects(find.delete(1), cacheError('ERR_CACHE_ABORTED'))
    })

    test('in a view the keys are below its prefix', async (t) => {
      const cache = await kind.open(t)
      const find = cache.namespaced('app').wrap(async (id) => id, { key: 'user' })
      await find(1)
      await cache.settled()
      assert.equal(find.keyOf(1), 'user:1')
      assert.equal(await cache.get('app:user:1'), 1)
      assert.equal(await find.delete(1), true)
    })

    test('after close the function is called each time', async (t) => {
      const cache = await kind.open(t)
      const { fn, calls } = spy()
      const find = cache.wrap(fn, { key: 'user', ttl: () => 60_000 })
      await find(1)
      await cache.close()
      assert.deepEqual(await find(1), { args: [1] })
      assert.deepEqual(await find(1), { args: [1] })
      assert.equal(calls.length, 3)
      await assert.rejects(find.delete(1), cacheError('ERR_CACHE_CLOSED'))
    })
  })
}

test('while Redis is away the function answers, unless calls are to be strict', async (t) => {
  const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}` })
  const find = cache.wrap(async (id) => id, { key: 'user' })
  assert.equal(await find(1), 1)
  assert.equal(await find.delete(1), true)
  const strict = cache.wrap(async (id) => id, { key: 'strict', strict: true })
  await assert.rejects(strict(1), cacheError('ERR_CACHE_L2_UNAVAILABLE'))
  await assert.rejects(strict.delete(1), cacheError('ERR_CACHE_L2_UNAVAILABLE'))
})

describe('the wrapped function', () => {
  test('has the name and the length of the function', (t) => {
    const cache = openCache(t)
    function findUser(_id, _options) {}
    const find = cache.wrap(findUser, { key: 'user' })
    assert.equal(find.name, 'findUser')
    assert.equal(find.length, 2)
  })

  test('calls it, and every function among the options, with its own `this`', async (t) => {
    const cache = openCache(t)
    const users = {
      shop: 'north',
      find: cache.wrap(
        function (id) {
          return `${this.shop}/${id}`
        },
        {
          key(id) {
            return `${this.shop}:${id}`
          },
          ttl() {
            return this.shop.length * 10_000
          },
        },
      ),
    }
    assert.equal(await users.find(1), 'north/1')
    assert.equal(await cache.get('north:1'), 'north/1')
    assert.equal(users.find.keyOf.call(users, 1), 'north:1')
    assert.equal(await users.find.delete.call({ shop: 'south' }, 1), false)
    assert.equal(await users.find.delete.call(users, 1), true)
  })

  test('is no `this` for the function, nor for a key function', async (t) => {
    const cache = openCache(t)
    const receivers = []
    const find = cache.wrap(
      function () {
        receivers.push(this)
        return 1
      },
      {
        key() {
          receivers.push(this)
          return 'key'
        },
      },
    )
    await find()
    await find.delete()
    find.keyOf()
    assert.deepEqual(receivers, [undefined, undefined, undefined, undefined])
  })

  test('can do everything with its methods taken out of it', async (t) => {
    const cache = openCache(t)
    const find = cache.wrap(async (id) => id, { key: 'user' })
    const { delete: remove, keyOf } = find
    await find(1)
    assert.equal(keyOf(1), 'user:1')
    assert.equal(await remove(1), true)
  })

  test('awaits what is no promise but can be awaited', async (t) => {
    const cache = openCache(t)
    const query = { then: (resolve) => resolve({ id: 1 }) } // as a query of knex or mongoose
    const seen = []
    const find = cache.wrap(() => query, { key: 'user', ttl: (value) => (seen.push(value), 60_000) })
    assert.deepEqual(await find(), { id: 1 })
    assert.deepEqual(seen, [{ id: 1 }])
    assert.deepEqual(await cache.get('user'), { id: 1 })
  })
})

describe('what cannot be wrapped', () => {
  const fn = () => 1
  const cases = [
    ['nothing', [], /`fn` to be a function, got undefined/],
    ['an object', [{}, fn], /`fn` to be a function, got an object/],
    ['a promise', [Promise.resolve(1), { key: 'k' }], /`fn` to be a function, got a promise/],
    ['a text first, as elsewhere', ['user', fn], /`fn` to be a function, got "user"; write wrap\(fn, \{ key: "user" \}\) .*getOrSet\("user", fn\)/],
    ['no options', [fn], /`options` to be an object, got undefined; write wrap\(fn, \{ key: /],
    ['a prefix for options', [fn, 'user'], /`options` to be an object, got "user"; write wrap\(fn, \{ key: /],
    ['no key', [fn, { ttl: 1_000 }], /`key` to be a non-empty string or a function/],
    ['an empty key', [fn, { key: '' }], /`key` to be .*, got an empty string/],
    ['a key that is a number', [fn, { key: 1 }], /`key` to be .*, got 1/],
    ['a ttl that is none', [fn, { key: 'k', ttl: -1 }], /`ttl` to be a positive number/],
    ['a typo', [fn, { key: 'k', tll: 1_000 }], /`tll` .*`ttl`/],
    ['a function where none belongs', [fn, { key: 'k', staleFor: () => 1 }], /`staleFor`/],
  ] // prettier-ignore
  for (const [name, args, message] of cases) {
    test(`${name} is refused with what was expected`, (t) => {
      const cache = openCache(t)
      assert.throws(() => cache.wrap(...args), cacheError('ERR_CACHE_OPTIONS', message))
    })
  }
})
