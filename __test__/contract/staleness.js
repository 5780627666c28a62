'use strict'

// What getOrSet does with a value past its TTL, and with factories that are slow or fail: who is given what, how often the
// factory is called, and what is cached after that.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { gated, origin } = require('../support/origin.js')
const { timed, until } = require('../support/wait.js')

/** Fresh for a moment, and then for a minute of use to a loader. */
const BRIEF = { ttl: 60, staleFor: 60_000, jitter: 0 }
/** What a value that is made anew lives; a factory that nobody would end fails a test, and does not hang it. */
const LONG = { ttl: 60_000, staleFor: 60_000, jitter: 0, factoryTimeout: 5_000 }
/** How such a value is set. */
const KEPT = { ttl: 60_000, staleFor: 60_000, jitter: 0 }
/** Longer than any test takes. */
const NEVER_WAITED = 60_000

const FACTORY_TIMEOUT = cacheError('ERR_CACHE_FACTORY_TIMEOUT')

/** Puts `value` under `key`, and waits until it is past its TTL. */
async function stale(cache, { key = 'key', value = 'old', ...options } = {}) {
  await cache.set(key, value, { ...BRIEF, ...options })
  await until(async () => (await cache.get(key)) === undefined)
}

module.exports = (kind) => {
  /* ------------------------------------------------------------------------------------ stale-while-revalidate */

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

  /* -------------------------------------------------------------------------------------------------- fail-safe */

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

  /* --------------------------------------------------------------------------------------------------- timeouts */

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

  /* ---------------------------------------------------------------------------------------------- eager refresh */

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

  /* ------------------------------------------------------------------------------------------------------ fresh */

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

  /* ------------------------------------------------------------------------------------- the factory's context */

  test('after skip() a stale value stays what it was, and is renewed by whoever asks next', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const skipping = origin(({ skip }) => {
      skip()
      return 'not this'
    })
    assert.equal(await cache.getOrSet('key', skipping.make, LONG), 'old')
    await until(() => skipping.calls === 1)
    await cache.settled()
    assert.equal(await cache.get('key'), undefined)
    assert.equal(await cache.getOrSet('key', () => 'new', LONG), 'old')
    await until(async () => (await cache.get('key')) === 'new')
  })

  test('who waits for a factory that skips gets its value, and nothing is stored', async (t) => {
    const cache = await kind.open(t)
    await stale(cache)
    const skipping = ({ skip }) => {
      skip()
      return 'for you'
    }
    const options = { ...LONG, factorySoftTimeout: NEVER_WAITED }
    assert.equal(await cache.getOrSet('key', skipping, options), 'for you')
    assert.equal(await cache.get('key'), undefined)
  })

  test('setTtl is the life of what is stored, also for ever, and refuses what is none', async (t) => {
    const cache = await kind.open(t)
    const living =
      (ttl) =>
      ({ setTtl }) => {
        setTtl(ttl)
        return { ttl }
      }
    await cache.getOrSet('brief', living(60), { ttl: 60_000, jitter: 0 })
    await cache.settled()
    await until(async () => (await cache.get('brief')) === undefined)
    await cache.getOrSet('for ever', living(null), { ttl: 60_000 })
    await cache.settled()
    assert.equal(await cache.ttl('for ever'), null)
    await assert.rejects(cache.getOrSet('bad', living(-1)), cacheError('ERR_CACHE_OPTIONS', /ttl/))
    assert.equal(await cache.has('bad'), false)
  })

  test('setTags are the tags of what is stored, instead of the call’s', async (t) => {
    const cache = await kind.open(t)
    const tagged = ({ setTags }) => {
      setTags('blue', 'green')
      return 'made'
    }
    await cache.getOrSet('key', tagged, { tags: ['red'] })
    await cache.settled()
    await cache.invalidateTags('red')
    assert.equal(await cache.get('key'), 'made')
    await cache.invalidateTags('green')
    assert.equal(await cache.get('key'), undefined)
    const wrong = ({ setTags }) => setTags(7)
    await assert.rejects(cache.getOrSet('other', wrong), cacheError('ERR_CACHE_OPTIONS', /tags/))
  })

  /* ------------------------------------------------------------------------------------------- negative results */

  test('nullTtl is the life of null and of nothing else, unless the factory says how long', async (t) => {
    const cache = await kind.open(t, { loader: { ttl: 60_000, nullTtl: 60, jitter: 0 } })
    await cache.getOrSet('value', () => 'there')
    await cache.getOrSet('said', ({ setTtl }) => (setTtl(60_000), null))
    await cache.getOrSet('call', () => null, { nullTtl: 60_000 })
    await cache.getOrSet('null', () => null)
    await cache.settled()
    await until(async () => (await cache.get('null')) === undefined)
    assert.equal(await cache.getOrSet('null', () => 'there by now'), 'there by now')
    assert.deepEqual(await cache.getMany(['value', 'said', 'call']), ['there', null, null])
  })

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

  /* ------------------------------------------------------------------------------------- the signal of a caller */

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

  /* ---------------------------------------------------------------------------------------- options of the cache */

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
