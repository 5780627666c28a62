'use strict'

// warm() is at nobody’s expense: hot entries stay in L1, newer values in Redis, and the event loop has its turns.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { monitor } = require('./support/monitor.js')
const { noting } = require('./support/origin.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')
const { keysOf, report } = require('./support/warm.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const ROOM = 2 * 1024 * 1024
const value = 'x'.repeat(1024)

/** As many entries as fill L1, all of them asked for again and again; their keys. */
async function fill(cache) {
  const keys = keysOf(1_200, 'hot')
  await cache.setMany(keys.map((key) => [key, value]))
  for (let round = 0; round < 5; round++) for (const key of keys) cache.peek(key)
  await cache.settled()
  for (let round = 0; round < 5; round++) await Promise.all(keys.map((key) => cache.get(key)))
  const held = () => keys.filter((key) => cache.peek(key) !== undefined)
  assert.equal(held().length, keys.length, 'the hot entries fit')
  return held
}

const cold = keysOf(5_000, 'cold').map((key) => [key, value])

test('in memory, hot entries stay, and what finds no room is skipped', async (t) => {
  const cache = openCache(t, { l1: { maxBytes: ROOM } })
  const held = await fill(cache)
  const { done, skipped, failed } = await cache.warm(cold)
  assert.equal(held().length, 1_200)
  assert.deepEqual([done + skipped, failed], [5_000, 0])
  assert.ok(skipped > 3_000, `${skipped} are skipped`)
  const kept = cold.filter(([key]) => cache.peek(key) !== undefined)
  assert.equal(kept.length, done)
  assert.equal(cache.health().cache.l1.evictions, 0)
})

test('with Redis, hot entries stay, and all else is in Redis', async (t) => {
  const cache = await openOn(t, server, { l1: { maxBytes: ROOM } })
  const held = await fill(cache)
  const { done, skipped, failed } = await cache.warm(cold)
  assert.equal(held().length, 1_200)
  assert.deepEqual([done, skipped, failed], [5_000, 0, 0])
  await cache.settled()
  const keys = cold.map(([key]) => cache.prefix + key)
  assert.equal(await server.command('EXISTS', ...keys), 5_000)
})

test('with Redis, hot entries stay when what is brought comes from there', async (t) => {
  const namespace = ownNamespace()
  const other = await openOn(t, server, { namespace })
  await other.setMany(cold)
  const cache = await openOn(t, server, { namespace, l1: { maxBytes: ROOM } })
  const held = await fill(cache)
  const load = () => assert.fail('Redis has all')
  const keys = cold.map(([key]) => key)
  assert.deepEqual(await cache.warm(keys, { load }), report(0, { skipped: 5_000 }))
  assert.equal(held().length, 1_200)
})

test('a newer value in Redis is not overwritten, and is what L1 has', async (t) => {
  const namespace = ownNamespace()
  const [cache, other] = [await openOn(t, server, { namespace }), await openOn(t, server, { namespace })]
  await other.setMany({ a: 'newer', b: 'newer' })
  assert.deepEqual(await cache.warm({ a: 'older', b: 'older', c: 'new' }), report(1, { skipped: 2 }))
  await cache.settled()
  assert.deepEqual(await cache.getMany(['a', 'b', 'c']), ['newer', 'newer', 'new'])
  assert.deepEqual(await other.getMany(['a', 'b', 'c']), ['newer', 'newer', 'new'])
})

test('a batch is one question to Redis', async (t) => {
  const client = ownNamespace()
  const cache = await openOn(t, server, { redis: { url: server.url, connectionName: client } })
  const judge = await monitor(server, client)
  t.after(() => judge.close())
  await judge.commands()
  const source = keysOf(20).map((key, index) => ({ key, value: index, ttl: 60_000 + index }))
  assert.deepEqual(await cache.warm(source, { batch: 10, concurrency: 1, tags: ['all'] }), report(20))
  await cache.settled()
  const sent = (await judge.commands()).map((words) => words.split(' ')[0].toUpperCase())
  assert.equal(sent.filter((word) => word === 'MGET').length, 2)
  assert.equal(sent.filter((word) => word === 'GET').length, 0)
})

test('nobody is given what a warm brings once a tag of it is invalidated', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, {
    redis: `redis://127.0.0.1:${proxy.port}`,
    l2: { softTimeout: false },
  })
  for (const pair of proxy.pairs) pair.delay = 100
  const source = [
    { key: 'a', value: 'older', tags: ['one'] },
    { key: 'b', value: 'older', tags: ['two'] },
  ]
  const warming = cache.warm(source)
  await until(() => cache.health().cache.l2.in_flight > 0)
  const invalidating = cache.invalidateTags('two')
  assert.equal(await cache.getOrSet('b', () => 'newer', { tags: ['two'] }), 'newer')
  await Promise.all([warming, invalidating])
  await cache.settled()
  assert.notEqual(await cache.get('b'), 'older')
})

test('while Redis is away it warms the memory', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, { redis: `redis://127.0.0.1:${proxy.port}` })
  await proxy.down()
  await until(() => cache.state !== 'up')
  assert.deepEqual(await cache.warm(keysOf(10), { load: noting().load }), report(10))
  assert.equal(cache.peek('key-7'), 'of key-7')
})

test('the event loop has its turns while 20,000 entries are brought', async (t) => {
  const cache = openCache(t, {})
  let [ticks, longest, before] = [0, 0, performance.now()]
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - before)
    before = now
    ticks++
  }, 1)
  const started = performance.now()
  const source = keysOf(20_000).map((key) => [key, { key }])
  before = performance.now()
  assert.deepEqual(await cache.warm(source), report(20_000))
  clearInterval(timer)
  const ms = performance.now() - started
  t.diagnostic(`${ms.toFixed(0)} ms, ${ticks} ticks, ${longest.toFixed(0)} ms between two at most`)
  assert.ok(longest < 250, `${longest} ms without a turn`)
  assert.ok(ticks >= 10, `${ticks} ticks in ${ms} ms`)
})
