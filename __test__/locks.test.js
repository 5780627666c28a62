'use strict'

// lock() and withLock(): one at a time, in this process and in all; who waits for a lock, and how it is given back.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { setImmediate: turn, setTimeout: pause } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { root, runScript } = require('./support/child.js')
const { LOCKED, LONG, SLACK_MS, isFree, pair, placeOf } = require('./support/locks.js')
const { mostInside, startProcess } = require('./support/processes.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, hold, timed, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

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

describe('one at a time', () => {
  test('in a cache without Redis', async (t) => {
    const cache = openCache(t, {})
    assert.equal(await contend([cache], 30), 1)
  })

  test('in two caches on one Redis', async (t) => {
    assert.equal(await contend(await pair(t, server), 15), 1)
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
    const [a, b] = await pair(t, server)
    await a.withLock('key', LONG, async () => {
      await b.set('key', 1)
      assert.equal(await b.get('key'), 1)
      const other = await b.lock('other', { wait: 0 })
      assert.equal(await other.release(), true)
    })
  })

  test('a view locks what the cache calls by its whole key', async (t) => {
    const [a, b] = await pair(t, server)
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
      const [a, b] = kind === 'with Redis' ? await pair(t, server) : Array(2).fill(openCache(t, {}))
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
      const [a, b] = await pair(t, server, { invalidation })
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
    const [a, b] = await pair(t, server, { invalidation: 'off' })
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
    for (const [a, b] of [await pair(t, server), Array(2).fill(openCache(t, {}))]) {
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
    const [a, b] = await pair(t, server)
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
    const [redis] = await pair(t, server)
    for (const cache of [redis, openCache(t, {})]) {
      const lock = await cache.lock('key', LONG)
      assert.equal(await lock.release(), true)
      assert.equal(await lock.release(), false)
      assert.equal(await lock.extend(1_000), false)
      assert.equal(lock.signal.aborted, false)
    }
    assert.ok(await isFree(server, redis, 'key'))
  })

  test('leaves a lock alone that somebody else has by now', async (t) => {
    const [a] = await pair(t, server)
    const lock = await a.lock('key', LONG)
    await server.command('SET', placeOf(a, 'key'), 'of somebody else', 'PX', 60_000)
    assert.equal(await lock.release(), false)
    assert.equal(await server.command('GET', placeOf(a, 'key')), 'of somebody else')
  })

  test('withLock passes on what its function gives or throws, and releases', async (t) => {
    const [a] = await pair(t, server)
    assert.equal(await a.withLock('key', undefined, ({ key }) => `with ${key}`), 'with key')
    assert.ok(await isFree(server, a, 'key'))
    const thrown = new RangeError('no')
    await assert.rejects(
      a.withLock('key', LONG, () => {
        throw thrown
      }),
      (error) => error === thrown,
    )
    assert.ok(await isFree(server, a, 'key'))
    await assert.rejects(a.withLock('key', LONG), cacheError('ERR_CACHE_OPTIONS'))
    assert.ok(await isFree(server, a, 'key'))
  })

  test('the end of its block releases a lock', { skip: !Symbol.asyncDispose }, async (t) => {
    const [a] = await pair(t, server)
    const lock = await a.lock('key', LONG)
    await lock[Symbol.asyncDispose]()
    assert.ok(await isFree(server, a, 'key'))
  })

  test('close() releases', async (t) => {
    const [a, b] = await pair(t, server)
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
    const [a, b] = await pair(t, server)
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
