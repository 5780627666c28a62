'use strict'

// Caches that a test opens and that are closed when it ends.

const { Cache } = require('evenkeel')

let namespaces = 0

/** A namespace that no other test of this process uses. */
function ownNamespace() {
  return `test-${process.pid}-${++namespaces}`
}

/** A cache that is closed with the test `t`. */
function openCache(t, options) {
  const cache = new Cache(options)
  t.after(() => cache.close())
  return cache
}

/** A cache on `server` with a namespace of its own, once Redis is usable; `cache.prefix` is what its keys begin with. */
async function openOn(t, server, options = {}) {
  const namespace = options.namespace ?? ownNamespace()
  const cache = openCache(t, { redis: server.url, namespace, ...options })
  await cache.ready({ timeout: 10_000 })
  return Object.assign(cache, { prefix: `${namespace}:` })
}

/** What a rejection with `code` looks like, for assert.rejects and assert.throws. */
function cacheError(code, message = /\S/) {
  return { name: 'CacheError', code, message }
}

module.exports = { cacheError, openCache, openOn, ownNamespace }
