'use strict'

// What is measured, each configured as its own documentation recommends. A contender is a function of the port of a
// Redis server that gives `{ get, set, close }`, `get` resolving to the object that was set.

const TTL = 600_000 // longer than a run: nothing expires under measurement

const evenkeel =
  (options, read = undefined) =>
  async (port) => {
    const { Cache } = require('..')
    const cache = new Cache({
      redis: `redis://127.0.0.1:${port}`,
      namespace: 'bench',
      l2: { ttl: TTL },
      ...options,
    })
    await cache.ready()
    return {
      get: read ? (key) => cache.get(key, read) : (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      close: () => cache.close(),
    }
  }

const bentocache = (memory) => async (port) => {
  const { BentoCache, bentostore } = await import('bentocache')
  const { memoryDriver } = await import('bentocache/drivers/memory')
  const { redisDriver, redisBusDriver } = await import('bentocache/drivers/redis')
  const connection = { host: '127.0.0.1', port }
  const cache = new BentoCache({
    default: 'multitier',
    ttl: TTL,
    stores: {
      multitier: bentostore()
        .useL1Layer(memoryDriver(memory))
        .useL2Layer(redisDriver({ connection }))
        .useBus(redisBusDriver({ connection })),
    },
  })
  return {
    get: (key) => cache.get({ key }),
    set: (key, value) => cache.set({ key, value }),
    close: () => cache.disconnectAll(),
  }
}

async function cacheable(port) {
  const { Cacheable } = await import('cacheable')
  const { default: KeyvRedis } = await import('@keyv/redis')
  const cache = new Cacheable({ secondary: new KeyvRedis(`redis://127.0.0.1:${port}`), ttl: TTL })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value),
    close: () => cache.disconnect(),
  }
}

async function cacheManager(port) {
  const { createCache } = await import('cache-manager')
  const { CacheableMemory } = await import('cacheable')
  const { Keyv } = await import('keyv')
  const { default: KeyvRedis } = await import('@keyv/redis')
  const cache = createCache({
    stores: [
      new Keyv({ store: new CacheableMemory({ ttl: TTL, lruSize: 5000 }) }),
      new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`) }),
    ],
  })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value, TTL),
    close: () => cache.disconnect(),
  }
}

async function lruCache() {
  const { LRUCache } = await import('lru-cache')
  const cache = new LRUCache({ max: 5_000, ttl: TTL })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => void cache.set(key, value),
    close: () => {},
  }
}

// An application that keeps objects in Redis through ioredis calls JSON.parse and JSON.stringify itself.
const ioredis =
  (options, decode = true) =>
  async (port) => {
    const { Redis } = require('ioredis-6')
    const redis = new Redis(port, '127.0.0.1', options)
    return {
      get: decode ? async (key) => JSON.parse(await redis.get(key)) : (key) => redis.get(key),
      set: (key, value) => redis.set(key, JSON.stringify(value), 'PX', TTL),
      close: () => redis.quit(),
    }
  }

module.exports = {
  // Every contender has Redis behind it; every get is answered from memory.
  l1: {
    evenkeel: evenkeel({ l1: { ttl: TTL } }),
    'evenkeel, shareObjects': evenkeel({ l1: { ttl: TTL, shareObjects: true } }),
    bentocache: bentocache({ maxSize: '10mb' }),
    'bentocache, serialize: false': bentocache({ serialize: false, maxItems: 5_000 }),
    cacheable,
    'cache-manager': cacheManager,
    'lru-cache': lruCache,
  },
  // No L1: every get is answered by Redis.
  redis: {
    evenkeel: evenkeel({ l1: false }),
    'evenkeel, text': evenkeel({ l1: false }, { as: 'string' }),
    ioredis: ioredis({}),
    'ioredis, text': ioredis({}, false),
    'ioredis, auto-pipelining': ioredis({ enableAutoPipelining: true }),
  },
}
