'use strict'

// Every command costs somebody money: what is sent when nothing is asked, when Redis is in trouble, and when it comes back, with
// MONITOR as the judge.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { monitor } = require('./support/monitor.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const INTERVAL_MS = 200
const INTERVALS = 10

/** A cache behind a proxy, up, and the judge of what it sends. */
async function judged(t, options = {}) {
  const server = await startRedis({ persist: true })
  t.after(() => server.stop())
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const client = ownNamespace()
  const redis = { host: '127.0.0.1', port: proxy.port, connectionName: client }
  const cache = openCache(t, { redis, namespace: client, ...options })
  await cache.ready()
  const judge = await monitor(server, client)
  t.after(() => judge.close())
  return { server, proxy, cache, judge, prefix: `${client}:` }
}

test('an idle process sends one command an interval', async (t) => {
  const { judge } = await judged(t, { health: { interval: INTERVAL_MS } })
  await judge.commands()
  await pause(INTERVALS * INTERVAL_MS)
  const sent = await judge.commands()
  assert.ok(sent.length >= INTERVALS - 2 && sent.length <= INTERVALS + 1, `${sent}`)
  assert.deepEqual([...new Set(sent)], ['PING'])
})

test('while the breaker is open nothing is sent but its probes', async (t) => {
  const { proxy, cache, judge } = await judged(t, {
    l1: false,
    l2: { timeout: 200, softTimeout: false },
    breaker: { minCalls: 5, openFor: 1_000 },
  })
  await cache.set('key', 'value')
  // Answers take so long that calls count as slow, and do not miss their deadline.
  proxy.delay = 180
  proxy.sever()
  await until(() => cache.state === 'up')
  await until(async () => {
    await Promise.all(Array.from({ length: 5 }, (_, n) => cache.get(`key-${n}`)))
    return cache.health().cache.l2.breaker === 'open'
  })
  await pause(300)
  await judge.commands()
  let asked = 0
  for (; cache.health().cache.l2.breaker === 'open'; asked++) {
    await Promise.all([cache.get('key'), cache.set(`key-${asked}`, 1), cache.delete('gone')])
    await pause(5)
  }
  const sent = await judge.commands()
  assert.ok(asked > 20, `${asked} rounds`)
  assert.ok(sent.length <= 1 && sent.every((command) => command === 'PING'), `${sent}`)
})

test('on its return Redis gets the commands of the barrier, and nothing more', async (t) => {
  const { proxy, cache, judge, prefix, server } = await judged(t)
  await cache.setMany([1, 2, 3].map((n) => [`key-${n}`, n]))
  await judge.commands()
  await proxy.down()
  await until(() => cache.state !== 'up')
  for (const n of [1, 2]) await cache.delete(`key-${n}`)
  for (let n = 0; n < 100; n++) await cache.get('key-3')
  await proxy.up()
  await until(() => cache.state === 'up')
  await cache.settled()
  await pause(500)
  const sent = await judge.commands()
  const barrier = sent.filter((command) => !/^(HELLO|CLIENT)/.test(command))
  assert.deepEqual(barrier, ['INFO', `UNLINK ${prefix}key-1`, `UNLINK ${prefix}key-2`])
  assert.equal(await server.command('DBSIZE'), 1)
})

/** What a connected cache sends to hear of changes by `way`; `connected` is what it sent until it does. */
async function hearing(t, way) {
  const server = await startRedis()
  t.after(() => server.stop())
  const namespace = ownNamespace()
  const judge = await monitor(server, namespace)
  t.after(() => judge.close())
  const redis = { port: server.port, connectionName: namespace }
  const cache = await openOn(t, server, { redis, namespace, invalidation: way, jitter: 0 })
  await until(() => cache.health().cache.l2.invalidation.mode === way)
  const connected = await judge.commands()
  /** What `work` makes the cache send; messages without their bytes. */
  async function sentBy(work) {
    await work()
    const sent = await judge.commands()
    return sent.map((command) => command.replace(/^(PUBLISH \S+) .*/, '$1'))
  }
  return { server, cache, connected, sentBy, namespace, prefix: cache.prefix }
}

test('to track costs five commands at the first connect and one at the next', async (t) => {
  const { server, cache, connected, sentBy, namespace, prefix } = await hearing(t, 'tracking')
  const name = `CLIENT SETNAME ${namespace}`
  const arm = `CLIENT TRACKING ON BCAST PREFIX ${prefix} NOLOOP`
  const proof = connected.map((command) => command.replace(/(~canary:)\d+/, '$1*'))
  assert.deepEqual(proof, [
    'HELLO 3',
    name,
    'INFO',
    `CLIENT TRACKING ON BCAST PREFIX ${prefix}`,
    `SET ${prefix}~canary:*  PX 1000`,
    'CLIENT TRACKING OFF',
    `UNLINK ${prefix}~canary:*`,
    arm,
  ])
  const again = await sentBy(async () => {
    await server.killClients(`name=${namespace}`)
    await until(() => cache.stats().l2Reconnects === 1 && cache.state === 'up')
  })
  assert.deepEqual(again, ['HELLO 3', name, 'INFO', arm])
})

test('to subscribe costs two commands at each connect', async (t) => {
  const { connected, namespace, prefix } = await hearing(t, 'pubsub')
  const data = ['HELLO 3', `CLIENT SETNAME ${namespace}`, 'INFO']
  assert.deepEqual(connected, [...data, 'HELLO 3', `SUBSCRIBE ${prefix}~inv`])
})

test('with tracking a call is one command', async (t) => {
  const { server, cache, sentBy, prefix } = await hearing(t, 'tracking')
  await server.command('SET', `${prefix}other`, '7')
  assert.deepEqual(await sentBy(() => cache.set('k', 1)), [`SET ${prefix}k 1 PX 300000`])
  assert.deepEqual(await sentBy(() => cache.get('k')), [])
  assert.deepEqual(await sentBy(() => cache.get('other')), [`GET ${prefix}other`])
  assert.deepEqual(await sentBy(() => cache.get('none')), [`GET ${prefix}none`])
  assert.deepEqual(await sentBy(() => cache.delete('k')), [`UNLINK ${prefix}k`])
})

test('with pubsub a write is two commands, and a read is one', async (t) => {
  const { server, cache, sentBy, prefix } = await hearing(t, 'pubsub')
  await server.command('SET', `${prefix}other`, '7')
  const publish = `PUBLISH ${prefix}~inv`
  assert.deepEqual(await sentBy(() => cache.set('k', 1)), [`SET ${prefix}k 1 PX 300000`, publish])
  assert.deepEqual(await sentBy(() => cache.get('k')), [])
  assert.deepEqual(await sentBy(() => cache.get('other')), [`GET ${prefix}other`])
  assert.deepEqual(await sentBy(() => cache.delete('k')), [`UNLINK ${prefix}k`, publish])
})

test('with pubsub each pipeline ends with the one message that tells of its writes', async (t) => {
  const { cache, sentBy } = await hearing(t, 'pubsub')
  for (const [writes, pipelines] of Object.entries({ 50: 1, 130: 3 })) {
    const sent = await sentBy(() =>
      Promise.all(Array.from({ length: writes }, (_, n) => cache.set(`k-${n}`, n))),
    )
    const shape = sent.map((command) => command[0]).join('')
    // The event loop may be held up between two calls, and the writes leave in more pipelines than they need.
    assert.match(shape, /^(?:S{1,64}P)+$/)
    assert.equal(shape.replaceAll('P', '').length, Number(writes))
    const messages = shape.replaceAll('S', '').length
    assert.ok(messages >= pipelines && messages <= pipelines + 2, shape)
  }
})
