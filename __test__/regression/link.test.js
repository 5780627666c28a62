'use strict'

// The link is neither given up for what is no fault of Redis, nor held for ever by a connection that will never do.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const net = require('node:net')
const { describe, test } = require('node:test')
const { cacheError, openCache, openOn, ownNamespace } = require('../support/cache.js')
const { runScript } = require('../support/child.js')
const { startProxy } = require('../support/fault-proxy.js')
const { freePort, startRedis } = require('../support/redis.js')
const { until } = require('../support/wait.js')

async function redisFor(t) {
  const server = await startRedis()
  t.after(() => server.stop())
  return server
}

test('an event loop that was held for longer than a deadline is not taken for a silent Redis', async (t) => {
  const server = await redisFor(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  proxy.delay = 5
  const script = `
    const { Cache } = require('evenkeel')
    const { hold } = require('./__test__/support/wait.js')
    const cache = new Cache({ redis: 'redis://127.0.0.1:${proxy.port}', namespace: 'held' })
    async function main() {
      await cache.ready()
      const modes = []
      cache.on('mode', ({ to }) => modes.push(to))
      const sets = [1, 2, 3, 4].map((n) => cache.set('key-' + n, { n }, { strict: true }))
      hold(700)
      await Promise.all(sets)
      await cache.settled()
      console.log(JSON.stringify({ modes, state: cache.state, timeouts: cache.stats().l2Timeouts }))
      await cache.close()
    }
    main()`
  const { code, stdout, stderr } = await runScript(script)
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  assert.deepEqual(JSON.parse(stdout), { modes: [], state: 'up', timeouts: 0 })
  assert.equal(await server.command('EXISTS', ...[1, 2, 3, 4].map((n) => `held:key-${n}`)), 4)
})

/** The port of a proxy whose first connection passes on nothing any more once the client has sent `word`. */
async function deafFrom(t, word, target) {
  let first = true
  const sockets = new Set()
  const proxy = net.createServer((client) => {
    const upstream = net.connect(target.port, '127.0.0.1')
    const falters = first
    let deaf = false
    first = false
    client.on('data', (chunk) => {
      deaf ||= falters && chunk.includes(word)
      if (!deaf) upstream.write(chunk)
    })
    upstream.pipe(client)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    client.on('close', () => upstream.destroy())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.after(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  return proxy.address().port
}

test('a connection that falls silent while it is being set up is given up for another', async (t) => {
  const port = await deafFrom(t, 'INFO', await redisFor(t))
  const redis = { host: '127.0.0.1', port, connectTimeout: 1_000 }
  const cache = openCache(t, { redis, namespace: ownNamespace() })
  await cache.ready({ timeout: 8_000 })
  await cache.set('key', 1, { strict: true })
})

describe('ready() that waits for a Redis that is not there', () => {
  async function waiting(t) {
    const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}`, namespace: ownNamespace() })
    const ready = cache.ready({ timeout: 5_000 })
    await until(() => cache.state === 'down')
    return { cache, ready }
  }

  test('resolves when memory mode is switched on', async (t) => {
    const { cache, ready } = await waiting(t)
    cache.setMemoryMode(true)
    await ready
  })

  test('resolves when the cache is closed', async (t) => {
    const { cache, ready } = await waiting(t)
    await cache.close()
    await ready
  })
})

test('a raw command that would block the shared connection is refused', async (t) => {
  const cache = await openOn(t, await redisFor(t))
  const group = ['GROUP', 'group', 'me']
  const block = ['BLOCK', '3000', 'STREAMS', 'none', '$']
  await assert.rejects(cache.command('XREAD', block), cacheError('ERR_CACHE_OPTIONS'))
  await assert.rejects(cache.command('xreadgroup', [...group, ...block]), cacheError('ERR_CACHE_OPTIONS'))
  assert.equal(await cache.command('XREAD', ['STREAMS', 'none', '0']), null)
  assert.equal(cache.state, 'up')
})
