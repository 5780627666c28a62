'use strict'

// A call whose key the native side refused left an error behind for its ticket; once the ticket's number came round again, that was the
// end of somebody else's call.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError, openCache } = require('../support/cache.js')

/** More than a slot has numbers. */
const CALLS = 70
const REFUSED = 'a\ud800'

const calls = {
  get: (cache) => cache.get(REFUSED),
  has: (cache) => cache.has(REFUSED),
  set: (cache) => cache.set(REFUSED, 1),
  getOrSet: (cache) => cache.getOrSet(REFUSED, () => 1),
}

for (const [name, call] of Object.entries(calls)) {
  test(`a refused ${name} leaves nothing behind for the calls after it`, async (t) => {
    const cache = openCache(t, {})
    await cache.set('key', 1)
    const refused = Array.from({ length: CALLS }, () => call(cache))
    const pending = Array.from({ length: CALLS }, () => cache.deletePattern('other-*'))
    for (const each of refused) await assert.rejects(each, cacheError('ERR_CACHE_KEY'))
    assert.deepEqual(new Set(await Promise.all(pending)), new Set([0]))
  })
}
