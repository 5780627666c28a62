'use strict'

// The clients that are measured, each as its own documentation recommends. A contender is a function of the port of a Redis
// server that gives `{ get, getMany, set, close }`, for strings.

const { DEADLINE, TTL } = require('./settings.js')

/** Without L1 every get is answered by Redis. */
async function evenkeel(port) {
  const { Cache } = require('..')
  const cache = new Cache({
    redis: `redis://127.0.0.1:${port}`,
    namespace: 'bench',
    l1: false,
    l2: { ttl: TTL, timeout: DEADLINE },
  })
  await cache.ready()
  return {
    get: (key) => cache.get(key),
    getMany: (keys) => cache.getMany(keys),
    set: (key, value) => cache.set(key, value),
    close: () => cache.close(),
  }
}

const ioredis = (options) => async (port) => {
  const { Redis } = require('ioredis-6')
  const redis = new Redis(port, '127.0.0.1', options)
  return {
    get: (key) => redis.get(key),
    getMany: (keys) => redis.mget(keys),
    set: (key, value) => redis.set(key, value, 'PX', TTL),
    close: () => redis.quit(),
  }
}

async function nodeRedis(port) {
  const { createClient } = require('redis')
  const redis = await createClient({ url: `redis://127.0.0.1:${port}` }).connect()
  return {
    get: (key) => redis.get(key),
    getMany: (keys) => redis.mGet(keys),
    set: (key, value) => redis.set(key, value, { PX: TTL }),
    close: () => redis.close(),
  }
}

async function glide(port) {
  const { GlideClient, TimeUnit } = require('@valkey/valkey-glide')
  const addresses = [{ host: '127.0.0.1', port }]
  const client = await GlideClient.createClient({ addresses, requestTimeout: DEADLINE })
  const expiry = { type: TimeUnit.Milliseconds, count: TTL }
  return {
    get: (key) => client.get(key),
    getMany: (keys) => client.mget(keys),
    set: (key, value) => client.set(key, value, { expiry }),
    close: () => client.close(),
  }
}

module.exports = {
  evenkeel,
  ioredis: ioredis({}),
  'ioredis, auto-pipelining': ioredis({ enableAutoPipelining: true }),
  'node-redis': nodeRedis,
  'valkey-glide': glide,
}
