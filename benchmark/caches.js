'use strict'

// The caches that are measured, each configured as its own documentation recommends, with Redis behind those that can have it. A
// contender is a function of the port of a Redis server that gives `{ get, set, getOrSet, close }`.

const { DEADLINE, L1_ENTRIES, TTL } = require('./settings.js')

const evenkeel = (l1, name) => async (port) => {
  const { Cache } = require('..')
  const cache = new Cache({
    redis: `redis://127.0.0.1:${port}`,
    namespace: 'bench',
    ...(name && { name }),
    l1: { ttl: TTL, ...l1 },
    l2: { ttl: TTL, timeout: DEADLINE },
  })
  await cache.ready()
  return {
    get: (key) => cache.get(key),
    peek: (key) => cache.peek(key),
    set: (key, value) => cache.set(key, value),
    getOrSet: (key, factory) => cache.getOrSet(key, factory),
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
    getOrSet: (key, factory) => cache.getOrSet({ key, factory }),
    close: () => cache.disconnectAll(),
  }
}

const cacheable = (memory) => async (port) => {
  const { Cacheable, createKeyv } = await import('cacheable')
  const { default: KeyvRedis } = await import('@keyv/redis')
  const secondary = new KeyvRedis(`redis://127.0.0.1:${port}`)
  const cache = new Cacheable({ ...(memory && { primary: createKeyv(memory) }), secondary, ttl: TTL })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value),
    getOrSet: (key, factory) => cache.getOrSet(key, factory),
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
      new Keyv({ store: new CacheableMemory({ ttl: TTL, lruSize: L1_ENTRIES }) }),
      new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port}`) }),
    ],
  })
  return {
    get: (key) => cache.get(key),
    set: (key, value) => cache.set(key, value, TTL),
    getOrSet: (key, factory) => cache.wrap(key, factory, TTL),
    close: () => cache.disconnect(),
  }
}

/** A million entries in memory, without Redis. */
async function largeEvenkeel() {
  const { Cache } = require('..')
  return new Cache({ l1: { maxBytes: 2 ** 31 }, l2: { ttl: TTL } })
}

async function largeLruCache() {
  const { LRUCache } = require('lru-cache')
  const cache = new LRUCache({ max: 1_000_000, ttl: TTL })
  return { get: (key) => cache.get(key), set: (key, value) => void cache.set(key, value), close: () => {} }
}

/** Knows loaders only: what is set is what its loader finds. */
async function asyncCacheDedupe() {
  const { createCache } = require('async-cache-dedupe')
  const origin = new Map()
  const cache = createCache({ ttl: TTL / 1_000, storage: { type: 'memory', options: { size: L1_ENTRIES } } })
  cache.define('value', (key) => origin.get(key))
  const get = (key) => cache.value(key)
  return { get, set: (key, value) => void origin.set(key, value), getOrSet: get, close: () => {} }
}

/** `read` is what a caller has to do with what the cache holds. */
const lruCache =
  (read = (value) => value) =>
  async () => {
    const { LRUCache } = await import('lru-cache')
    const cache = new LRUCache({ max: L1_ENTRIES, ttl: TTL })
    return {
      get: (key) => read(cache.get(key)),
      set: (key, value) => void cache.set(key, value),
      close: () => {},
    }
  }

const copied = (value) => JSON.parse(JSON.stringify(value))

async function nodeRedis(port) {
  const { createClient } = require('redis')
  const url = `redis://127.0.0.1:${port}`
  const clientSideCache = { ttl: 0, maxEntries: L1_ENTRIES, evictPolicy: 'LRU' }
  const redis = await createClient({ url, RESP: 3, clientSideCache }).connect()
  return {
    get: (key) => redis.get(key),
    set: (key, value) => redis.set(key, value, { PX: TTL }),
    close: () => redis.close(),
  }
}

const evenkeels = { evenkeel: evenkeel({}), 'evenkeel, shareObjects': evenkeel({ shareObjects: true }) }
const peers = {
  bentocache: bentocache({ maxSize: '10mb' }),
  'bentocache, serialize: false': bentocache({ serialize: false, maxItems: L1_ENTRIES }),
  cacheable: cacheable(),
  'cache-manager': cacheManager,
}
/** Those in two tiers whose memory holds as many entries as each other's: what it has not is in Redis. */
const bounded = {
  evenkeel: evenkeel({ maxEntries: L1_ENTRIES }),
  bentocache: bentocache({ maxItems: L1_ENTRIES }),
  cacheable: cacheable({ lruSize: L1_ENTRIES }),
  'cache-manager': cacheManager,
}

module.exports = {
  bounded,
  /** The same cache in every thread that opens it. */
  shared: evenkeel({}, 'bench'),
  large: { evenkeel: largeEvenkeel, 'lru-cache, objects': largeLruCache },
  objects: { ...evenkeels, ...peers, 'lru-cache': lruCache(), 'lru-cache, copied': lruCache(copied) },
  texts: {
    evenkeel: evenkeels.evenkeel,
    ...peers,
    'lru-cache': lruCache(),
    'node-redis, client-side cache': nodeRedis,
  },
  loaders: { ...evenkeels, ...peers, 'async-cache-dedupe': asyncCacheDedupe },
}
