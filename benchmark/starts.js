'use strict'

// The caches in memory, each from nothing: loaded and made in one. `get(key)` and `set(key, value)` are as their own.

const { TTL } = require('./settings.js')

async function bentocache() {
  const { BentoCache, bentostore } = await import('bentocache')
  const { memoryDriver } = await import('bentocache/drivers/memory')
  const cache = new BentoCache({
    default: 'memory',
    stores: { memory: bentostore().useL1Layer(memoryDriver({ maxSize: '10mb' })) },
  })
  return { get: (key) => cache.get({ key }), set: (key, value) => cache.set({ key, value }) }
}

const starts = {
  async evenkeel() {
    const { Cache } = require('..')
    return new Cache()
  },
  bentocache,
  async cacheable() {
    const { Cacheable } = await import('cacheable')
    return new Cacheable()
  },
  async 'cache-manager'() {
    const { createCache } = await import('cache-manager')
    return createCache()
  },
  async 'lru-cache'() {
    const { LRUCache } = require('lru-cache')
    return new LRUCache({ max: 5_000, ttl: TTL })
  },
}

module.exports = { starts }
