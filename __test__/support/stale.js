'use strict'

// Values that are past their TTL, and of use to a loader still.

const { cacheError } = require('./cache.js')
const { until } = require('./wait.js')

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

module.exports = { BRIEF, FACTORY_TIMEOUT, KEPT, LONG, NEVER_WAITED, stale }
