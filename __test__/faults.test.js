'use strict'

// Rows of docs/failure-modes.md that outage, recovery, degradation, link and sockets tests do not hold: what a network and a
// server do when they are half well.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

async function started(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

/** A server, a proxy before it and a cache behind that. */
async function proxied(t, options = {}) {
  const server = await started(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const namespace = ownNamespace()
  const redis = { host: '127.0.0.1', port: proxy.port, ...options.redis }
  const cache = openCache(t, { ...options, redis, namespace })
  await cache.ready()
  return { server, proxy, cache, prefix: `${namespace}:` }
}

test('a link that an idle reaper closes is made anew without anybody noticing', async (t) => {
  const server = await started(t)
  const cache = await openOn(t, server, { l1: false })
  await cache.set('k', 'v')
  await server.command('CONFIG', 'SET', 'timeout', '1')
  await until(() => cache.stats().l2Reconnects >= 1, { timeout: 20_000 })
  await until(() => cache.state === 'up')
  assert.equal(await cache.get('k'), 'v')
})

test('a read whose link is killed is answered by the next link', async (t) => {
  const { server, proxy, cache } = await proxied(t, { l1: false, l2: { timeout: 5_000 } })
  await cache.set('k', 'v')
  proxy.swallows = { up: false, down: true }
  const value = cache.get('k')
  await until(async () => (await server.calls('get')) > 0)
  proxy.swallows = { up: false, down: false }
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  assert.equal(await value, 'v')
})

test('a server without room for another client is asked every 5 s at most, and used when it has room', async (t) => {
  const server = await started(t)
  const others = [await server.connect(), await server.connect()]
  await server.command('CONFIG', 'SET', 'maxclients', String(others.length + 1))
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = openCache(t, { redis: { host: '127.0.0.1', port: proxy.port }, namespace: ownNamespace() })
  await until(() => cache.health().cache.l2.last_error !== null)
  await cache.set('k', 1)
  assert.equal(await cache.get('k'), 1)
  for (const other of others) other.close()
  await until(() => cache.state === 'up', { timeout: 60_000 })
  const gaps = proxy.acceptedAt.slice(1).map((at, index) => at - proxy.acceptedAt[index])
  assert.ok(
    gaps.slice(2).every((gap) => gap >= 4_900),
    `${gaps}`,
  )
})

test('a port that accepts and hangs up, resets or says nothing is left alone for ever longer', async (t) => {
  for (const how of ['fin', 'reset', 'stall']) {
    const proxy = await startProxy({ port: 1 })
    proxy.onAccept = how
    const redis = { host: '127.0.0.1', port: proxy.port, connectTimeout: 500 }
    const cache = openCache(t, { redis, namespace: ownNamespace() })
    await until(() => proxy.accepted >= 3, { timeout: 20_000 })
    assert.equal(await cache.getOrSet('k', () => 'made'), 'made')
    assert.ok(proxy.accepted < 20)
    await cache.close()
    await proxy.close()
  }
})

test('a rotated password costs nobody an error, and the restored one is used within 10 s', async (t) => {
  const server = await started(t)
  const cache = await openOn(t, server)
  await cache.set('k', 1)
  await server.command('CONFIG', 'SET', 'requirepass', 'another')
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => cache.health().cache.l2.last_error?.code === 'NOAUTH')
  assert.match(cache.health().cache.l2.last_error.message, /redis\.password/)
  assert.equal(await cache.getOrSet('k', () => 2), 1)
  await server.command('CONFIG', 'SET', 'requirepass', '')
  await until(() => cache.state === 'up', { timeout: 10_000 })
})

test('a master that becomes a replica is left at its first READONLY, and used again as a master', async (t) => {
  const server = await started(t)
  const cache = await openOn(t, server)
  await cache.set('k', { of: 'before' })
  await server.command('REPLICAOF', '127.0.0.1', '1')
  await cache.set('k', { of: 'meanwhile' })
  await until(() => cache.state === 'down')
  assert.deepEqual(await cache.get('k'), { of: 'meanwhile' })
  await server.command('REPLICAOF', 'NO', 'ONE')
  await until(() => cache.state === 'up')
  await cache.settled()
  assert.equal(await server.command('EXISTS', `${cache.prefix}k`), 0, 'the value from before is gone')
})

test('a server that runs a script is not asked again and again, and used when it is done', async (t) => {
  const server = await started(t, { args: ['--busy-reply-threshold', '50'] })
  const cache = await openOn(t, server, { l1: false, breaker: { minCalls: 5, openFor: 500 } })
  await cache.set('k', 'v')
  const busy = await server.connect()
  const script = busy.command('EVAL', 'while true do end', '0').catch((error) => error)
  await until(async () => (await cache.get('k'), cache.health().cache.l2.breaker !== 'closed'))
  assert.equal(await cache.getOrSet('other', () => 'made'), 'made')
  await until(() => server.command('SCRIPT', 'KILL'))
  assert.match((await script).message, /killed/i)
  await until(async () => (await cache.get('k')) === 'v', { timeout: 20_000 })
  busy.close()
})

test('a spent quota is told once, costs no further command, and keeps the link', async (t) => {
  const { proxy, cache } = await proxied(t, { l1: false })
  const text = 'ERR max requests limit exceeded. Limit: 500000, Usage: 500000. See the pricing page'
  proxy.onReply = () => Buffer.from(`-${text}\r\n`)
  assert.equal(await cache.get('k'), undefined)
  await until(() => cache.health().cache.l2.breaker === 'open')
  const before = cache.stats().l2Commands
  for (let index = 0; index < 100; index++) await cache.get(`k${index}`)
  assert.equal(cache.stats().l2Commands, before)
  assert.deepEqual([proxy.accepted, cache.state, cache.health().cache.mode], [1, 'up', 'memory'])
})

test('a reply that is lost or doubled never gives one key the value of another', async (t) => {
  const { proxy, cache } = await proxied(t, { l1: false, l2: { timeout: 200 } })
  const keys = Array.from({ length: 20 }, (_, index) => `key ${index}`)
  await cache.setMany(keys.map((key) => [key, { key }]))
  let wrong = 0
  let answers = 0
  proxy.onReply = (reply) => {
    if (!reply.includes('{"key"')) return reply
    answers += 1
    if (answers % 100 === 0) return Buffer.alloc(0)
    return answers % 100 === 50 ? Buffer.concat([reply, reply]) : reply
  }
  const load = steadily(500, async () => {
    const key = keys[Math.floor(Math.random() * keys.length)]
    const value = await cache.get(key)
    if (value !== undefined && value.key !== key) wrong += 1
  })
  await until(() => cache.stats().l2Reconnects >= 3, { timeout: 60_000 })
  const calls = await load.stop()
  assert.deepEqual([wrong, calls.filter((call) => call.error).length], [0, 0])
  proxy.onReply = undefined
  await until(async () => (await cache.get('key 1'))?.key === 'key 1', { timeout: 20_000 })
})

test('an answer that trickles in byte by byte is whole or late, never half', async (t) => {
  const { proxy, cache } = await proxied(t, { l1: false, l2: { timeout: 300 } })
  const value = { text: 'x'.repeat(200) }
  await cache.set('k', value)
  proxy.trickle = 1
  const got = await cache.get('k')
  assert.ok(got === undefined || got.text === value.text)
  proxy.trickle = 0
  proxy.sever()
  await until(async () => (await cache.get('k'))?.text === value.text)
})

test('bytes that are no reply end the link, not the service', async (t) => {
  const { proxy, cache } = await proxied(t)
  await cache.set('k', { v: 1 })
  proxy.inject('?what is this\r\n')
  await until(() => cache.stats().l2Reconnects >= 1)
  await until(() => cache.state === 'up')
  assert.deepEqual(await cache.get('k'), { v: 1 })
})
