'use strict'

// warm(): what it brings, from which sources, and what it tells of that.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setImmediate: turn } = require('node:timers/promises')
const { cacheError } = require('../support/cache.js')
const { noting } = require('../support/origin.js')
const { until } = require('../support/wait.js')
const { keysOf, report } = require('../support/warm.js')

module.exports = (kind) => {
  const sources = {
    'an object': { a: 1, b: null, c: { deep: [1] } },
    'a Map': new Map([
      ['a', 1],
      ['b', null],
      ['c', { deep: [1] }],
    ]),
    pairs: [
      ['a', 1],
      ['b', null],
      ['c', { deep: [1] }],
    ],
    entries: [
      { key: 'a', value: 1 },
      { key: 'b', value: null },
      { key: 'c', value: { deep: [1] } },
    ],
  }
  for (const [name, source] of Object.entries(sources)) {
    test(`${name} is a source of entries`, async (t) => {
      const cache = await kind.open(t)
      assert.deepEqual(await cache.warm(source), report(3))
      await cache.settled()
      assert.deepEqual(await cache.getMany(['a', 'b', 'c']), [1, null, { deep: [1] }])
      assert.deepEqual(await cache.warm(source), report(0, { skipped: 3 }))
    })
  }

  test('so are a generator and an async one', async (t) => {
    const cache = await kind.open(t)
    const rows = [
      ['a', 1],
      ['b', 2],
    ]
    function* atOnce() {
      yield* rows
    }
    async function* later() {
      for (const [key, value] of rows) {
        await turn()
        yield { key: `later-${key}`, value }
      }
    }
    assert.deepEqual(await cache.warm(atOnce()), report(2))
    assert.deepEqual(await cache.warm(later()), report(2))
    assert.deepEqual(await cache.getMany(['a', 'b', 'later-a', 'later-b']), [1, 2, 1, 2])
  })

  test('keys are brought by load, batch by batch, those that are missing alone', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ 'key-1': 'had', 'key-7': 'had' })
    const { calls, load } = noting()
    const keys = keysOf(10)
    assert.deepEqual(await cache.warm(keys, { load, batch: 4 }), report(8, { skipped: 2 }))
    assert.deepEqual(
      calls.flat().toSorted(),
      keys.filter((key) => key !== 'key-1' && key !== 'key-7'),
    )
    assert.deepEqual(calls.map(({ length }) => length).toSorted(), [2, 3, 3])
    const values = keys.map((key) => (key === 'key-1' || key === 'key-7' ? 'had' : `of ${key}`))
    assert.deepEqual(await cache.getMany(keys), values)
  })

  for (const [name, source] of [
    ['a Set', new Set(keysOf(5))],
    ['a generator', keysOf(5).values()],
  ]) {
    test(`${name} is a source of keys`, async (t) => {
      const cache = await kind.open(t)
      assert.deepEqual(await cache.warm(source, { load: noting().load }), report(5))
      assert.deepEqual(
        await cache.getMany(keysOf(5)),
        keysOf(5).map((key) => `of ${key}`),
      )
    })
  }

  test('entries have the options of the call, and their own before them', async (t) => {
    const cache = await kind.open(t)
    const source = [['a', 1], { key: 'b', value: 2, ttl: 10_000, tags: ['mine'] }]
    await cache.warm(source, { ttl: 20_000, jitter: 0, tags: ['ours'] })
    await cache.settled()
    const [a, b] = [await cache.ttl('a'), await cache.ttl('b')]
    assert.ok(a > 15_000 && a <= 20_000 && b > 5_000 && b <= 10_000, `${a} ms, ${b} ms`)
    await cache.invalidateTags('mine')
    assert.deepEqual(await cache.getMany(['a', 'b']), [1, undefined])
    await cache.invalidateTags('ours')
    assert.equal(await cache.get('a'), undefined)
  })

  test('a key that comes again is skipped, in its batch and in a later one', async (t) => {
    const cache = await kind.open(t)
    const { calls, load } = noting()
    const keys = ['a', 'b', 'a', 'c', 'a']
    assert.deepEqual(await cache.warm(keys, { load, batch: 3, concurrency: 1 }), report(3, { skipped: 2 }))
    assert.deepEqual(calls, [['a', 'b'], ['c']])
  })

  test('nothing to bring is nothing done', async (t) => {
    const cache = await kind.open(t)
    for (const source of [{}, [], new Map()]) assert.deepEqual(await cache.warm(source), report(0))
    const { calls, load } = noting()
    assert.deepEqual(await cache.warm([], { load }), report(0))
    assert.deepEqual(calls, [])
  })

  test('no more batches are made at once than concurrency says', async (t) => {
    const cache = await kind.open(t)
    for (const concurrency of [1, 3]) {
      const waiting = []
      // Nobody goes on before as many are there as there may be.
      const { calls, most, load } = noting(async (keys) => {
        await new Promise((resolve) => {
          waiting.push(resolve)
          if (waiting.length === concurrency) for (const go of waiting.splice(0)) go()
        })
        return keys
      })
      await cache.warm(keysOf(60, `of-${concurrency}`), { load, batch: 5, concurrency })
      assert.equal(calls.length, 12)
      assert.equal(most(), concurrency)
    }
  })

  test('progress is told after each batch, and a listener that throws does no harm', async (t) => {
    const cache = await kind.open(t)
    const warnings = []
    cache.on('warning', ({ code }) => warnings.push(code))
    const told = []
    const onProgress = (progress) => {
      told.push(progress)
      throw new Error('of the listener')
    }
    await cache.warm(keysOf(7), { load: noting().load, batch: 3, concurrency: 1, onProgress })
    assert.deepEqual(
      told.map(({ done, total, next }) => [done, total, next]),
      [
        [3, 7, 3],
        [6, 7, 6],
        [7, 7, 7],
      ],
    )
    assert.deepEqual(warnings, Array(3).fill('listener-threw'))
  })

  test('what fails is told by its keys, once why, and nothing else fails for it', async (t) => {
    const cache = await kind.open(t)
    const warnings = []
    cache.on('warning', (warning) => warnings.push(warning))
    const { load } = noting((keys) => {
      if (keys.includes('key-2')) throw new Error('the origin is away')
      return keys.map((key) => (key === 'key-5' ? undefined : key))
    })
    const brought = await cache.warm(keysOf(8), { load, batch: 2, concurrency: 2 })
    const { failedKeys, ...counts } = brought
    assert.deepEqual(counts, { done: 5, total: 8, failed: 3, skipped: 0, next: 8 })
    assert.deepEqual(failedKeys.toSorted(), ['key-2', 'key-3', 'key-5'])
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ['warm-failed'],
    )
    assert.match(warnings[0].message, /the origin is away/)
    assert.deepEqual(await cache.warm(failedKeys, { load: noting().load }), report(3))
  })

  test('a loader of the wrong shape fails its keys', async (t) => {
    const cache = await kind.open(t)
    const brought = await cache.warm(['a', 'b'], { load: () => [1] })
    assert.deepEqual(brought, report(0, { failed: 2, failedKeys: ['a', 'b'] }))
  })

  test('after an abort, a run that starts at next brings the rest', async (t) => {
    const cache = await kind.open(t)
    const leaving = new AbortController()
    const first = noting()
    let last
    const aborted = cache.warm(keysOf(40), {
      load: first.load,
      batch: 5,
      concurrency: 2,
      signal: leaving.signal,
      onProgress(progress) {
        last = progress
        if (progress.done >= 15) leaving.abort()
      },
    })
    await assert.rejects(aborted, cacheError('ERR_CACHE_ABORTED'))
    assert.ok(last.next >= 10 && last.next < 40, `next is ${last.next}`)
    await cache.settled()
    const kept = await cache.getMany(keysOf(last.next))
    assert.deepEqual(
      kept,
      keysOf(last.next).map((key) => `of ${key}`),
    )
    const second = noting()
    const { done, failed, skipped, next } = await cache.warm(keysOf(40), {
      load: second.load,
      start: last.next,
    })
    assert.deepEqual([done + skipped, failed, next], [40 - last.next, 0, 40])
    const again = second.calls.flat().filter((key) => keysOf(last.next).includes(key))
    assert.deepEqual(again, [])
    assert.ok((await cache.getMany(keysOf(40))).every((value) => value !== undefined))
  })

  test('an abort does not wait for the loader, whose signal aborts; what it was at is not over', async (t) => {
    const cache = await kind.open(t)
    const leaving = new AbortController()
    const told = []
    let inner
    const load = (keys, { signal }) => {
      if (keys[0] === 'key-0') return keys
      inner = signal
      return new Promise(() => {})
    }
    const options = { load, batch: 2, signal: leaving.signal, onProgress: ({ next }) => told.push(next) }
    const aborted = cache.warm(keysOf(6), options)
    await until(() => inner && told.length > 0)
    leaving.abort()
    await assert.rejects(aborted, cacheError('ERR_CACHE_ABORTED'))
    await until(() => inner.aborted, { message: "the loader's signal aborts" })
    assert.deepEqual(told, [2])
  })

  test('a key that somebody is making is waited for and skipped', async (t) => {
    const cache = await kind.open(t)
    let open
    let isMaking = false
    const single = cache.getOrSet('a', () => {
      isMaking = true
      return new Promise((resolve) => (open = resolve))
    })
    await until(() => isMaking)
    const warming = cache.warm({ a: 'older', b: 'brought' })
    await until(async () => (await cache.get('b')) === 'brought')
    open('newer')
    assert.deepEqual(await warming, report(1, { skipped: 1 }))
    assert.equal(await single, 'newer')
    assert.equal(await cache.get('a'), 'newer')
  })

  test('what is fresh stays, whatever the cache does by default', async (t) => {
    const cache = await kind.open(t, { loader: { fresh: true, eagerRefresh: 0.000_1 } })
    await cache.set('a', 'newer', { ttl: 60_000, jitter: 0 })
    await until(async () => (await cache.ttl('a')) < 59_950)
    assert.deepEqual(await cache.warm({ a: 'older', b: 1 }), report(1, { skipped: 1 }))
    await cache.settled()
    assert.equal(await cache.get('a'), 'newer')
  })

  test('what is stale is replaced, and waited for', async (t) => {
    const cache = await kind.open(t)
    const keys = ['a', 'b']
    await cache.setMany({ a: 'old', b: 'old' }, { ttl: 20, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.getMany(keys)).every((value) => value === undefined))
    const failing = { load: () => Promise.reject(new Error('the origin is away')) }
    assert.deepEqual(await cache.warm(['a'], failing), report(0, { failed: 1, failedKeys: ['a'] }))
    assert.deepEqual(await cache.warm(['b'], { load: noting().load }), report(1))
    assert.equal(await cache.get('b'), 'of b')
  })

  test('a view warms its own keys', async (t) => {
    const cache = await kind.open(t)
    const users = cache.namespaced('user')
    assert.deepEqual(await users.warm({ 1: 'Ada', 2: 'Bo' }), report(2))
    await cache.settled()
    assert.deepEqual(await cache.getMany(['user:1', 'user:2', '1']), ['Ada', 'Bo', undefined])
  })

  test('wrong arguments are refused, and leave nothing behind', async (t) => {
    const cache = await kind.open(t)
    const load = () => assert.fail('nothing is loaded')
    const wrong = [
      [undefined, undefined, /source/],
      [5, undefined, /source/],
      ['abc', undefined, /source/],
      ['abc', { load }, /iterable of keys/],
      [{ a: 1 }, { load }, /iterable of keys/],
      [['a', 'b'], undefined, /entries, or keys beside the option `load`/],
      [[['a', 1], 5], undefined, /source\[1\]/],
      [[{ key: 'a', value: 1, tll: 5 }], undefined, /source\[0\]\.tll/],
      [[{ key: 'a', value: 1, tags: ['t'.repeat(300)] }], undefined, /255 bytes/],
      [{ a: 1 }, 5, /options/],
      [{ a: 1 }, { batch: 0 }, /batch/],
      [{ a: 1 }, { concurrency: 1.5 }, /concurrency/],
      [{ a: 1 }, { start: -1 }, /start/],
      [{ a: 1 }, { onProgress: true }, /onProgress/],
      [{ a: 1 }, { load: 5 }, /load/],
      [{ a: 1 }, { ttl: 0 }, /ttl/],
      [{ a: 1 }, { fresh: true }, /fresh/],
      [{ a: 1 }, { tags: ['t'.repeat(300)] }, /255 bytes/],
      [{ a: 1 }, { signal: {} }, /signal/],
    ]
    for (const [source, options, message] of wrong)
      await assert.rejects(cache.warm(source, options), cacheError('ERR_CACHE_OPTIONS', message))
    const keys = [[1], ['a', ''], ['a', '~epoch'], ['a', 'k'.repeat(33 * 1024)], ['a', 'a\ud800']]
    for (const source of keys) await assert.rejects(cache.warm(source, { load }), cacheError('ERR_CACHE_KEY'))
    await assert.rejects(cache.warm([['', 1]]), cacheError('ERR_CACHE_KEY', /source\[0\]\[0\]/))
    await assert.rejects(cache.warm({ '~epoch': 1 }), cacheError('ERR_CACHE_KEY'))
    await assert.rejects(cache.warm([], { signal: AbortSignal.abort() }), cacheError('ERR_CACHE_ABORTED'))
    assert.equal(await cache.has('a'), false)
  })

  test('a source that fails fails the call, once what was begun is over', async (t) => {
    const cache = await kind.open(t)
    const error = new Error('no more rows')
    async function* rows() {
      yield ['a', 1]
      yield ['b', 2]
      throw error
    }
    await assert.rejects(cache.warm(rows(), { batch: 1 }), error)
    assert.deepEqual(await cache.getMany(['a', 'b']), [1, 2])
  })

  test('a closed cache is not warmed', async (t) => {
    const cache = await kind.open(t)
    await cache.close()
    await assert.rejects(cache.warm({ a: 1 }), cacheError('ERR_CACHE_CLOSED'))
  })
}
