'use strict'

// The calls of the first table of docs/servers.md.

const assert = require('node:assert/strict')
const { Cache } = require('evenkeel')
const { until } = require('../support/wait.js')

const TEN = Array.from({ length: 10 }, (_, n) => `key-${n}`)

/** Puts values into Redis that the cache has not in L1. */
async function inRedis(cache, server, keys) {
  for (const key of keys) await server.command('SET', `${cache.prefix}${key}`, '1')
  await until(() => keys.every((key) => cache.peek(key) === undefined))
}

const TWO_DAYS = 2 * 24 * 3_600_000

/** Another process stores two entries with the tag `t`. */
async function taggedByAnother(cache, server) {
  const other = new Cache({ redis: server.url, namespace: cache.prefix.slice(0, -1), invalidation: 'off' })
  for (const key of ['other', 'k']) await other.set(key, { a: 1 }, { tags: ['t'] })
  await other.close()
}

/** What is done for each row of the table; `first` is not counted. Of several `attempts` the last counts, the first that is right. */
const CALLS = {
  '`get`, `getMany`, `has`, `ttl`, `getOrSet`, `peek`, answered by L1': {
    first: (cache) => cache.set('k', 1),
    async call(cache) {
      await cache.get('k')
      await cache.getMany(['k', 'k'])
      await cache.has('k')
      await cache.ttl('k')
      await cache.getOrSet('k', () => 2)
      cache.peek('k')
    },
  },
  '`get`, `has`': { call: (cache) => cache.get('k') },
  '`get` of one key, 10 times at once': { call: (cache) => Promise.all(TEN.map(() => cache.get('k'))) },
  '`get` of 10 keys at once': {
    // The first calls of a process take longer than a turn should.
    first: (cache) => Promise.all(TEN.map((key) => cache.get(`first-${key}`))),
    call: (cache) => Promise.all(TEN.map((key) => cache.get(key))),
    // A busy machine may hold up the event loop between two of them for longer than the link waits.
    attempts: 5,
  },
  '`getMany` of 10 keys': { call: (cache) => cache.getMany(TEN) },
  '`getMany` of 10 keys, 9 of them in L1': {
    first: (cache) => cache.setMany(TEN.slice(1).map((key) => [key, 1])),
    call: (cache) => cache.getMany(TEN),
  },
  '`getOrSet`, the value is in Redis': {
    first: (cache, server) => inRedis(cache, server, ['k']),
    call: (cache) => cache.getOrSet('k', () => 1),
  },
  '`getOrSet`, the factory is called': { call: (cache) => cache.getOrSet('k', () => 1) },
  '`set`, with or without `ttl`, `staleFor`, `onlyIf`': {
    call: (cache) => cache.set('k', { a: 1 }, { ttl: 60_000, staleFor: 60_000, onlyIf: 'absent' }),
  },
  '`set` with a tag that is new': { call: (cache) => cache.set('k', { a: 1 }, { tags: ['t'] }) },
  '`set` with a tag that others made': {
    first: (cache, server) => server.command('SET', `${cache.prefix}~tag:t`, '7', 'PX', TWO_DAYS),
    call: (cache) => cache.set('k', { a: 1 }, { tags: ['t'] }),
  },
  '`set` with a tag that is known': {
    first: (cache) => cache.set('first', { a: 1 }, { tags: ['t'] }),
    call: (cache) => cache.set('k', { a: 1 }, { tags: ['t'] }),
  },
  '`get` of an entry with a tag whose version is not known': {
    first: taggedByAnother,
    call: async (cache) => assert.deepEqual(await cache.get('k'), { a: 1 }),
  },
  '`get` of an entry with a tag that is known': {
    async first(cache, server) {
      await taggedByAnother(cache, server)
      await cache.get('other')
    },
    call: async (cache) => assert.deepEqual(await cache.get('k'), { a: 1 }),
  },
  '`invalidateTags` of 2 tags that have a version': {
    first: (cache) => cache.set('k', { a: 1 }, { tags: ['t', 'u'] }),
    call: (cache) => cache.invalidateTags('t', 'u'),
  },
  '`invalidateTags` of 2 tags, one of which has none': {
    first: (cache) => cache.set('k', { a: 1 }, { tags: ['t'] }),
    call: (cache) => cache.invalidateTags('t', 'u'),
  },
  '`lock` and `release`, `withLock`': { call: (cache) => cache.withLock('k', {}, () => 1) },
  '`getOrSet` with `lock`, the factory is called': {
    call: (cache) => cache.getOrSet('k', () => ({ a: 1 }), { lock: true }),
  },
  '`getOrSet` renews what is stale': {
    async first(cache) {
      await cache.set('k', { a: 1 }, { ttl: 1, staleFor: 60_000 })
      await until(() => cache.peek('k') === undefined)
    },
    call: (cache) => cache.getOrSet('k', () => ({ a: 2 })),
  },
  '`set` above `l2.maxValueBytes`': { call: (cache) => cache.set('k', 'x'.repeat(1_100_000)) },
  '`setMany` of 10 keys, or 10 `set` at once': {
    call: (cache) => cache.setMany(TEN.map((key) => [key, 1])),
  },
  '`delete`': { call: (cache) => cache.delete('k') },
  '`deleteMany` of 10 keys': { call: (cache) => cache.deleteMany(TEN) },
  '`ttl` of what L1 has not': {
    first: (cache, server) => inRedis(cache, server, ['k']),
    call: (cache) => cache.ttl('k'),
  },
  '`touch`, `markStale`': {
    first: (cache) => cache.set('k', { a: 1 }),
    call: (cache) => cache.touch('k', 60_000),
  },
  '`increment`, `decrement`': { call: (cache) => cache.increment('k') },
  '`increment` with `ttl`': { call: (cache) => cache.increment('k', 1, { ttl: 60_000 }) },
  '`keys`, each page': {
    first: (cache, server) => inRedis(cache, server, TEN),
    async call(cache) {
      const found = []
      for await (const key of cache.keys('*')) found.push(key)
      assert.equal(found.length, TEN.length)
    },
  },
  '`deletePattern`, `clear`: a page with matches, the only one': {
    first: (cache, server) => inRedis(cache, server, TEN),
    async call(cache) {
      assert.equal(await cache.deletePattern('key-*'), TEN.length)
    },
  },
  '`deletePattern`, `clear`: a page without, the only one': {
    first: (cache, server) => inRedis(cache, server, TEN),
    call: (cache) => cache.deletePattern('other-*'),
  },
  '`command`, `commands`: what they are given, here 2 reads': {
    call: (cache) =>
      cache.commands([
        ['HGET', 'h', 'f'],
        ['STRLEN', 's'],
      ]),
  },
  '`ping`': { call: (cache) => cache.ping() },
  '`health`, `stats`, `metrics`, `state`, `ready`, `settled`': {
    async call(cache) {
      cache.health({ verbose: true })
      cache.stats()
      cache.metrics()
      await cache.ready()
      await cache.settled()
      assert.equal(cache.state, 'up')
    },
  },
}

module.exports = { CALLS }
