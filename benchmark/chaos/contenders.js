'use strict'

// What goes through the chaos, each set up as its own documentation recommends where Redis may fail. A contender is a
// function of the port of a Redis server that gives `getOrSet(key, origin)`; it answers once it can be used.

const { L1_ENTRIES, TTL_MS } = require('./settings.js')

async function evenkeel(port) {
  const { Cache } = require('../..')
  const cache = new Cache({
    redis: `redis://127.0.0.1:${port}`,
    namespace: 'chaos',
    l1: { maxEntries: L1_ENTRIES },
    l2: { ttl: TTL_MS },
  })
  await cache.ready()
  return (key, origin) => cache.getOrSet(key, origin)
}

/** ioredis as it comes. */
function ioredis(port) {
  const { Redis } = require('ioredis-6')
  const redis = new Redis(port, '127.0.0.1')
  return async (key, origin) => {
    const text = await redis.get(key)
    if (text !== null) return JSON.parse(text)
    const value = await origin()
    await redis.set(key, JSON.stringify(value), 'PX', TTL_MS)
    return value
  }
}

/** ioredis with what a careful service adds to it; docs/migrating-from-ioredis.md shows the same lines. */
async function tunedIoredis(port) {
  const { Redis } = require('ioredis-6')
  const { LRUCache } = await import('lru-cache')
  const redis = new Redis(port, '127.0.0.1', {
    commandTimeout: 500,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    keepAlive: 10_000,
    connectTimeout: 2_000,
    retryStrategy: (times) => Math.min(times * 200, 5_000),
  })
  redis.on('error', () => {})
  await new Promise((resolve) => redis.once('ready', resolve))
  const memory = new LRUCache({ max: L1_ENTRIES, ttl: TTL_MS })
  async function remembered(key) {
    try {
      const text = await redis.get(key)
      return text === null ? undefined : JSON.parse(text)
    } catch {
      return memory.get(key)
    }
  }
  return async (key, origin) => {
    let value = await remembered(key)
    if (value === undefined) {
      value = await origin()
      redis.set(key, JSON.stringify(value), 'PX', TTL_MS).catch(() => {})
    }
    memory.set(key, value)
    return value
  }
}

async function bentocache(port) {
  const { BentoCache, bentostore } = await import('bentocache')
  const { memoryDriver } = await import('bentocache/drivers/memory')
  const { redisDriver, redisBusDriver } = await import('bentocache/drivers/redis')
  const connection = { host: '127.0.0.1', port }
  const cache = new BentoCache({
    default: 'multitier',
    ttl: TTL_MS,
    grace: '6h',
    timeout: '200ms',
    hardTimeout: '1s',
    l2CircuitBreakerDuration: '1s',
    stores: {
      multitier: bentostore()
        .useL1Layer(memoryDriver({ maxItems: L1_ENTRIES }))
        .useL2Layer(redisDriver({ connection }))
        .useBus(redisBusDriver({ connection })),
    },
  })
  return (key, origin) => cache.getOrSet({ key, factory: origin })
}

async function cacheable(port) {
  const { Cacheable, createKeyv } = await import('cacheable')
  const { default: KeyvRedis } = await import('@keyv/redis')
  const secondary = new KeyvRedis(`redis://127.0.0.1:${port}`)
  const cache = new Cacheable({ primary: createKeyv({ lruSize: L1_ENTRIES }), secondary, ttl: TTL_MS })
  cache.on('error', () => {})
  return (key, origin) => cache.getOrSet(key, origin)
}

async function cacheManager(port) {
  const { createCache } = await import('cache-manager')
  const { CacheableMemory } = await import('cacheable')
  const { Keyv } = await import('keyv')
  const { default: KeyvRedis } = await import('@keyv/redis')
  const stores = [
    new Keyv({ store: new CacheableMemory({ ttl: TTL_MS, lruSize: L1_ENTRIES }) }),
    new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`) }),
  ]
  for (const store of stores) store.on('error', () => {})
  const cache = createCache({ stores, ttl: TTL_MS })
  return (key, origin) => cache.wrap(key, origin)
}

module.exports = {
  evenkeel,
  ioredis,
  'tuned ioredis': tunedIoredis,
  bentocache,
  cacheable,
  'cache-manager': cacheManager,
}
