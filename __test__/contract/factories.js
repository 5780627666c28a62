'use strict'

// What a factory, or an option about what it gives, says of its value.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { origin } = require('../support/origin.js')
const { LONG, NEVER_WAITED, stale } = require('../support/stale.js')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
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
}
