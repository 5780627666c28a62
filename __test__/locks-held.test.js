'use strict'

// A lock while it is held: its renewal, its loss, who hears of that, and what of it is left in Redis.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { LOCKED, LONG, SLACK_MS, isFree, isHeld, pair, placeOf } = require('./support/locks.js')
const { mostInside, startProcess } = require('./support/processes.js')
const { freePort, startRedis } = require('./support/redis.js')
const { timed, until } = require('./support/wait.js')

const UNAVAILABLE = cacheError('ERR_CACHE_L2_UNAVAILABLE')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** The reason with which the lock's signal aborts. */
async function lossOf(lock, timeout = 10_000) {
  await until(() => lock.signal.aborted, { timeout })
  return lock.signal.reason
}

describe('a lock that is held', () => {
  test('is renewed when half of its life is over', async (t) => {
    const [a, b] = await pair(t, server)
    const ttl = 1_000
    const lock = await a.lock('key', { ttl })
    const end = performance.now() + 3 * ttl
    let least = ttl
    while (performance.now() < end) {
      least = Math.min(least, await server.command('PTTL', placeOf(a, 'key')))
      await pause(10)
    }
    console.log(`least left of a lease of ${ttl} ms: ${least} ms`)
    assert.ok(least >= ttl * 0.3 && least <= ttl * 0.6, `${least} ms`)
    await assert.rejects(b.lock('key', { wait: 0 }), LOCKED)
    assert.equal(lock.signal.aborted, false)
    assert.equal(await lock.release(), true)
  })

  test('costs one command in half a life', async (t) => {
    const [a] = await pair(t, server)
    const lock = await a.lock('key', { ttl: 500 })
    const before = a.stats().l2Commands
    await pause(2_000)
    const asked = a.stats().l2Commands - before
    assert.ok(asked >= 5 && asked <= 9, `${asked} commands`)
    await lock.release()
  })

  test('gets the life that extend() gives it, and is renewed at half of that', async (t) => {
    const [a] = await pair(t, server)
    const left = () => server.command('PTTL', placeOf(a, 'key'))
    const lock = await a.lock('key', { ttl: 400 })
    assert.equal(await lock.extend(60_000), true)
    assert.ok((await left()) > 50_000)
    await pause(700)
    assert.ok((await left()) < 60_000 - 600, 'It was renewed as if nobody had extended it')
    assert.equal(await lock.extend(500), true)
    await pause(1_500)
    assert.ok((await left()) > 0)
    assert.equal(await lock.release(), true)
    for (const wrong of [0, -1, NaN, Infinity, '1', undefined])
      await assert.rejects(lock.extend(wrong), cacheError('ERR_CACHE_OPTIONS'))
  })
})

describe('a lock that is lost', () => {
  const losses = {
    'because its key was deleted': (place) => server.command('DEL', place),
    'to somebody else': (place) => server.command('SET', place, 'of somebody else', 'PX', 60_000),
  }
  for (const [how, lose] of Object.entries(losses)) {
    test(`${how} aborts its signal at the next renewal, and release() is false`, async (t) => {
      const [a] = await pair(t, server)
      const lock = await a.lock('key', { ttl: 400 })
      await lose(placeOf(a, 'key'))
      const left = await server.command('GET', placeOf(a, 'key'))
      const { value: reason, ms } = await timed(() => lossOf(lock))
      assert.equal(reason.code, 'ERR_CACHE_LOCKED')
      assert.equal(reason.key, 'key')
      assert.ok(ms < 200 + SLACK_MS, `${ms} ms`)
      assert.equal(await lock.extend(1_000), false)
      assert.equal(await lock.release(), false)
      assert.equal(await server.command('GET', placeOf(a, 'key')), left)
    })

    test(`${how} aborts its signal too if extend() finds it so`, async (t) => {
      const [a] = await pair(t, server)
      const lock = await a.lock('key', LONG)
      await lose(placeOf(a, 'key'))
      assert.equal(await lock.extend(1_000), false)
      assert.equal((await lossOf(lock)).code, 'ERR_CACHE_LOCKED')
      assert.equal(await lock.release(), false)
    })
  }

  test('does not stop withLock, whose function hears of it', async (t) => {
    const [a, b] = await pair(t, server)
    const result = await a.withLock('key', { ttl: 300 }, async (lock) => {
      await server.command('DEL', placeOf(a, 'key'))
      await lossOf(lock)
      await (await b.lock('key', { wait: 0 })).release()
      return 'went on'
    })
    assert.equal(result, 'went on')
  })

  for (const [what, seize] of Object.entries({
    frozen: (own) => own.freeze(),
    killed: (own) => own.kill(),
  })) {
    test(`because Redis is ${what} is told when its lease is over, and no later`, async (t) => {
      const own = await startRedis()
      t.after(() => own.stop())
      // A renewal may wait for its answer for longer than the lease lasts.
      const a = await openOn(t, own, { l2: { timeout: 5_000 } })
      const ttl = 800
      const lock = await a.lock('key', { ttl })
      const { value: reason, ms } = await timed(async () => {
        await seize(own)
        return lossOf(lock)
      })
      console.log(`a lease of ${ttl} ms was lost after ${ms.toFixed(0)} ms with Redis ${what}`)
      assert.equal(reason.code, 'ERR_CACHE_LOCKED')
      assert.ok(ms < ttl + SLACK_MS, `${ms} ms`)
      assert.equal(await lock.release(), false)
    })
  }

  test('is not lost by an interruption that is shorter than its lease', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = await openOn(t, { url: `redis://127.0.0.1:${proxy.port}` })
    const lock = await cache.lock('key', { ttl: 4_000 })
    proxy.sever()
    await until(() => proxy.accepted > 1 && cache.state === 'up')
    await pause(2_500)
    assert.ok(await isHeld(server, cache, 'key'))
    assert.equal(lock.signal.aborted, false)
    assert.equal(await lock.release(), true)
  })

  test('keeps the lease that it has if extend() cannot be told to Redis', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own)
    const lock = await cache.lock('key', { ttl: 900 })
    await own.kill()
    const lost = timed(() => lossOf(lock))
    await assert.rejects(lock.extend(60_000), { name: 'CacheError' })
    const { ms } = await lost
    assert.ok(ms < 900 + SLACK_MS, `${ms} ms`)
  })
})

describe('an owner that is killed', () => {
  test('loses the lock to another within its lease, and there is still one at a time', async (t) => {
    const ttl = 1_000
    for (const invalidation of ['off', 'tracking']) {
      const namespace = ownNamespace()
      const options = { redis: server.url, namespace, invalidation }
      const words = { options, key: 'key', lock: { ttl, wait: 30_000 } }
      const owner = startProcess(t, 'locker', words)
      await owner.heard('inside')
      const others = Array.from({ length: 3 }, () => startProcess(t, 'locker', { ...words, rounds: 3 }))
      await Promise.all(others.map((child) => child.heard('ready')))
      const { ms } = await timed(async () => {
        await owner.kill()
        await server.command('RPUSH', `${namespace}:diary`, `killed ${owner.pid}`)
        await Promise.any(others.map((child) => child.heard('inside')))
      })
      console.log(
        `a lease of ${ttl} ms was taken over ${ms.toFixed(0)} ms after the kill ('${invalidation}')`,
      )
      assert.ok(ms < ttl + SLACK_MS, `${ms} ms`)
      await Promise.all(others.map((child) => child.heard('done')))
      const diary = await server.command('LRANGE', `${namespace}:diary`, '0', '-1')
      assert.equal(mostInside(diary), 1)
      assert.equal(diary.filter((line) => line.startsWith('enter')).length, 10)
    }
  })
})

test('an owner that was suspended for longer than its lease hears that it lost the lock, and its fence is the smaller', async (t) => {
  const cache = await openOn(t, server)
  const namespace = cache.prefix.slice(0, -1)
  const words = { options: { redis: server.url, namespace }, key: 'key', lock: { ttl: 600 } }
  const owner = startProcess(t, 'locker', words)
  const { fence } = await owner.heard('inside')
  process.kill(owner.pid, 'SIGSTOP')
  const lock = await cache.lock('key', LONG)
  assert.ok(lock.fence > BigInt(fence))
  assert.equal(owner.all('lost').length, 0)
  process.kill(owner.pid, 'SIGCONT')
  assert.equal((await owner.heard('lost')).code, 'ERR_CACHE_LOCKED')
  owner.tell('go')
  await owner.heard('done')
  assert.equal(await lock.release(), true)
})

describe('while Redis is away', () => {
  test('a lock is refused at once', async (t) => {
    const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}`, namespace: 'away' })
    await until(() => cache.state === 'down')
    const { ms } = await timed(() => assert.rejects(cache.lock('key', LONG), UNAVAILABLE))
    assert.ok(ms < 250, `${ms} ms`)
    let called = false
    await assert.rejects(
      cache.withLock('key', LONG, () => (called = true)),
      UNAVAILABLE,
    )
    assert.equal(called, false)
  })

  test('whoever waits for a lock is refused as well', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const namespace = ownNamespace()
    const [a, b] = await Promise.all([openOn(t, own, { namespace }), openOn(t, own, { namespace })])
    await a.lock('key', LONG)
    const waiting = b.lock('key', LONG)
    const refused = assert.rejects(waiting, (error) => /UNAVAILABLE|TIMEOUT/.test(error.code))
    await pause(50)
    const { ms } = await timed(async () => {
      await own.kill()
      await refused
    })
    assert.ok(ms < SLACK_MS, `${ms} ms`)
  })

  test('a lock that is given back is free once Redis returns', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = await openOn(t, { url: `redis://127.0.0.1:${proxy.port}` })
    const lock = await cache.lock('key', LONG)
    await proxy.down()
    await until(() => cache.state !== 'up')
    assert.equal(await lock.release(), false)
    assert.ok(await isHeld(server, cache, 'key'))
    await proxy.up()
    await until(() => isFree(server, cache, 'key'))
    assert.equal(lock.signal.aborted, false)
  })

  test('a lock whose answer is lost is nobody’s', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own)
    own.freeze()
    await assert.rejects(cache.lock('key', LONG), { name: 'CacheError' })
    own.thaw()
    await own.command('PING')
    await until(() => isFree(own, cache, 'key'), { timeout: 5_000 })
  })
})
