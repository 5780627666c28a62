'use strict'

// Worker threads: caches of one name share their tiers across threads, and a thread may end at any moment.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { openCache } = require('./support/cache.js')
const { root, runScript } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { ownSeed } = require('./support/random.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** A thread that opens a cache with `options` as `cache`, runs `body` and posts what it returns. */
function inWorker(t, options, body) {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Cache } = require(workerData.root)
    const cache = new Cache(workerData.options)
    ;(async () => parentPort.postMessage(await (async () => {${body}})()))()`
  const worker = new Worker(source, { eval: true, workerData: { root, options } })
  t.after(() => worker.terminate())
  return worker
}

test('a value set in one thread is a hit in another, and a delete is seen at once', async (t) => {
  const options = { name: 'threads', redis: server.url, namespace: 'threads' }
  const cache = openCache(t, options)
  await cache.ready()
  await cache.set('key', { a: 1 })
  const seen = `const value = cache.peek('key'); await cache.delete('key'); return value`
  assert.deepEqual(await eventOf(inWorker(t, options, seen), 'message'), { a: 1 })
  assert.equal(cache.peek('key'), undefined)
  assert.equal(await cache.get('key'), undefined)
})

test('eight threads use one connection', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const options = { name: 'one-link', redis: `redis://127.0.0.1:${proxy.port}`, namespace: 'one-link' }
  const body = `await cache.ready(); for (let n = 0; n < 200; n++) await cache.set('k' + n, n); return 'done'`
  const workers = Array.from({ length: 8 }, () => inWorker(t, options, body))
  await Promise.all(workers.map((worker) => eventOf(worker, 'message', { timeout: 30_000 })))
  assert.ok(proxy.mostOpen <= 1, `${proxy.mostOpen} sockets were open at once`)
})

test('one factory runs for all threads, and its value and its error reach them', async (t) => {
  const options = { name: 'flights', namespace: 'flights' }
  const counter = new Int32Array(new SharedArrayBuffer(4))
  const body = `
    const make = async () => {
      Atomics.add(cache.counter, 0, 1)
      while (!(await cache.has('go'))) await new Promise((resolve) => setImmediate(resolve))
      return { made: true }
    }
    const fail = async () => { throw Object.assign(new RangeError('no such thing'), { status: 404 }) }
    const value = await cache.getOrSet('key', make)
    const error = await cache.getOrSet('bad', fail).catch((reason) => reason)
    return [value, error.name, error.message]`
  const cache = openCache(t, options)
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Cache } = require(workerData.root)
    const cache = Object.assign(new Cache(workerData.options), { counter: workerData.counter })
    ;(async () => parentPort.postMessage(await (async () => {${body}})()))()`
  const workers = Array.from(
    { length: 4 },
    () => new Worker(source, { eval: true, workerData: { root, options, counter } }),
  )
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())))
  const answers = workers.map((worker) => eventOf(worker, 'message', { timeout: 20_000 }))
  await until(() => Atomics.load(counter, 0) > 0)
  await cache.set('go', true)
  for (const answer of await Promise.all(answers)) {
    assert.deepEqual(answer, [{ made: true }, 'RangeError', 'no such thing'])
  }
})

for (const [kind, tiers] of Object.entries({ 'in memory': {}, 'with Redis': { locks: true } })) {
  test(`ten thousand callers in eight threads run one factory, and get its value, ${kind}`, async (t) => {
    const redis = tiers.locks && { redis: server.url, namespace: 'stampede' }
    const options = { name: `stampede ${kind}`, ...redis }
    const [threads, callers] = [8, 1_250]
    /** How many threads have asked, and how often a factory ran. */
    const counters = new Int32Array(new SharedArrayBuffer(8))
    const source = `
      const { setImmediate: turn } = require('node:timers/promises')
      const { parentPort, workerData } = require('node:worker_threads')
      const { Cache } = require(workerData.root)
      const { callers, counters, lock, threads } = workerData
      const cache = new Cache(workerData.options)
      const make = async () => {
        Atomics.add(counters, 1, 1)
        while (Atomics.load(counters, 0) < threads) await turn()
        return { made: [1, 2n, 'three'], at: new Date(0) }
      }
      async function main() {
        await cache.ready()
        const asked = Array.from({ length: callers }, () => cache.getOrSet('key', make, { lock }))
        Atomics.add(counters, 0, 1)
        const values = await Promise.all(asked)
        const right = values.filter(({ made, at }) => made.join() === '1,2,three' && at.getTime() === 0)
        parentPort.postMessage({ right: right.length, objects: new Set(values).size })
      }
      main()`
    const cache = openCache(t, options)
    const workerData = { root, options, callers, counters, lock: tiers.locks, threads }
    const workers = Array.from({ length: threads }, () => new Worker(source, { eval: true, workerData }))
    t.after(() => Promise.all(workers.map((worker) => worker.terminate())))
    const answers = workers.map((worker) => eventOf(worker, 'message', { timeout: 30_000 }))
    const all = await Promise.all(answers)
    // Each caller has its own copy.
    assert.deepEqual(all, Array(threads).fill({ right: callers, objects: callers }))
    assert.equal(Atomics.load(counters, 1), 1)
    assert.equal(cache.stats().stampedesPrevented, threads * callers - 1)
  })
}

test('a leader whose thread is terminated hands the flight to a caller that waits', async (t) => {
  const options = { name: 'leaders', namespace: 'leaders' }
  const cache = openCache(t, options)
  const leader = inWorker(
    t,
    options,
    `await cache.getOrSet('key', () => { parentPort.postMessage('leading'); return new Promise(() => {}) })`,
  )
  await eventOf(leader, 'message')
  const waiting = cache.getOrSet('key', () => 'from the heir')
  await leader.terminate()
  assert.equal(await waiting, 'from the heir')
})

test('eight threads terminated at random two hundred times leave no ticket and no crash', async () => {
  const seed = ownSeed()
  const script = `
    const { Worker } = require('node:worker_threads')
    const { Cache } = require(${JSON.stringify(root)})
    let seed = ${seed}
    const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648
    const options = { name: 'chaos', redis: ${JSON.stringify(server.url)}, namespace: 'chaos', l1: { ttl: 50 } }
    const source = \`
      const { parentPort, workerData } = require('node:worker_threads')
      const { Cache } = require(workerData.root)
      const cache = new Cache(workerData.options)
      parentPort.postMessage('up')
      ;(async () => {
        for (let n = 0; ; n++) {
          const key = 'key-' + (n % 100)
          const calls = [cache.set(key, { n }), cache.getMany([key, 'other-' + (n % 100)]), cache.get('key-' + ((n + 7) % 100))]
          calls.push(cache.getOrSet('made-' + (n % 50), async () => ({ n })), cache.delete('made-' + (n % 17)))
          if (n % 50 === 0) calls.push(cache.deletePattern('made-*'))
          await Promise.all(calls)
        }
      })()\`
    async function main() {
      const cache = new Cache(options)
      await cache.ready()
      const start = () => new Promise((resolve, reject) => {
        const worker = new Worker(source, { eval: true, workerData: { root: ${JSON.stringify(root)}, options } })
        worker.once('message', () => resolve(worker))
        worker.once('error', reject)
      })
      const workers = await Promise.all(Array.from({ length: 8 }, start))
      for (let round = 0; round < 200; round++) {
        const index = Math.floor(random() * 8)
        for (let n = Math.floor(random() * 20); n > 0; n--) await new Promise((resolve) => setImmediate(resolve))
        await workers[index].terminate()
        workers[index] = await start()
      }
      await Promise.all(workers.map((worker) => worker.terminate()))
      await cache.set('after', 'all', { strict: true })
      await cache.settled()
      console.log(await cache.get('after'), cache.health().cache.l2.in_flight)
    }
    main()`
  console.log(`seed ${seed}`)
  const { code, signal, stdout, stderr } = await runScript(script, { timeout: 300_000 })
  assert.deepEqual({ code, signal, stdout, stderr }, { code: 0, signal: null, stdout: 'all 0\n', stderr: '' })
})
