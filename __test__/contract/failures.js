'use strict'

// What getOrSet does with factories that fail or are too late: who is given what, how often the factory is called, and what is
// cached after that.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { gated, origin } = require('../support/origin.js')
const { BRIEF, FACTORY_TIMEOUT, KEPT, LONG, NEVER_WAITED, stale } = require('../support/stale.js')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
  /* ------------------------------------------------------------------------------------------------- fail-safe */

  for (const [name, wait] of [
    ['behind its callers', {}],
    ['while they wait', { factorySoftTimeout: NEVER_WAITED }],
  ]) {
    test(`a factory that throws ${name} leaves them the stale value, and is not called for retryAfter`, async (t) => {
      const cache = await kind.open(t)
      await stale(cache)
      const failing = origin(() => {
        throw new Error('origin is down')
      })
      const options = { ...LONG, ...wait, retryAfter: 250 }
      const ask = () => cache.getOrSet('key', failing.make, options)
      assert.deepEqual(await Promise.all([ask(), ask(), ask()]), ['old', 'old', 'old'])
      await until(() => failing.calls === 1)
      await until(async () => (assert.equal(await ask(), 'old'), failing.calls > 1))
      const [first, second] = failing.at
      assert.ok(second - first >= 245, `again after ${second - first} ms`)
    })

    test(`a factory that times out ${name} leaves them the stale value, and is not called for retryAfter`, async (t) => {
      const cache = await kind.open(t)
      await stale(cache)
      const stuck = gated()
      const options = { ...LONG, ...wait, factoryTimeout: 50, retryAfter: 250 }
      const ask = () => cache.getOrSet('key', stuck.make, options)
      assert.deepEqual(await Promise.all([ask(), ask(), ask()]), ['old', 'old', 'old'])
      await until(() => stuck.calls === 1)
      await until(async () => (assert.equal(await ask(), 'old'), stuck.calls > 1))
      const [first, second] = stuck.at
      assert.ok(second - first >= 295, `again after ${second - first} ms`)
    })
  }

  const changes = {
    set: (cache) => stale(cache, { value: 'other' }),
    delete: (cache) => cache.delete('key'),
    clear: (cache) => cache.clear(),
    'another loader': (cache) => cache.getOrSet('key', () => 'other', { ...BRIEF, fresh: true }),
  }
  for (const [name, change] of Object.entries(changes)) {
    test(`after a failure, ${name} ends the rest of the factory`, async (t) => {
      const cache = await kind.open(t)
      await stale(cache)
      const failing = origin(() => {
        throw new Error('origin is down')
      })
      const options = { ...LONG, retryAfter: NEVER_WAITED }
      const ask = (make) => cache.getOrSet('key', make, options)
      assert.equal(await ask(failing.make), 'old')
      await until(() => failing.calls === 1)
      await cache.settled()
      await change(cache)
      await cache.settled()
      await until(async () => (await cache.get('key')) === undefined)
      const working = origin(() => 'new')
      await ask(working.make)
      await until(() => working.calls === 1)
      assert.equal(failing.calls, 1)
    })
  }

  test('the rest of one key is no rest of another', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const failing = origin(() => {
      throw new Error('origin is down')
    })
    const options = { ...LONG, retryAfter: NEVER_WAITED }
    assert.equal(await cache.getOrSet('key', failing.make, options), 'old')
    await until(() => failing.calls === 1)
    assert.equal(await cache.getOrSet('other', () => 'made', options), 'made')
  })

  test('without a stale value the error is passed on unchanged, and the factory does not rest', async (t) => {
    const cache = await kind.open(t)
    const error = new RangeError('no such product')
    const failing = origin(() => {
      throw error
    })
    const ask = () => cache.getOrSet('key', failing.make, { ...LONG, retryAfter: NEVER_WAITED })
    await assert.rejects(ask(), (reason) => reason === error)
    await assert.rejects(ask(), (reason) => reason === error)
    assert.equal(failing.calls, 2)
  })

  test('a stale value that is deleted while the factory runs stands in for nothing', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const slow = gated()
    const asked = cache.getOrSet('key', slow.make, { ...LONG, factorySoftTimeout: NEVER_WAITED })
    await until(() => slow.calls === 1)
    await cache.delete('key')
    slow.fail(new Error('origin is down'))
    await assert.rejects(asked, { message: 'origin is down' })
    assert.equal(await cache.getOrSet('key', () => 'new'), 'new')
  })

  test('a caller who leaves is no failure: the factory does not rest', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const leaving = new AbortController()
    const options = { ...LONG, factorySoftTimeout: NEVER_WAITED, retryAfter: NEVER_WAITED }
    const stuck = gated()
    const left = cache.getOrSet('key', stuck.make, { ...options, signal: leaving.signal })
    await until(() => stuck.calls === 1)
    leaving.abort()
    await assert.rejects(left, cacheError('ERR_CACHE_ABORTED'))
    await until(() => stuck.signals[0].aborted)
    stuck.fail(new Error('aborted'))
    assert.equal(await cache.getOrSet('key', () => 'new', options), 'new')
  })

  test('a warning tells of a failure that a stale value stood in for', async (t) => {
    const cache = await kind.open(t)
    const warnings = []
    cache.on('warning', (warning) => warnings.push(warning))
    await stale(cache)
    const fail = async () => {
      throw new Error('origin is down')
    }
    assert.equal(await cache.getOrSet('key', fail, LONG), 'old')
    await until(() => warnings.some(({ code }) => code === 'stale-served'))
    assert.match(warnings.find(({ code }) => code === 'stale-served').message, /origin is down/)
  })

  test('an eager refresh that fails changes nothing, and is not tried again for retryAfter', async (t) => {
    const cache = await kind.open(t)
    const failing = origin(() => {
      throw new Error('origin is down')
    })
    const life = { ttl: 1_500, jitter: 0 }
    const ask = () => cache.getOrSet('key', failing.make, { ...life, eagerRefresh: 0.05, retryAfter: 300 })
    await cache.set('key', 'old', life)
    await until(async () => (assert.equal(await ask(), 'old'), failing.calls === 2))
    const [first, second] = failing.at
    assert.ok(second - first >= 295, `again after ${second - first} ms`)
    assert.equal(await cache.get('key'), 'old')
  })

  test('fresh gets the error of a factory, whatever could stand in for its value', async (t) => {
    const cache = await kind.open(t)
    const error = new Error('origin is down')
    const failing = origin(() => {
      throw error
    })
    const options = { ...LONG, fresh: true, retryAfter: NEVER_WAITED }
    const ask = () => cache.getOrSet('key', failing.make, options)
    await cache.set('key', 'good', KEPT)
    await assert.rejects(ask(), (reason) => reason === error)
    assert.equal(await cache.get('key'), 'good', 'what is cached stays')
    await stale(cache)
    await assert.rejects(ask(), (reason) => reason === error)
    await assert.rejects(ask(), (reason) => reason === error)
    assert.equal(failing.calls, 3)
    const stuck = cache.getOrSet('key', () => new Promise(() => {}), { ...options, factoryTimeout: 50 })
    await assert.rejects(stuck, FACTORY_TIMEOUT)
  })

  /* -------------------------------------------------------------------------------------------------- too late */

  test('what a factory makes past its timeout is stored', async (t) => {
    const cache = await kind.open(t)
    const slow = gated()
    await assert.rejects(cache.getOrSet('key', slow.make, { ...LONG, factoryTimeout: 50 }), FACTORY_TIMEOUT)
    slow.open('late')
    await until(async () => (await cache.get('key')) === 'late')
    assert.equal(await cache.getOrSet('key', () => 'again'), 'late')
  })

  test('what a factory makes past its timeout is stored where a stale value stood in for it', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const slow = gated()
    const options = {
      ...LONG,
      factorySoftTimeout: NEVER_WAITED,
      factoryTimeout: 50,
      retryAfter: NEVER_WAITED,
    }
    assert.equal(await cache.getOrSet('key', slow.make, options), 'old')
    slow.open('late')
    await until(async () => (await cache.get('key')) === 'late')
    assert.equal(await cache.getOrSet('key', slow.make, options), 'late')
    assert.equal(slow.calls, 1)
  })

  const newer = {
    'a value that was set': { change: (cache) => cache.set('key', 'newer'), holds: 'newer' },
    'one that another factory made': {
      change: (cache) => cache.getOrSet('key', () => 'newer', LONG),
      holds: 'newer',
    },
    'a delete': { change: (cache) => cache.delete('key'), holds: undefined },
    'a clear': { change: (cache) => cache.clear(), holds: undefined },
  }
  for (const [name, { change, holds }] of Object.entries(newer)) {
    test(`what a factory makes past its timeout does not replace ${name}`, async (t) => {
      const cache = await kind.open(t)
      const slow = gated()
      const options = { ...LONG, factoryTimeout: 50 }
      await assert.rejects(cache.getOrSet('key', slow.make, options), FACTORY_TIMEOUT)
      await change(cache)
      slow.open('late')
      await slow.over
      await cache.settled()
      assert.equal(await cache.get('key'), holds)
    })
  }

  test('factoryTimeout: false waits as long as it takes', async (t) => {
    const cache = await kind.open(t, { loader: { factoryTimeout: 50 } })
    const slow = gated()
    const asked = cache.getOrSet('key', slow.make, { factoryTimeout: false })
    await until(() => slow.calls === 1)
    await assert.rejects(
      cache.getOrSet('other', () => new Promise(() => {})),
      FACTORY_TIMEOUT,
    )
    setTimeout(slow.open, 100, 'made')
    assert.equal(await asked, 'made')
  })

  /* -------------------------------------------------------------------------------------- errors that are kept */

  test('an error is the answer for errorTtl, without a call', async (t) => {
    const cache = await kind.open(t)
    const error = Object.assign(new TypeError('no such product'), { status: 404 })
    const failing = origin(() => {
      throw error
    })
    const ask = () => cache.getOrSet('key', failing.make, { errorTtl: 300 })
    await assert.rejects(ask(), (reason) => reason === error)
    const again = await ask().catch((reason) => reason)
    assert.equal(again, error, 'the error of a factory is passed on unchanged')
    await until(async () => {
      await assert.rejects(ask(), { name: 'TypeError', message: 'no such product' })
      return failing.calls === 2
    })
    const [first, second] = failing.at
    assert.ok(second - first >= 295, `again after ${second - first} ms`)
  })

  test('set, delete and fresh end an error that was kept', async (t) => {
    const cache = await kind.open(t)
    const options = { errorTtl: NEVER_WAITED }
    const fail = async () => {
      throw new Error('no such product')
    }
    const failed = async (key) => {
      await assert.rejects(cache.getOrSet(key, fail, options), { message: 'no such product' })
      const kept = cache.getOrSet(key, () => 'not called', options)
      await assert.rejects(kept, { message: 'no such product' })
    }
    await failed('set')
    await cache.set('set', 'set')
    assert.equal(await cache.getOrSet('set', fail, options), 'set')
    await failed('deleted')
    await cache.delete('deleted')
    assert.equal(await cache.getOrSet('deleted', () => 'made', options), 'made')
    await failed('fresh')
    assert.equal(await cache.getOrSet('fresh', () => 'made', { ...options, fresh: true }), 'made')
    assert.equal(await cache.getOrSet('fresh', fail, options), 'made')
  })

  test('an error that was kept is no value: others find nothing', async (t) => {
    const cache = await kind.open(t)
    const fail = async () => {
      throw new Error('no such product')
    }
    await assert.rejects(cache.getOrSet('key', fail, { errorTtl: NEVER_WAITED }), { message: /product/ })
    assert.equal(await cache.get('key'), undefined)
    assert.equal(await cache.has('key'), false)
    assert.equal(await cache.ttl('key'), undefined)
  })
}
