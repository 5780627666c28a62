'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')

const KEYS = {
  'an empty key': '',
  'a number': 42,
  undefined: undefined,
  'an object': { id: 1 },
  'a key of 33 KiB': 'k'.repeat(33 * 1024),
  'a key of 33 KiB in UTF-8': 'ü'.repeat(17 * 1024),
  'a lone surrogate': 'a\ud800',
  'a key of our own': '~epoch',
}

const OPERATIONS = {
  get: (cache, key) => cache.get(key),
  getMany: (cache, key) => cache.getMany(['good', key]),
  set: (cache, key) => cache.set(key, 1),
  setMany: (cache, key) =>
    cache.setMany([
      { key: 'good', value: 1 },
      { key, value: 2 },
    ]),
  has: (cache, key) => cache.has(key),
  delete: (cache, key) => cache.delete(key),
  deleteMany: (cache, key) => cache.deleteMany(['good', key]),
  ttl: (cache, key) => cache.ttl(key),
  touch: (cache, key) => cache.touch(key, 1_000),
  markStale: (cache, key) => cache.markStale(key),
  increment: (cache, key) => cache.increment(key),
  getOrSet: (cache, key) => cache.getOrSet(key, () => 1),
}

module.exports = (kind) => {
  for (const [name, key] of Object.entries(KEYS)) {
    test(`${name} is refused as a key by every method, and no method throws`, async (t) => {
      const cache = await kind.open(t)
      for (const operation of Object.values(OPERATIONS)) {
        await assert.rejects(operation(cache, key), cacheError('ERR_CACHE_KEY'))
      }
      assert.equal(await cache.has('good'), false)
    })
  }

  const misuses = {
    'a number for options': (cache) => cache.set('key', 1, 60),
    'an unknown option': (cache) => cache.set('key', 1, { tll: 1_000 }),
    'a string for keys': (cache) => cache.getMany('key'),
    'no factory': (cache) => cache.getOrSet('key'),
    'a condition that is none': (cache) => cache.set('key', 1, { onlyIf: 'maybe' }),
    'a form that is none': (cache) => cache.get('key', { as: 'json' }),
    'a pattern that is none': (cache) => cache.deletePattern(/a/),
    'a strict that is none': (cache) => cache.get('key', { strict: 'yes' }),
  }
  for (const [name, call] of Object.entries(misuses)) {
    test(`${name} is refused with what was expected`, async (t) => {
      const cache = await kind.open(t)
      await assert.rejects(call(cache), cacheError(/^ERR_CACHE_(OPTIONS|KEY)$/))
    })
  }

  test('set(key, value, 60) is told to pass milliseconds', async (t) => {
    const cache = await kind.open(t)
    await assert.rejects(cache.set('key', 1, 60), cacheError('ERR_CACHE_OPTIONS', /ttl: 60_?000/))
  })

  test('an aborted signal rejects every call', async (t) => {
    const cache = await kind.open(t)
    const options = { signal: AbortSignal.abort(new Error('left')) }
    const calls = [
      cache.get('key', options),
      cache.set('key', 1, options),
      cache.getMany(['key'], options),
      cache.delete('key', options),
      cache.getOrSet('key', () => 1, options),
    ]
    for (const call of calls) await assert.rejects(call, cacheError('ERR_CACHE_ABORTED'))
  })
}
