'use strict'

// Redis that is there and not well: what it still does is used, what it refuses stays in memory and is put right later.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

async function opened(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  const cache = await openOn(t, server)
  const modes = []
  cache.on('mode', ({ to }) => modes.push(to))
  return { server, cache, modes }
}

const mode = (cache) => cache.health().cache.mode

test('without memory Redis is read from and deleted in, and what is set stays here until it has room', async (t) => {
  const { server, cache, modes } = await opened(t)
  await cache.setMany({ kept: 1, gone: { of: 'before' }, old: { of: 'before' } })
  await server.command('CONFIG', 'SET', 'maxmemory', '1')

  await cache.set('old', { of: 'now' })
  await until(() => mode(cache) === 'reads-only')
  assert.equal(cache.health().status, 'degraded')
  assert.deepEqual(await cache.get('old'), { of: 'now' })
  await until(async () => (await server.command('EXISTS', `${cache.prefix}old`)) === 0)

  assert.equal(await cache.delete('gone'), true)
  assert.equal(await server.command('EXISTS', `${cache.prefix}gone`), 0)
  assert.equal(await cache.command('GET', [`${cache.prefix}kept`]), '1')

  const written = await server.calls('set')
  for (let index = 0; index < 200; index++) await cache.set(`n${index}`, index)
  assert.ok((await server.calls('set')) - written <= 5, 'one value a second at most is tried')

  await server.command('CONFIG', 'SET', 'maxmemory', '0')
  await until(async () => (await cache.set('probe', 1), modes.at(-1) === 'tiered'))
  assert.deepEqual(modes.slice(modes.indexOf('reads-only')), ['reads-only', 'tiered'])
  await cache.set('fresh', 2)
  assert.equal(await server.command('GET', `${cache.prefix}fresh`), '2')
})

test('a master without its replicas is read from, and what was deleted meanwhile is deleted in the end', async (t) => {
  const { server, cache } = await opened(t)
  await cache.setMany({ kept: { of: 'before' }, gone: { of: 'before' } })
  await server.command('CONFIG', 'SET', 'min-replicas-to-write', '1')

  await cache.delete('gone')
  await until(() => mode(cache) === 'reads-only')
  assert.equal(await cache.get('gone'), undefined, 'though Redis still holds it')
  assert.equal(await server.command('EXISTS', `${cache.prefix}gone`), 1)
  assert.deepEqual(await cache.get('kept'), { of: 'before' })
  assert.equal(cache.health().cache.pending_invalidations, 1)

  await server.command('CONFIG', 'SET', 'min-replicas-to-write', '0')
  await until(() => mode(cache) === 'tiered')
  await until(async () => (await server.command('EXISTS', `${cache.prefix}gone`)) === 0)
  assert.equal(cache.health().cache.pending_invalidations, 0)
})

test('a load asks Redis no longer than its own pace suggests, then makes the value', async (t) => {
  const { server, cache } = await opened(t)
  for (let index = 0; index < 60; index++) await cache.get(`warm-up ${index}`)
  server.freeze()
  t.after(() => server.thaw())
  const started = performance.now()
  assert.equal(await cache.getOrSet('k', () => 'made'), 'made')
  assert.ok(performance.now() - started < 400, 'well before the deadline of 500 ms')
  assert.equal(cache.stats().l2SoftTimeouts, 1)
  const strict = cache.getOrSet('strict', () => 'made', { strict: true })
  await assert.rejects(strict, (error) => error.code.startsWith('ERR_CACHE_'))
})

test('l2SoftTimeout of a load wins, and false waits for the deadline', async (t) => {
  const { server, cache } = await opened(t)
  await cache.get('one reply is not enough for auto')
  server.freeze()
  t.after(() => server.thaw())
  const before = cache.stats().l2SoftTimeouts
  await cache.getOrSet('a', () => 1, { l2SoftTimeout: 30 })
  assert.equal(cache.stats().l2SoftTimeouts, before + 1)
  const started = performance.now()
  await cache.getOrSet('b', () => 1, { l2SoftTimeout: false })
  assert.ok(performance.now() - started > 300)
  await assert.rejects(
    cache.getOrSet('c', () => 1, { l2SoftTimeout: -1 }),
    { code: 'ERR_CACHE_OPTIONS' },
  )
})

test('of Redis and a factory the first to answer serves the callers', async (t) => {
  const { server, cache } = await opened(t)
  await server.command('SET', `${cache.prefix}k`, '"in Redis"')
  server.freeze()
  const value = cache.getOrSet(
    'k',
    async () => {
      server.thaw()
      await until(() => cache.peek('k') !== undefined)
      return 'made'
    },
    { l2SoftTimeout: 20 },
  )
  assert.equal(await value, 'in Redis')
  await until(() => cache.stats().l2Hits === 1)
  assert.equal(await server.command('GET', `${cache.prefix}k`), '"in Redis"')
})
