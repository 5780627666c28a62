'use strict'

// Servers that are there and cannot serve, or answer what nobody should: loading, without a master, without slots, empty,
// with limits of their own.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { startRedis } = require('./support/redis.js')
const { timed, until } = require('./support/wait.js')

/** How long a call may take that does not wait for Redis, or waits for it in vain. */
const PROMPT_MS = 1_500

async function started(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

/** A load goes on, promptly, whatever Redis answers. */
async function loads(cache, key) {
  const { value, ms } = await timed(() => cache.getOrSet(key, () => 'made'))
  assert.equal(value, 'made')
  assert.ok(ms < PROMPT_MS, `${ms} ms`)
}

test('a server that loads its data for seconds is waited for over the same link, and then used', async (t) => {
  const server = await started(t, { persist: true })
  const cache = await openOn(t, server)
  await cache.set('k', 'v')
  for (let n = 0; n < 2_000; n++) await server.command('SET', `other-${n}`, 'x'.repeat(1_000))
  // 1 ms for each key: two seconds.
  const slowly = ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024']
  await server.kill()
  const loading = server.start(slowly)
  await until(() => cache.state === 'recovering', { timeout: 20_000 })
  await loads(cache, 'made-while-loading')
  await loading
  await until(() => cache.state === 'up', { timeout: 20_000 })
  await until(async () => (await cache.get('k')) === 'v', { timeout: 20_000 })
})

test('a replica without its master is as good as no server, and used once it is a master', async (t) => {
  const server = await started(t, { args: ['--replica-serve-stale-data', 'no'] })
  await server.command('REPLICAOF', '127.0.0.1', '1')
  const cache = openCache(t, { redis: server.url, namespace: ownNamespace() })
  await until(() => cache.health().cache.l2.last_error !== null)
  await loads(cache, 'k')
  await server.command('REPLICAOF', 'NO', 'ONE')
  await until(() => cache.state === 'up', { timeout: 20_000 })
})

test('a cluster without slots opens the breaker, and calls go on', async (t) => {
  const server = await started(t, { args: ['--cluster-enabled', 'yes'] })
  const cache = openCache(t, {
    redis: server.url,
    namespace: ownNamespace(),
    l1: false,
    breaker: { minCalls: 5 },
  })
  await until(() => cache.state === 'up')
  for (let n = 0; n < 10; n++) await loads(cache, `key-${n}`)
  await until(() => cache.health().cache.l2.breaker === 'open')
  await loads(cache, 'key')
})

test('a server that comes back empty is believed: L1 does not go on with what it held', async (t) => {
  const server = await started(t)
  const cache = await openOn(t, server)
  await cache.set('k', 'v')
  await server.restart()
  await until(() => cache.stats().l2Reconnects === 1 && cache.state === 'up')
  assert.equal(await cache.get('k'), undefined)
})

test('an answer that claims two gigabytes costs no memory, and the link is left', async (t) => {
  const server = await started(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const redis = { host: '127.0.0.1', port: proxy.port }
  const cache = openCache(t, { redis, namespace: ownNamespace(), l1: false, l2: { timeout: 200 } })
  await cache.set('k', 'v')
  const before = process.memoryUsage.rss()
  proxy.onReply = () => Buffer.from('$2147483647\r\nv')
  await loads(cache, 'k2')
  await until(async () => (await cache.get('k'), cache.stats().l2Reconnects + proxy.accepted > 1), {
    timeout: 30_000,
  })
  assert.ok(process.memoryUsage.rss() - before < 100e6)
  proxy.onReply = undefined
  proxy.sever()
  await until(async () => (await cache.get('k')) === 'v', { timeout: 20_000 })
})

test('a service that hangs up on requests above its limit costs that value its place in Redis, and no other', async (t) => {
  const server = await started(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  proxy.limit = { way: 'up', bytes: 100_000, end: 'fin' }
  const redis = { host: '127.0.0.1', port: proxy.port }
  const cache = openCache(t, { redis, namespace: ownNamespace() })
  await cache.ready()
  const large = 'x'.repeat(200_000)
  await cache.set('large', large)
  assert.equal(await cache.get('large'), large, 'this process has it')
  await until(() => cache.stats().l2Reconnects >= 1 && cache.state === 'up', { timeout: 20_000 })
  await cache.set('small', 'v', { strict: true })
  await cache.settled()
  assert.equal(await server.command('DBSIZE'), 1)
})
