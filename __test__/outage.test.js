'use strict'

// While Redis is away: nothing hangs, nothing rejects for it, nothing is printed, and what is served is right.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { freePort, startRedis } = require('./support/redis.js')
const { eventOf, steadily, timed, until } = require('./support/wait.js')

const DEADLINE_MS = 500
/** What the machine may take to notice that a deadline has passed. */
const SLACK_MS = 250

async function redisFor(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

/** Takes Redis away and resolves once the cache has noticed. */
const WAYS = {
  killed: (server) => server.kill(),
  frozen: (server) => server.freeze(),
}

test('a call right behind another is given up in time, though its own thread wrote it', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server, { l1: false, l2: { timeout: DEADLINE_MS } })
  for (let round = 0; round < 5; round++) {
    await until(() => cache.get('key', { strict: true }).then(() => true))
    for (let count = 0; count < 20; count++) await cache.get('key', { strict: true })
    server.freeze()
    const given = () =>
      assert.rejects(cache.get('key', { strict: true }), cacheError(/ERR_CACHE_(TIMEOUT|L2_UNAVAILABLE)/))
    const { ms } = await timed(given)
    assert.ok(ms > DEADLINE_MS / 2 && ms < DEADLINE_MS + SLACK_MS, `${ms} ms`)
    server.thaw()
  }
})

for (const [way, takeAway] of Object.entries(WAYS)) {
  describe(`with Redis ${way}`, () => {
    test('every call resolves, from L1 where it can, and strict calls reject with a code', async (t) => {
      const server = await redisFor(t)
      const cache = await openOn(t, server)
      await cache.setMany({ a: 1, b: { two: 2 } })
      await takeAway(server)
      await until(async () => (await cache.get('none'), cache.state !== 'up'))

      assert.equal(await cache.get('a'), 1)
      assert.deepEqual(await cache.getMany(['a', 'none', 'b']), [1, undefined, { two: 2 }])
      assert.equal(await cache.has('b'), true)
      assert.ok((await cache.ttl('a')) > 0)
      assert.equal(await cache.get('none'), undefined)
      await cache.set('c', 3)
      assert.equal(await cache.get('c'), 3)
      assert.equal(await cache.delete('a'), true)
      assert.equal(await cache.delete('a'), false)
      assert.equal(await cache.get('a'), undefined)
      assert.equal(await cache.touch('b', 30_000), true)
      assert.equal(await cache.deletePattern('b*'), 1)
      assert.equal(await cache.getOrSet('made', () => 'made'), 'made')
      await cache.clear()
      assert.deepEqual(await cache.getMany(['b', 'c', 'made']), [undefined, undefined, undefined])

      const unavailable = cacheError('ERR_CACHE_L2_UNAVAILABLE')
      await assert.rejects(cache.get('none', { strict: true }), unavailable)
      await assert.rejects(cache.set('d', 1, { strict: true }), unavailable)
      await assert.rejects(cache.delete('d', { strict: true }), unavailable)
      await assert.rejects(cache.increment('n'), unavailable)
      await assert.rejects(cache.set('e', 1, { onlyIf: 'absent' }), unavailable)
      await assert.rejects(cache.command('PING'), unavailable)
      await assert.rejects(cache.ping(), unavailable)
    })

    test('no call of a steady load is slower than its deadline, and none rejects', async (t) => {
      const server = await redisFor(t)
      const cache = await openOn(t, server, { l1: { ttl: 100 } })
      let next = 0
      const load = steadily(200, async () => {
        const key = `key-${next++ % 50}`
        const value = await cache.getOrSet(key, () => ({ key }))
        assert.deepEqual(value, { key })
      })
      await until(() => load.calls.length > 100)
      await takeAway(server)
      await until(() => cache.health().status === 'degraded')
      const noticed = load.calls.length
      await until(() => load.calls.length > noticed + 200)
      const calls = await load.stop()
      assert.deepEqual(
        calls.filter(({ error }) => error),
        [],
      )
      const slowest = Math.max(...calls.map(({ ms }) => ms))
      assert.ok(slowest < 2 * DEADLINE_MS, `the slowest call took ${Math.round(slowest)} ms`)
    })

    test('health and an event say so', async (t) => {
      const server = await redisFor(t)
      const cache = await openOn(t, server)
      const modes = []
      cache.on('mode', (event) => modes.push(event))
      const load = steadily(50, () => cache.get('none'))
      t.after(() => load.stop())
      await takeAway(server)
      const mode = await until(() => modes.find(({ from }) => from === 'tiered'))
      assert.equal(mode.to, 'memory')
      assert.match(mode.reason, /\S/)
      const { status, cache: tiers } = cache.health()
      assert.deepEqual([status, tiers.mode], ['degraded', 'memory'])
      await until(() => cache.health().cache.l2.last_error)
      const { code, message, at } = cache.health().cache.l2.last_error
      assert.ok(code && message && !Number.isNaN(Date.parse(at)))
    })
  })
}

test('an operation that meets a silent network ends at its deadline', async (t) => {
  const server = await redisFor(t)
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, { redis: `redis://127.0.0.1:${proxy.port}` })
  proxy.silence()
  const { value, ms } = await timed(() => cache.get('key'))
  assert.equal(value, undefined)
  assert.ok(ms < DEADLINE_MS + SLACK_MS, `${ms} ms`)
  await assert.rejects(cache.get('key', { strict: true }), { name: 'CacheError', retryable: true })
})

test('l2.timeout is that deadline', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server, { l2: { timeout: 100 } })
  server.freeze()
  const { ms } = await timed(() => cache.get('key'))
  assert.ok(ms >= 90 && ms < 100 + SLACK_MS, `${ms} ms`)
})

test('a frozen server under load is noticed within the deadline and a second', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server)
  let next = 0
  const load = steadily(100, () => cache.get(`none-${next++}`))
  t.after(() => load.stop())
  server.freeze()
  const { ms } = await timed(() =>
    until(() => ['down', 'connecting'].includes(cache.state), { timeout: 5_000 }),
  )
  assert.ok(ms < DEADLINE_MS + 1_100 + SLACK_MS, `${ms} ms`)
})

test('an idle frozen server is noticed by the tick', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server, { health: { interval: 200, timeout: 300 } })
  const mode = eventOf(cache, 'mode', { timeout: 3_000, matches: ({ from }) => from === 'tiered' })
  server.freeze()
  assert.equal((await mode).to, 'memory')
})

test('a killed server is noticed at once, without a call', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server)
  const mode = eventOf(cache, 'mode', { timeout: 1_000, matches: ({ from }) => from === 'tiered' })
  await server.kill()
  assert.equal((await mode).to, 'memory')
})

test('ten thousand gets in one Promise.all all reach a healthy Redis', async (t) => {
  const server = await redisFor(t)
  const cache = await openOn(t, server, { l1: false })
  const keys = Array.from({ length: 10_000 }, (_, index) => `key-${index}`)
  await cache.setMany(keys.map((key, index) => [key, index]))
  const answers = await Promise.all(keys.map((key) => cache.get(key, { strict: true })))
  assert.ok(answers.every((value, index) => value === index))
})

describe('started without Redis', () => {
  test('everything works from memory and the constructor does not throw', async (t) => {
    const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}`, namespace: ownNamespace() })
    await cache.set('key', { a: 1 })
    assert.deepEqual(await cache.get('key'), { a: 1 })
    assert.deepEqual(await cache.getOrSet('other', () => 2), 2)
    assert.equal(cache.health().status, 'degraded')
    await assert.rejects(cache.ready({ timeout: 100 }), cacheError('ERR_CACHE_TIMEOUT'))
  })

  test('a process that sets and gets a thousand keys prints nothing and exits by itself', async () => {
    const script = `
      const { Cache } = require('evenkeel')
      const cache = new Cache({ redis: 'redis://localhost:1' })
      async function main() {
        for (let n = 0; n < 1000; n++) await cache.set('key-' + n, { n })
        for (let n = 0; n < 1000; n++) if ((await cache.get('key-' + n)).n !== n) process.exitCode = 2
        const ended = process.hrtime.bigint()
        process.on('exit', () => {
          if (process.hrtime.bigint() - ended > 500_000_000n) process.exitCode = 3
        })
      }
      main()`
    const { code, stdout, stderr } = await runScript(script)
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' })
  })

  test('listening for error is allowed, and error is never emitted', async (t) => {
    const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}` })
    cache.on('error', assert.fail)
    const attempts = []
    cache.on('reconnecting', (event) => attempts.push(event))
    await until(() => attempts.length >= 3)
  })
})
