'use strict'

// Who answers the requests of a trace: a function of the trace, how many bytes may be kept and the port of a Redis server
// that has all objects. It gives the share of requests that were answered from memory.

const { setImmediate: turn } = require('node:timers/promises')
const { TTL } = require('../settings.js')

/** What evenkeel counts for an entry beside its key and its value: lru-cache is told to count the same. */
const OVERHEAD = 280
/** A read waits for Redis however slow the machine is: ms. */
const PATIENCE = 30_000
/** Requests until the event loop has its turn, as it has in a service. */
const BURST = 100

const text = (size) => 'x'.repeat(size)
/** Of these evenkeel keeps no decoded value on the thread that asks. */
const bytes = (size) => Buffer.alloc(size, 'x')

/** What counts for an object in all caches. */
const costOf = ({ keys, sizes }, object) => keys[object].length + sizes[object] + OVERHEAD

async function lruCache({ keys, sizes, requests }, { maxBytes }) {
  const { LRUCache } = await import('lru-cache')
  const cost = (value, key) => key.length + value.length + OVERHEAD
  const cache = new LRUCache({ maxSize: maxBytes, sizeCalculation: cost })
  let hits = 0
  for (const object of requests) {
    const key = keys[object]
    if (cache.get(key) === undefined) cache.set(key, text(sizes[object]))
    else hits++
  }
  return hits / requests.length
}

/** Without Redis what is missing is made and set, with it L1 takes what Redis has. */
const evenkeel =
  (make, isTiered) =>
  async ({ id, keys, sizes, requests }, { maxBytes, port }) => {
    const { Cache } = require('../..')
    const redis = isTiered && {
      redis: urlOf(port),
      namespace: namespaceOf(id, make),
      l2: { timeout: PATIENCE },
    }
    const cache = new Cache({ ...redis, l1: { maxBytes, ttl: TTL }, jitter: 0 })
    if (isTiered) await cache.ready()
    for (const [index, object] of requests.entries()) {
      if (index % BURST === 0) await turn()
      const key = keys[object]
      if ((await cache.get(key)) !== undefined) continue
      if (isTiered) throw new Error(`Redis has no ${key}`)
      await cache.set(key, make(sizes[object]))
    }
    const { hits } = cache.health().cache.l1
    await cache.close()
    return hits / requests.length
  }

const urlOf = (port) => `redis://127.0.0.1:${port}`
const namespaceOf = (id, make) => `${id}-${make.name}`

/** Writes the objects of a trace to Redis, of each kind of value, past every L1. */
async function fill({ id, keys, sizes }, port) {
  const { Cache } = require('../..')
  for (const make of [text, bytes]) {
    const namespace = namespaceOf(id, make)
    const cache = new Cache({ redis: urlOf(port), namespace, l1: false, l2: { ttl: null }, strict: true })
    await cache.ready()
    for (let from = 0; from < keys.length; from += BURST) {
      const some = keys.slice(from, from + BURST)
      await Promise.all(some.map((key, at) => cache.set(key, make(sizes[from + at]))))
    }
    await cache.close()
  }
}

module.exports = {
  contenders: {
    'lru-cache': lruCache,
    'evenkeel, no Redis': evenkeel(text, false),
    evenkeel: evenkeel(text, true),
    'evenkeel, Buffers': evenkeel(bytes, true),
  },
  costOf,
  fill,
}
