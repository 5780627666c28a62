'use strict'

// How many sockets evenkeel opens, and when; and what goes over the one that carries everything.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { freePort, startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

test('one connection carries everything, also with a thousand calls at once', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, { redis: `redis://127.0.0.1:${proxy.port}`, l1: false })
  await Promise.all(Array.from({ length: 1000 }, (_, index) => cache.set(`key-${index}`, index)))
  await Promise.all(Array.from({ length: 1000 }, (_, index) => cache.get(`key-${index}`)))
  assert.deepEqual([proxy.accepted, proxy.mostOpen], [1, 1])
})

test('what is read is what was written last, whichever thread sends it', async (t) => {
  const cache = await openOn(t, server, { l1: false })
  const enough = new AbortController()
  const others = Array.from({ length: 20 }, async (_, number) => {
    while (!enough.signal.aborted) {
      await cache.get(`other-${number}`)
      // Now few are under way, and now many.
      if (number > 0) await pause(Math.random() * 20)
    }
  })
  for (let count = 0; count < 1_000; count++) {
    const written = cache.set('key', count)
    const read = cache.get('key')
    if (count % 3 === 0) await written
    assert.equal(await read, count)
    if (count % 100 === 0) await pause(15)
  }
  enough.abort()
  await Promise.all(others)
})

test('maxConnections is a limit that holds while everything is severed again and again', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, {
    redis: { port: proxy.port, maxConnections: 3, retryStrategy: () => 20 },
    l1: false,
  })
  let next = 0
  const load = steadily(300, () => cache.set(`key-${next++ % 100}`, 1))
  for (let round = 0; round < 5; round++) {
    const accepted = proxy.accepted
    proxy.sever()
    await until(() => proxy.accepted > accepted && cache.state === 'up')
  }
  const calls = await load.stop()
  assert.deepEqual(
    calls.filter(({ error }) => error),
    [],
  )
  assert.ok(proxy.mostOpen <= 3, `${proxy.mostOpen} sockets were open at once`)
})

test('attempts to a port that refuses are counted and spread out', async (t) => {
  const attempts = []
  const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}` })
  cache.on('reconnecting', (event) => attempts.push(event))
  await until(() => attempts.length >= 4)
  assert.deepEqual(
    attempts.slice(0, 4).map(({ attempt }) => attempt),
    [1, 2, 3, 4],
  )
  for (const { delayMs } of attempts) assert.ok(delayMs >= 50 && delayMs <= 5_000, `${delayMs} ms`)
})

test('retryStrategy is asked once for each attempt, and a strange answer changes nothing', async (t) => {
  const asked = []
  const answers = [10, 'soon', NaN, null]
  const retryStrategy = (times) => {
    asked.push(times)
    if (asked.length > answers.length) throw new Error('thrown by a strategy')
    return answers[asked.length - 1]
  }
  openCache(t, { redis: { port: await freePort(), retryStrategy } })
  await until(() => asked.length >= 7)
  assert.deepEqual(asked.slice(0, 7), [1, 2, 3, 4, 5, 6, 7])
})

test('lazyConnect opens nothing until it is used', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = openCache(t, { redis: { port: proxy.port, lazyConnect: true }, namespace: ownNamespace() })
  assert.equal(cache.state, 'idle')
  await cache.get('key')
  await cache.ready()
  assert.equal(proxy.accepted, 1)
})

test('in memory mode no socket is opened, by option, by environment and by switch', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = openCache(t, {
    redis: `redis://127.0.0.1:${proxy.port}`,
    memoryMode: true,
    namespace: ownNamespace(),
  })
  await cache.ready()
  await cache.set('key', 1)
  assert.equal(await cache.get('key'), 1)
  assert.equal(cache.health().cache.mode, 'memory')
  const script = `
    const { Cache } = require('evenkeel')
    const cache = new Cache({ redis: 'redis://127.0.0.1:${proxy.port}', memoryMode: false })
    cache.ready().then(() => cache.set('key', 1)).then(() => cache.get('key')).then((value) => console.log(value, cache.health().cache.mode))`
  const { stdout } = await runScript(script, { env: { USE_MEMORY_MODE: 'TRUE' } })
  assert.equal(stdout, '1 memory\n')
  assert.equal(proxy.accepted, 0)
  cache.setMemoryMode(false)
  await cache.ready()
  assert.equal(proxy.accepted, 1)
  cache.setMemoryMode(true)
  await until(() => proxy.open === 0)
  assert.equal(cache.state, 'idle')
})

test('caches that were given one name share one connection, unnamed ones share nothing', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const options = { redis: `redis://127.0.0.1:${proxy.port}`, name: 'shared', namespace: ownNamespace() }
  const [one, two] = [openCache(t, options), openCache(t, options)]
  await Promise.all([one.ready(), two.ready()])
  await one.set('key', { a: 1 })
  assert.deepEqual(two.peek('key'), { a: 1 })
  assert.equal(proxy.accepted, 1)
  assert.throws(() => openCache(t, { ...options, l2: { ttl: 1_000 } }), cacheError('ERR_CACHE_OPTIONS'))
  await one.close()
  assert.deepEqual(await two.get('key'), { a: 1 })
  await openOn(t, proxy, { redis: `redis://127.0.0.1:${proxy.port}` })
  assert.equal(proxy.accepted, 2)
  await two.close()
  await until(() => proxy.open === 1)
})
