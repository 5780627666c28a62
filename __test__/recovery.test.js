'use strict'

// When Redis comes back: it is used again by itself, and nothing that changed meanwhile is undone by what it still holds.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { freePort, startRedis } = require('./support/redis.js')
const { steadily, timed, until } = require('./support/wait.js')

const USED_AGAIN_MS = 6_000

async function redisFor(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

async function away(cache) {
  await until(() => cache.state !== 'up')
}

async function back(cache) {
  await until(() => cache.state === 'up', { timeout: USED_AGAIN_MS })
}

/** A cache behind a proxy that can be taken down while Redis keeps what it holds. */
async function behindProxy(t, options) {
  const server = await redisFor(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, { redis: `redis://127.0.0.1:${proxy.port}`, ...options })
  return { server, proxy, cache }
}

describe('Redis is used again by itself', () => {
  test('after it was killed and started again', async (t) => {
    const server = await redisFor(t)
    const cache = await openOn(t, server)
    await server.kill()
    await away(cache)
    await server.restart()
    const { ms } = await timed(() => back(cache))
    assert.ok(ms < 2_000, `${ms} ms after a short outage`)
    await cache.set('key', 1, { strict: true })
    assert.equal(await server.command('GET', `${cache.prefix}key`), '1')
    assert.equal(cache.health().status, 'healthy')
  })

  test('after it was frozen and thawed', async (t) => {
    const server = await redisFor(t)
    const cache = await openOn(t, server)
    const load = steadily(50, () => cache.get('none'))
    t.after(() => load.stop())
    server.freeze()
    await away(cache)
    server.thaw()
    await back(cache)
    await cache.set('key', 1, { strict: true })
  })

  test('after it was not there at the start', async (t) => {
    const port = await freePort()
    const cache = openCache(t, { redis: `redis://127.0.0.1:${port}`, namespace: ownNamespace() })
    await cache.set('early', 1)
    await until(() => cache.state === 'down')
    await redisFor(t, { port })
    await cache.ready({ timeout: USED_AGAIN_MS })
    await cache.set('late', 2, { strict: true })
  })

  test('ten times in a row, with events that tell it in order', async (t) => {
    const { proxy, cache } = await behindProxy(t)
    await cache.close()
    const again = openCache(t, {
      redis: { port: proxy.port, retryStrategy: () => 20 },
      namespace: ownNamespace(),
    })
    const modes = []
    again.on('mode', ({ from, to }) => modes.push(`${from} ${to}`))
    await until(() => modes.length === 1)
    for (let round = 0; round < 10; round++) {
      await proxy.down()
      await away(again)
      await proxy.up()
      await back(again)
    }
    await until(() => modes.length === 21)
    assert.deepEqual(modes, ['memory tiered', ...Array(10).fill(['tiered memory', 'memory tiered']).flat()])
  })
})

describe('what changed while Redis was away', () => {
  test('a delete is not undone by what Redis still holds', async (t) => {
    const { server, proxy, cache } = await behindProxy(t)
    await cache.set('key', 'old')
    await proxy.down()
    await away(cache)
    await cache.delete('key')
    assert.equal(await cache.get('key'), undefined)
    await proxy.up()
    await back(cache)
    assert.equal(await cache.get('key'), undefined)
    assert.equal(await server.command('EXISTS', `${cache.prefix}key`), 0)
  })

  test('not even for a moment: who asks all the time never sees the old value', async (t) => {
    const { proxy, cache } = await behindProxy(t)
    const keys = Array.from({ length: 50 }, (_, index) => `key-${index}`)
    await cache.setMany(keys.map((key) => [key, 'old']))
    await proxy.down()
    await away(cache)
    await Promise.all(keys.map((key) => cache.delete(key)))
    const load = steadily(200, async () => cache.getMany(keys))
    await proxy.up()
    await back(cache)
    const asked = load.calls.length
    await until(() => load.calls.length > asked + 100)
    for (const { value } of await load.stop()) assert.ok(value.every((one) => one === undefined))
  })

  test('a set stays in this process and takes the old value out of Redis', async (t) => {
    const { server, proxy, cache } = await behindProxy(t)
    await cache.set('key', 'old')
    await proxy.down()
    await away(cache)
    await cache.set('key', 'new')
    assert.equal(await cache.get('key'), 'new')
    await proxy.up()
    await back(cache)
    assert.notEqual(await cache.get('key'), 'old')
    assert.equal(await server.command('EXISTS', `${cache.prefix}key`), 0)
  })

  test('a pattern and a clear are made up for', async (t) => {
    const { server, proxy, cache } = await behindProxy(t)
    await cache.setMany({ 'user:1': 1, 'user:2': 2, other: 3 })
    await proxy.down()
    await away(cache)
    await cache.deletePattern('user:*')
    await proxy.up()
    await back(cache)
    assert.deepEqual(await cache.getMany(['user:1', 'user:2', 'other']), [undefined, undefined, 3])
    await until(async () => (await server.command('EXISTS', `${cache.prefix}user:1`)) === 0)
    await proxy.down()
    await away(cache)
    await cache.clear()
    await proxy.up()
    await back(cache)
    assert.equal(await cache.get('other'), undefined)
  })

  test('another process wrote: L1 does not go on serving what it had', async (t) => {
    const { server, proxy, cache } = await behindProxy(t)
    await cache.set('key', 1)
    await proxy.down()
    await away(cache)
    assert.equal(await cache.get('key'), 1)
    await server.command('SET', `${cache.prefix}key`, '2')
    await proxy.up()
    await back(cache)
    assert.equal(await cache.get('key'), 2)
  })

  test('a server that comes back with its data, killed and restarted, does not undo a delete', async (t) => {
    const server = await redisFor(t, { persist: true })
    const cache = await openOn(t, server)
    await cache.setMany({ gone: 'old', kept: 'kept' })
    await server.kill()
    await away(cache)
    await cache.delete('gone')
    await server.restart()
    await back(cache)
    assert.deepEqual(await cache.getMany(['gone', 'kept']), [undefined, 'kept'])
  })

  test('more keys than the journal holds are made up for all the same', async (t) => {
    const { proxy, cache } = await behindProxy(t)
    const keys = Array.from({ length: 12_000 }, (_, index) => `key-${index}`)
    await cache.setMany(keys.map((key) => [key, 'old']))
    await proxy.down()
    await away(cache)
    await cache.deleteMany(keys)
    await proxy.up()
    await back(cache)
    const left = await cache.getMany(keys)
    assert.equal(left.filter((value) => value !== undefined).length, 0)
  })

  test('settled() waits for the replay, and health counts what is pending', async (t) => {
    const { proxy, cache } = await behindProxy(t)
    await cache.setMany({ a: 1, b: 2 })
    await proxy.down()
    await away(cache)
    await cache.deleteMany(['a', 'b'])
    assert.equal(cache.health().cache.pending_invalidations, 2)
    await proxy.up()
    await cache.ready()
    await cache.settled({ timeout: 5_000 })
    assert.equal(cache.health().cache.pending_invalidations, 0)
  })
})

test('a write whose answer never came is not believed', async (t) => {
  const { server, proxy, cache } = await behindProxy(t)
  await cache.set('key', 'old')
  proxy.silence()
  await cache.set('key', 'new')
  proxy.sever()
  proxy.silence(false)
  await away(cache)
  await back(cache)
  await cache.settled()
  assert.notEqual(await cache.get('key'), 'old')
  const held = await server.buffers('GET', `${cache.prefix}key`)
  assert.ok(held === null || held.includes('new'))
})

test('leaving forced memory mode goes through the same door', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server)
  await cache.set('key', 'old')
  cache.setMemoryMode(true)
  assert.deepEqual([cache.health().status, cache.health().cache.mode], ['degraded', 'memory'])
  await cache.delete('key')
  cache.setMemoryMode(false)
  await cache.ready()
  assert.equal(await cache.get('key'), undefined)
})
