'use strict'

// Found by review: what never came to an end while the application went on writing, and a write that was deleted.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { openCache } = require('../support/cache.js')
const { startProxy } = require('../support/fault-proxy.js')
const { startRedis } = require('../support/redis.js')
const { until } = require('../support/wait.js')

/** A cache behind a proxy that holds every reply for `delay` ms. */
async function opened(t, { delay = 0, args = [], ...options } = {}) {
  const server = await startRedis({ args })
  t.after(() => server.stop())
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  proxy.delay = delay
  const redis = { host: '127.0.0.1', port: proxy.port }
  const cache = openCache(t, { redis, namespace: 'n', ...options })
  await cache.ready()
  return { server, proxy, cache }
}

/** Sets keys of the next number until what it returns is called: `count` every 10 ms, over `distinct` keys. */
function keepWriting(cache, count, distinct) {
  let next = 0
  const timer = setInterval(() => {
    for (let n = 0; n < count; n++) cache.set(`w-${next++ % distinct}`, 'v')
  }, 10)
  return () => clearInterval(timer)
}

test('a namespace that has to be emptied is emptied and used while new keys are set', async (t) => {
  const debug = ['--enable-debug-command', 'yes']
  const { server, proxy, cache } = await opened(t, { delay: 10, args: debug })
  await server.command('DEBUG', 'POPULATE', '150000', 'other', '10')
  await proxy.down()
  await until(() => cache.state === 'down')
  await cache.deleteMany(Array.from({ length: 10_001 }, (_, n) => `k-${n}`))
  const stop = keepWriting(cache, 50, Infinity)
  await proxy.up()
  await until(() => cache.state === 'up', { timeout: 20_000 })
  const { mode } = cache.health().cache
  await until(() => cache.health().cache.mode === 'tiered', { timeout: 30_000 })
  stop()
  assert.equal(mode, 'memory', 'it was not read from before')
})

test('the link comes up while the keys that it missed are written again and again', async (t) => {
  const { proxy, cache } = await opened(t, { delay: 50 })
  await proxy.down()
  await until(() => cache.state === 'down')
  const stop = keepWriting(cache, 20, 4_000)
  await pause(2_000)
  await proxy.up()
  await until(() => cache.state === 'up', { timeout: 20_000 })
  stop()
})

test('a deletion that was refused once is not made up for after a later write', async (t) => {
  const { server, proxy, cache } = await opened(t, { l1: false, l2: { timeout: 2_000 } })
  await cache.set('k', 'old')
  let refusals = 2
  const busy = Buffer.from('-BUSY Redis is busy running a script.\r\n')
  proxy.onReply = (reply) => (reply[0] === 58 && refusals-- > 0 ? busy : reply)
  for (const pair of proxy.pairs) pair.delay = 60
  await cache.delete('k')
  const before = cache.stats().l2Commands
  await until(() => cache.stats().l2Commands > before)
  await cache.set('k', 'new', { strict: true })
  await cache.settled()
  await pause(500)
  assert.equal(await cache.get('k'), 'new')
  assert.equal(await server.command('EXISTS', 'n:k'), 1)
})
