'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { escapeGlob } = require('evenkeel')
const { cacheError } = require('../support/cache.js')

async function collect(iterator) {
  const keys = new Set()
  for await (const key of iterator) keys.add(key)
  return [...keys].toSorted()
}

module.exports = (kind) => {
  test('deletePattern removes what matches and nothing else', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ 'user:1': 1, 'user:2': 2, 'user:22': 3, users: 4, other: 5 })
    assert.equal(await cache.deletePattern('user:?'), 2)
    const left = await cache.getMany(['user:1', 'user:2', 'user:22', 'users', 'other'])
    assert.deepEqual(left, [undefined, undefined, 3, 4, 5])
  })

  const globs = [
    ['a*', ['a', 'ab', 'a*', 'a\\']],
    ['a\\*', ['a*']],
    ['[ab]b', ['ab', 'bb']],
    ['[^a]b', ['bb', ']b', '[b']],
    ['[a-c]b', ['ab', 'bb']],
    ['[', []],
    ['[b', ['b']],
    ['a\\', ['a\\']],
  ]
  for (const [glob, matching] of globs) {
    test(`the glob ${JSON.stringify(glob)} matches as in Redis`, async (t) => {
      const cache = await kind.open(t)
      const all = ['a', 'b', 'ab', 'a*', 'a\\', 'bb', ']b', '[b', '[']
      await cache.setMany(all.map((key) => [key, 1]))
      assert.equal(await cache.deletePattern(glob), matching.length)
      const left = await cache.getMany(all)
      assert.deepEqual(
        all.filter((_, index) => left[index] === undefined),
        all.filter((key) => matching.includes(key)),
      )
    })
  }

  test('ten thousand matching keys go, and progress is told', async (t) => {
    const cache = await kind.open(t)
    const keys = Array.from({ length: 10_000 }, (_, index) => `many:${index}`)
    await cache.setMany(keys.map((key) => [key, 1]))
    const told = []
    const removed = await cache.deletePattern('many:*', {
      onProgress: (progress) => told.push(progress.removed),
    })
    assert.equal(removed, 10_000)
    if (kind.l2) assert.ok(told.length > 0)
    assert.deepEqual(await cache.getMany(keys), Array(10_000).fill(undefined))
  })

  test('keys() lists what matches, without the namespace', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ 'a:1': 1, 'a:2': 2, 'b:1': 3 })
    assert.deepEqual(await collect(cache.keys('a:*')), ['a:1', 'a:2'])
    assert.deepEqual(await collect(cache.keys('none*')), [])
  })

  test('keys() stops at its limit', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany(Array.from({ length: 500 }, (_, index) => [`k${index}`, 1]))
    let count = 0
    for await (const _ of cache.keys('k*', { limit: 7 })) count += 1
    assert.equal(count, 7)
  })

  test('a key that escapeGlob wrote matches itself alone', async (t) => {
    const cache = await kind.open(t)
    const odd = 'a*[b]?\\c'
    await cache.setMany([
      [odd, 1],
      ['axb?c', 2],
    ])
    assert.deepEqual(await collect(cache.keys(escapeGlob(odd))), [odd])
    assert.equal(await cache.deletePattern(escapeGlob(odd)), 1)
    assert.equal(await cache.get('axb?c'), 2)
  })

  test('clear empties the namespace', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 1, b: 2 })
    await cache.clear()
    assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, undefined])
    assert.deepEqual(await collect(cache.keys('*')), [])
    await cache.set('a', 3)
    assert.equal(await cache.get('a'), 3)
  })

  if (kind.l2) {
    test('without a namespace everything is removed only when asked for by name', async (t) => {
      const cache = await kind.open(t, { namespace: '' })
      await cache.set('mine', 1)
      for (const call of [
        () => cache.clear(),
        () => cache.deletePattern('*'),
        () => cache.deletePattern('**'),
      ]) {
        await assert.rejects(call(), cacheError('ERR_CACHE_OPTIONS', /wholeDatabase/))
      }
      assert.equal(await cache.get('mine'), 1)
    })
  }
}
