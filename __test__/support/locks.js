'use strict'

// What the tests of locks share.

const { cacheError, openOn, ownNamespace } = require('./cache.js')

const LOCKED = cacheError('ERR_CACHE_LOCKED')
/** A lease that no test outlives. */
const LONG = { ttl: 60_000, wait: 30_000 }
/** What a loaded machine may add to a bound. */
const SLACK_MS = 1_000

/** Two caches as two processes would have them. */
async function pair(t, server, options = {}) {
  const shared = { namespace: ownNamespace(), ...options }
  return Promise.all([openOn(t, server, shared), openOn(t, server, shared)])
}

/** The key of a lock as it is in Redis. */
const placeOf = (cache, key) => `${cache.prefix}~lock:${key}`
const isHeld = async (server, cache, key) => (await server.command('EXISTS', placeOf(cache, key))) === 1
const isFree = async (server, cache, key) => !(await isHeld(server, cache, key))

module.exports = { LOCKED, LONG, SLACK_MS, isFree, isHeld, pair, placeOf }
