'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')

module.exports = (kind) => {
  test('increment and decrement count from nothing', async (t) => {
    const cache = await kind.open(t)
    assert.equal(await cache.increment('n'), 1)
    assert.equal(await cache.increment('n', 5), 6)
    assert.equal(await cache.decrement('n', 2), 4)
    assert.equal(await cache.decrement('n'), 3)
    assert.equal(await cache.get('n'), 3)
  })

  test('a hundred increments at once are a hundred', async (t) => {
    const cache = await kind.open(t)
    const answers = await Promise.all(Array.from({ length: 100 }, () => cache.increment('n')))
    assert.deepEqual(
      answers.toSorted((a, b) => a - b),
      Array.from({ length: 100 }, (_, index) => index + 1),
    )
  })

  test('an integer that was set can be counted on', async (t) => {
    const cache = await kind.open(t)
    await cache.set('n', 41)
    assert.equal(await cache.increment('n'), 42)
    assert.equal(await cache.get('n'), 42)
  })

  test('a counter has no TTL unless one is given, and then from its creation', async (t) => {
    const cache = await kind.open(t)
    await cache.increment('forever')
    assert.equal(await cache.ttl('forever'), null)
    await cache.increment('limited', 1, { ttl: 30_000 })
    await cache.increment('limited', 1, { ttl: 90_000 })
    const ttl = await cache.ttl('limited')
    assert.ok(ttl > 29_000 && ttl <= 30_000, `${ttl} ms`)
  })

  test('counting on what is no integer rejects and leaves it alone', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', { a: 1 })
    await assert.rejects(cache.increment('key'), { name: 'CacheError' })
    assert.deepEqual(await cache.get('key'), { a: 1 })
  })

  test('counting beyond what a number holds rejects', async (t) => {
    const cache = await kind.open(t)
    await cache.set('n', Number.MAX_SAFE_INTEGER)
    await assert.rejects(cache.increment('n', 10), { name: 'CacheError' })
    for (const by of [0.5, NaN, 2 ** 53, '1']) {
      await assert.rejects(cache.increment('n', by), { code: 'ERR_CACHE_OPTIONS' })
    }
  })
}
