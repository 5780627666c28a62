'use strict'

// lock() and withLock(): one at a time, in this process and in all; what ends a lock, who hears of it, and what of it is left
// in Redis.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { setImmediate: turn, setTimeout: pause } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { root, runScript } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { mostInside, startProcess } = require('./support/processes.js')
const { freePort, startRedis } = require('./support/redis.js')
const { eventOf, hold, timed, until } = require('./support/wait.js')

const LOCKED = cacheError('ERR_CACHE_LOCKED')
const UNAVAILABLE = cacheError('ERR_CACHE_L2_UNAVAILABLE')
/** A lease that no test outlives. */
const LONG = { ttl: 60_000, wait: 30_000 }
/** What a loaded machine may add to a bound. */
const SLACK_MS = 1_000

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** Two caches as two processes would have them. */
async function pair(t, options = {}) {
  const shared = { namespace: ownNamespace(), ...options }
  return Promise.all([openOn(t, server, shared), openOn(t, server, shared)])
}

/** The key of a lock as it is in Redis. */
const placeOf = (cache, key) => `${cache.prefix}~lock:${key}`
const isHeld = async (cache, key, at = server) => (await at.command('EXISTS', placeOf(cache, key))) === 1
const isFree = async (cache, key, at = server) => !(await isHeld(cache, key, at))

/** Takes the lock, and gives it back, `rounds` times with each cache; how many were inside at once at most. */
async function contend(caches, rounds) {
  let [inside, most] = [0, 0]
  const visit = async () => {
    most = Math.max(most, ++inside)
    for (let n = 0; n < 3; n++) await turn()
    inside -= 1
  }
  const visits = caches.flatMap((cache) =>
    Array.from({ length: rounds }, () => cache.withLock('key', LONG, visit)),
  )
  await Promise.all(visits)
  return most
}

/** The reason with which the lock's signal aborts. */
async function lossOf(lock, timeout = 10_000) {
  await until(() => lock.signal.aborted, { timeout })
  return lock.signal.reason
}

describe('one at a time', () => {
  test('in a cache without Redis', async (t) => {
    const cache = openCache(t, {})
    assert.equal(await contend([cache], 30), 1)
  })

  test('in two caches on one Redis', async (t) => {
    assert.equal(await contend(await pair(t), 15), 1)
  })

  test('in four processes, with fences that grow from owner to owner', async (t) => {
    const [processes, rounds] = [4, 20]
    const namespace = ownNamespace()
    const words = { options: { redis: server.url, namespace }, key: 'key', lock: LONG, rounds }
    const started = Array.from({ length: processes }, () => startProcess(t, 'locker', words))
    await Promise.all(started.map((child) => child.heard('done')))
    const diary = await server.command('LRANGE', `${namespace}:diary`, '0', '-1')
    assert.equal(diary.length, processes * rounds * 2)
    assert.equal(mostInside(diary), 1)
    const entered = diary.filter((line) => line.startsWith('enter')).map((line) => line.split(' ')[1])
    const fences = new Map(started.map((child) => [String(child.pid), child.all('inside')]))
    const order = entered.map((who) => BigInt(fences.get(who).shift().fence))
    const sorted = order.toSorted((a, b) => Number(a - b))
    assert.deepEqual(order, sorted)
    assert.equal(new Set(order).size, order.length)
    assert.ok(new Set(entered).size > 1, 'One process had all of them')
  })

  test('other keys, and the entry of the same key, are free', async (t) => {
    const [a, b] = await pair(t)
    await a.withLock('key', LONG, async () => {
      await b.set('key', 1)
      assert.equal(await b.get('key'), 1)
      const other = await b.lock('other', { wait: 0 })
      assert.equal(await other.release(), true)
    })
  })

  test('a view locks what the cache calls by its whole key', async (t) => {
    const [a, b] = await pair(t)
    const lock = await a.namespaced('part').lock('key', LONG)
    await assert.rejects(b.lock('part:key', { wait: 0 }), LOCKED)
    assert.equal(await lock.release(), true)
  })
})

describe('a fence', () => {
  test('grows from owner to owner without Redis', async (t) => {
    const cache = openCache(t, {})
    const fences = []
    for (let n = 0; n < 50; n++) await cache.withLock('key', {}, ({ fence }) => fences.push(fence))
    assert.ok(fences.every((fence, n) => n === 0 || fence > fences[n - 1]))
  })

  test('grows even if Redis lost everything in between', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const namespace = ownNamespace()
    const [a, b] = await Promise.all([openOn(t, own, { namespace }), openOn(t, own, { namespace })])
    const first = await a.lock('key', LONG)
    await own.command('FLUSHALL')
    const second = await b.lock('key', LONG)
    assert.equal(typeof second.fence, 'bigint')
    assert.ok(second.fence > first.fence, `${second.fence} after ${first.fence}`)
    assert.equal(await first.release(), false)
    assert.equal(await second.release(), true)
  })
})

describe('waiting', () => {
  for (const kind of ['without Redis', 'with Redis']) {
    test(`ends with ERR_CACHE_LOCKED after \`wait\`, and at once where that is 0, ${kind}`, async (t) => {
      const [a, b] = kind === 'with Redis' ? await pair(t) : Array(2).fill(openCache(t, {}))
      const lock = await a.lock('key', LONG)
      const refusal = async (wait) => {
        const { value, ms } = await timed(() => b.lock('key', { wait }).catch((error) => error))
        assert.equal(value.code, 'ERR_CACHE_LOCKED')
        assert.equal(value.key, 'key')
        return ms
      }
      const atOnce = await refusal(0)
      assert.ok(atOnce < 250, `${atOnce} ms`)
      const later = await refusal(300)
      assert.ok(later >= 295 && later < 300 + SLACK_MS, `${later} ms`)
      assert.equal(await lock.release(), true)
      assert.equal(await (await b.lock('key', { wait: 0 })).release(), true)
    })
  }

  for (const invalidation of ['off', 'pubsub', 'tracking']) {
    test(`ends with the lock soon after it is given back, with invalidation by '${invalidation}'`, async (t) => {
      const [a, b] = await pair(t, { invalidation })
      await until(() => b.health().cache.l2.invalidation.mode === invalidation)
      const lock = await a.lock('key', LONG)
      const waiting = b.lock('key', LONG)
      // Long enough that who asks again and again does it less and less often.
      await pause(700)
      const { value, ms } = await timed(async () => {
        await lock.release()
        return waiting
      })
      console.log(`handed over after ${ms.toFixed(1)} ms by '${invalidation}'`)
      assert.ok(ms < (invalidation === 'tracking' ? 300 : 500 + SLACK_MS), `${ms} ms`)
      assert.equal(await value.release(), true)
    })
  }

  test('costs no more than a few questions a second', async (t) => {
    const [a, b] = await pair(t, { invalidation: 'off' })
    const lock = await a.lock('key', LONG)
    const before = b.stats().l2Commands
    await assert.rejects(b.lock('key', { wait: 1_500 }), LOCKED)
    const asked = b.stats().l2Commands - before
    assert.ok(asked >= 2 && asked <= 12, `${asked} commands`)
    await lock.release()
  })

  test('ends when a lease runs out that nobody renews', async (t) => {
    for (const invalidation of ['off', 'tracking']) {
      const cache = await openOn(t, server, { invalidation })
      await server.command('SET', placeOf(cache, 'key'), 'of somebody who was killed', 'PX', 400)
      const { value, ms } = await timed(() => cache.lock('key', LONG))
      assert.ok(ms < 400 + SLACK_MS, `${ms} ms`)
      await value.release()
    }
  })

  test('a caller who leaves while waiting does not keep the lock', async (t) => {
    for (const [a, b] of [await pair(t), Array(2).fill(openCache(t, {}))]) {
      const lock = await a.lock('key', LONG)
      const leaving = new AbortController()
      const waiting = b.lock('key', { ...LONG, signal: leaving.signal })
      await pause(50)
      leaving.abort()
      await assert.rejects(waiting, cacheError('ERR_CACHE_ABORTED'))
      await lock.release()
      await (await a.lock('key', LONG)).release()
    }
  })

  test('a caller who leaves before it hears that the lock is its own does not keep it', async (t) => {
    const [a, b] = await pair(t)
    const leaving = new AbortController()
    const lock = a.lock('key', { ...LONG, signal: leaving.signal })
    await null
    await null
    hold(60)
    leaving.abort()
    await assert.rejects(lock, cacheError('ERR_CACHE_ABORTED'))
    await (await b.lock('key', LONG)).release()
  })

  test('a signal that was aborted before refuses at once', async (t) => {
    const cache = openCache(t, {})
    await assert.rejects(cache.lock('key', { signal: AbortSignal.abort() }), cacheError('ERR_CACHE_ABORTED'))
    await (await cache.lock('key', { wait: 0 })).release()
  })
})

describe('releasing', () => {
  test('tells whether the lock was still held, and only once', async (t) => {
    const [redis] = await pair(t)
    for (const cache of [redis, openCache(t, {})]) {
      const lock = await cache.lock('key', LONG)
      assert.equal(await lock.release(), true)
      assert.equal(await lock.release(), false)
      assert.equal(await lock.extend(1_000), false)
      assert.equal(lock.signal.aborted, false)
    }
    assert.ok(await isFree(redis, 'key'))
  })

  test('leaves a lock alone that somebody else has by now', async (t) => {
    const [a] = await pair(t)
    const lock = await a.lock('key', LONG)
    await server.command('SET', placeOf(a, 'key'), 'of somebody else', 'PX', 60_000)
    assert.equal(await lock.release(), false)
    assert.equal(await server.command('GET', placeOf(a, 'key')), 'of somebody else')
  })

  test('withLock passes on what its function gives or throws, and releases', async (t) => {
    const [a] = await pair(t)
    assert.equal(await a.withLock('key', undefined, ({ key }) => `with ${key}`), 'with key')
    assert.ok(await isFree(a, 'key'))
    const thrown = new RangeError('no')
    await assert.rejects(
      a.withLock('key', LONG, () => {
        throw thrown
      }),
      (error) => error === thrown,
    )
    assert.ok(await isFree(a, 'key'))
    await assert.rejects(a.withLock('key', LONG), cacheError('ERR_CACHE_OPTIONS'))
    assert.ok(await isFree(a, 'key'))
  })

  test('the end of its block releases a lock', { skip: !Symbol.asyncDispose }, async (t) => {
    const [a] = await pair(t)
    const lock = await a.lock('key', LONG)
    await lock[Symbol.asyncDispose]()
    assert.ok(await isFree(a, 'key'))
  })

  test('close() releases', async (t) => {
    const [a, b] = await pair(t)
    const locks = await Promise.all(['one', 'two'].map((key) => a.lock(key, LONG)))
    await a.close()
    await Promise.all(['one', 'two'].map((key) => b.lock(key, { wait: 0 })))
    assert.equal(await locks[0].release(), false)
    await assert.rejects(a.lock('one'), cacheError('ERR_CACHE_CLOSED'))
  })

  test('close() of one handle of a named cache releases what was taken through it, and nothing else', async (t) => {
    const options = { name: ownNamespace(), redis: server.url, namespace: ownNamespace() }
    const [a, b] = [openCache(t, options), openCache(t, options)]
    await b.ready()
    const own = await a.lock('of a', LONG)
    const others = await b.lock('of b', LONG)
    await a.close()
    await (await b.lock('of a', LONG)).release()
    assert.equal(await own.release(), false)
    await assert.rejects(b.lock('of b', { wait: 0 }), LOCKED)
    assert.equal(await others.release(), true)
  })

  test('close() refuses a caller who waits, at once', async (t) => {
    const [a, b] = await pair(t)
    const memory = openCache(t, {})
    for (const [holder, waiter] of [
      [a, b],
      [memory, memory],
    ]) {
      const lock = await holder.lock('key', LONG)
      const refused = assert.rejects(waiter.lock('key', LONG), cacheError('ERR_CACHE_CLOSED'))
      await pause(50)
      const { ms } = await timed(async () => {
        await waiter.close()
        await refused
      })
      assert.ok(ms < SLACK_MS, `${ms} ms`)
      assert.equal(await lock.release(), holder === a)
    }
    await (await a.lock('key', LONG)).release()
  })

  test('a lock that is collected is released', async () => {
    const script = `
      const { Cache } = require('evenkeel')
      async function main() {
        const [a, b] = ${JSON.stringify([{}, {}])}.map(() => new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'gc' }))
        const memory = new Cache()
        await (async () => {
          await a.lock('key', { ttl: 60_000 })
          await memory.lock('key')
        })()
        const kept = await a.lock('kept', { ttl: 60_000 })
        const collecting = setInterval(gc, 20)
        await (await b.lock('key', { wait: 10_000 })).release()
        await (await memory.lock('key', { wait: 10_000 })).release()
        console.log(await b.lock('kept', { wait: 100 }).catch((error) => error.code), await kept.release())
        clearInterval(collecting)
      }
      main()`
    const { code, stdout, stderr } = await runScript(script, { flags: ['--expose-gc'] })
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'ERR_CACHE_LOCKED true\n', stderr: '' })
  })

  test('a thread that ends releases what it held, and takes nothing that it waited for', async (t) => {
    const options = { name: ownNamespace(), redis: server.url, namespace: ownNamespace() }
    const memory = { name: ownNamespace() }
    const caches = [openCache(t, options), openCache(t, memory)]
    await caches[0].ready()
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const { Cache } = require(workerData.root)
      const caches = workerData.options.map((options) => new Cache(options))
      Promise.all(caches.map((cache) => cache.lock('held', { ttl: 60_000 }))).then((locks) => {
        globalThis.locks = locks
        for (const cache of caches) cache.lock('waited-for', { ttl: 60_000, wait: 60_000 })
        setTimeout(() => parentPort.postMessage('holds'), 50)
      })`
    const waitedFor = await Promise.all(caches.map((cache) => cache.lock('waited-for', LONG)))
    const workerData = { root, options: [options, memory] }
    const worker = new Worker(source, { eval: true, workerData })
    t.after(() => worker.terminate())
    await eventOf(worker, 'message')
    for (const cache of caches) await assert.rejects(cache.lock('held', { wait: 0 }), LOCKED)
    await worker.terminate()
    for (const cache of caches) await (await cache.lock('held', LONG)).release()
    for (const lock of waitedFor) assert.equal(await lock.release(), true)
    for (const cache of caches) await (await cache.lock('waited-for', LONG)).release()
  })
})

describe('a lock that is held', () => {
  test('is renewed when half of its life is over', async (t) => {
    const [a, b] = await pair(t)
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
    const [a] = await pair(t)
    const lock = await a.lock('key', { ttl: 500 })
    const before = a.stats().l2Commands
    await pause(2_000)
    const asked = a.stats().l2Commands - before
    assert.ok(asked >= 5 && asked <= 9, `${asked} commands`)
    await lock.release()
  })

  test('gets the life that extend() gives it, and is renewed at half of that', async (t) => {
    const [a] = await pair(t)
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
      const [a] = await pair(t)
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
      const [a] = await pair(t)
      const lock = await a.lock('key', LONG)
      await lose(placeOf(a, 'key'))
      assert.equal(await lock.extend(1_000), false)
      assert.equal((await lossOf(lock)).code, 'ERR_CACHE_LOCKED')
      assert.equal(await lock.release(), false)
    })
  }

  test('does not stop withLock, whose function hears of it', async (t) => {
    const [a, b] = await pair(t)
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
    assert.ok(await isHeld(cache, 'key'))
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
    assert.ok(await isHeld(cache, 'key'))
    await proxy.up()
    await until(() => isFree(cache, 'key'))
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
    await until(() => isFree(cache, 'key', own), { timeout: 5_000 })
  })
})

describe('a process ends by itself', () => {
  const ends = async (body) => {
    const script = `
      const { Cache } = require('evenkeel')
      const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: ${JSON.stringify(ownNamespace())} })
      const memory = new Cache()
      async function main() { ${body} }
      main()`
    const { code, signal, stdout, stderr, ms } = await runScript(script, { timeout: 20_000 })
    assert.deepEqual({ code, signal, stdout, stderr }, { code: 0, signal: null, stdout: 'end\n', stderr: '' })
    return ms
  }

  test('with a lock that it holds', async () => {
    await ends(`
      globalThis.held = [await cache.lock('key', { ttl: 60_000 }), await memory.lock('key')]
      console.log('end')`)
  })

  test('with a lock that it gave back', async () => {
    await ends(`
      for (const one of [cache, memory]) await (await one.lock('key', { ttl: 60_000 })).release()
      console.log('end')`)
  })

  test('but not while it waits for one', async () => {
    const ms = await ends(`
      await cache.lock('key', { ttl: 60_000 }).then((lock) => (globalThis.held = lock))
      await cache.lock('key', { wait: 700 }).catch(() => console.log('end'))`)
    assert.ok(ms > 700, `${ms} ms`)
  })
})
