'use strict'

// A flight is led by a caller in one thread, and waited for in others. However far it has come when that thread is terminated,
// everybody else settles, with the right value, and no flight is left.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { setImmediate: turn } = require('node:timers/promises')
const { Worker } = require('node:worker_threads')
const { openCache, ownNamespace } = require('./support/cache.js')
const { root } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { generator, ownSeed } = require('./support/random.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, until } = require('./support/wait.js')

/** Threads that are terminated together, and how often: 32 for each stage, more than 400 in all. */
const [THREADS, WAVES] = [8, 4]
/** What reading from Redis takes where that is slow. */
const SLOW_MS = 120
/** A leader who is handing its value over is terminated so soon after it was let to. */
const MOMENT_MS = 4
/** So that a load that nobody would end fails a test, and does not hang it. */
const BOUND = { factoryTimeout: 8_000, l2SoftTimeout: false }

const seed = ownSeed()
console.log(`seed ${seed}`)
const random = generator(seed)

let [server, proxy] = []
before(async () => {
  server = await startRedis()
  proxy = await startProxy(server)
  proxy.delay = SLOW_MS
})
after(async () => {
  await proxy.close()
  await server.stop()
})

/**
 * The thread that leads: it asks for `key` and says so, then says when its factory runs, which ends when `go` is set, or
 * never. What becomes of its call is nothing to anybody.
 */
const LEADER = `
  const { setImmediate: turn } = require('node:timers/promises')
  const { parentPort, workerData } = require('node:worker_threads')
  const { Cache } = require(workerData.root)
  const { go, key, load, options } = workerData
  const cache = new Cache(options)
  const make = async () => {
    parentPort.postMessage('factory')
    while (Atomics.load(go, 0) === 0) await turn()
    return 'from the leader'
  }
  // A listener that stays, so that the thread does not end by itself.
  parentPort.on('message', () => {
    cache.getOrSet(key, make, load).then((value) => parentPort.postMessage('has ' + value), () => {})
    // The question leaves at the end of this turn.
    setImmediate(() => parentPort.postMessage('asked'))
  })
  parentPort.postMessage('up')`

/** A thread that waits for what others lead: told a key, it asks for it, and answers with what it got. */
const FOLLOWER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { Cache } = require(workerData.root)
  const { load, options } = workerData
  const cache = new Cache(options)
  const answer = (key) => (value) => parentPort.postMessage({ key, value: String(value) })
  parentPort.on('message', (key) => {
    cache.getOrSet(key, () => 'from an heir', load).then(answer(key), answer(key))
    parentPort.postMessage({ asked: key })
  })
  parentPort.postMessage('up')`

function thread(t, source, workerData) {
  const worker = new Worker(source, { eval: true, workerData: { root, ...workerData } })
  worker.setMaxListeners(50)
  const messages = []
  worker.on('message', (message) => messages.push(message))
  worker.on('error', (error) => messages.push(error))
  t.after(() => worker.terminate())
  return Object.assign(worker, { heard: (what) => until(() => messages.includes(what)) })
}

/** A key that is led in a thread of its own. */
async function led(t, key, options, load) {
  const go = new Int32Array(new SharedArrayBuffer(4))
  const leader = thread(t, LEADER, { go, key, load, options })
  await leader.heard('up')
  return { key, leader, go: () => Atomics.store(go, 0, 1) }
}

/**
 * One stage of a flight.
 * @typedef {object} Stage
 * @property {boolean} [slow] Redis is
 * @property {object} [load] options of all who ask
 * @property {object} [followers] options of those who wait
 * @property {(world: any, key: string) => unknown} [prepare] before anybody asks
 * @property {(flight: any) => unknown} reached resolves once the leader is there
 * @property {(flight: any) => unknown} [then] between the followers' asking and the end of the leader
 * @property {(world: any, key: string) => unknown} [afterwards] once the leader has been terminated
 * @property {string[]} values what those who wait may get
 * @property {string[]} [ends] what is there in the end, if that is something else
 */

const isLeading = ({ leader }) => leader.heard('factory')
const hasAsked = ({ leader }) => leader.heard('asked')
const takesLease = ({ place }, key) => server.command('SET', place(key), 'of somebody else', 'PX', 60_000)
const endsLease = ({ place }, key) => server.command('DEL', place(key))

/** A value past its life, in both tiers or only in Redis. */
async function makeStale({ cache }, key) {
  await cache.set(key, 'stale', { ttl: 1, staleFor: 600_000, jitter: 0 })
  await until(async () => (await cache.get(key)) === undefined)
}
const makeStaleInRedis = async (world, key) => makeStale({ cache: world.other }, key)
const SERVED = { load: { staleFor: 600_000 }, values: ['stale', 'from an heir'], ends: ['from an heir'] }
/** Who wants it fresh waits for the refresh. */
const FRESH = { load: { staleFor: 600_000 }, followers: { fresh: true }, values: ['from an heir'] }

/** @type {Record<string, Stage>} */
const STAGES = {
  'reads from Redis, where nothing is': { slow: true, reached: hasAsked, values: ['from an heir'] },
  'reads from Redis, where the value is': {
    slow: true,
    prepare: ({ other }, key) => other.set(key, 'from Redis'),
    reached: hasAsked,
    values: ['from Redis'],
  },
  'waits for the lease': {
    load: { lock: true },
    prepare: takesLease,
    reached: hasAsked,
    afterwards: endsLease,
    values: ['from an heir'],
  },
  'waits for the lease, under which the value is made': {
    load: { lock: true },
    prepare: takesLease,
    reached: hasAsked,
    async afterwards(world, key) {
      await world.other.set(key, 'from the owner')
      await endsLease(world, key)
    },
    values: ['from the owner'],
  },
  'runs its factory': { reached: isLeading, values: ['from an heir'] },
  'runs its factory, with the lease': { load: { lock: true }, reached: isLeading, values: ['from an heir'] },
  'hands its value over': {
    reached: isLeading,
    then: ({ go }) => go(),
    values: ['from the leader', 'from an heir'],
  },
  'hands its value over, with the lease': {
    load: { lock: true },
    reached: isLeading,
    then: ({ go }) => go(),
    values: ['from the leader', 'from an heir'],
  },
  'was served what is stale in memory, and reads before it refreshes': {
    ...SERVED,
    slow: true,
    prepare: makeStale,
    reached: hasAsked,
  },
  'was served what is stale in Redis, and is about to refresh it': {
    ...SERVED,
    prepare: makeStaleInRedis,
    reached: ({ leader }) => leader.heard('has stale'),
  },
  'was served what is stale, and waits for the lease of the refresh': {
    ...SERVED,
    load: { ...SERVED.load, lock: true },
    async prepare(world, key) {
      await makeStaleInRedis(world, key)
      await takesLease(world, key)
    },
    reached: ({ leader }) => leader.heard('has stale'),
    afterwards: endsLease,
  },
  'refreshes what is stale': { ...SERVED, prepare: makeStale, reached: isLeading },
  'refreshes what is stale, while others want it fresh': { ...FRESH, prepare: makeStale, reached: isLeading },
}

/** One wave: as many flights as there are threads, whose leaders are all terminated at `stage`. */
async function wave(t, world, stage, number) {
  const load = { ...BOUND, ...stage.load }
  const keys = Array.from({ length: THREADS }, (_, n) => `key-${number}-${n}`)
  await Promise.all(keys.map((key) => stage.prepare?.(world, key)))
  const flights = await Promise.all(keys.map((key) => led(t, key, world.options, load)))
  const settled = flights.map(async (flight) => {
    const { key, leader } = flight
    leader.postMessage('go')
    await stage.reached(flight)
    const follow = { ...load, ...stage.followers }
    const here = [1, 2].map(() => world.cache.getOrSet(key, () => 'from an heir', follow))
    const there = eventOf(world.follower, 'message', {
      matches: (message) => message.value && message.key === key,
    })
    const asked = eventOf(world.follower, 'message', { matches: (message) => message.asked === key })
    world.follower.postMessage(key)
    await asked
    await stage.then?.(flight)
    const end = performance.now() + random() * (stage.then ? MOMENT_MS : 0.5)
    while (performance.now() < end) await turn()
    await leader.terminate()
    await stage.afterwards?.(world, key)
    const values = [...(await Promise.all(here)), (await there).value]
    for (const value of values) assert.ok(stage.values.includes(value), `${key}: ${value}`)
    return [key, values[0]]
  })
  const endings = (await Promise.all(settled)).map(async ([key, value]) => {
    const now = () => world.cache.getOrSet(key, () => 'from an heir', load)
    if (stage.ends === undefined) assert.equal(await now(), value)
    else await until(async () => stage.ends.includes(await now()), { message: `${key} is made anew` })
    return value
  })
  const values = await Promise.all(endings)
  await world.cache.settled({ timeout: 5_000 })
  return values
}

describe('a leader whose thread is terminated', () => {
  for (const [what, stage] of Object.entries(STAGES)) {
    test(`while it ${what}`, async (t) => {
      const namespace = ownNamespace()
      const direct = { redis: server.url, namespace }
      const options = {
        name: namespace,
        ...direct,
        ...(stage.slow && { redis: `redis://127.0.0.1:${proxy.port}` }),
      }
      const [cache, other] = [openCache(t, options), openCache(t, direct)]
      await Promise.all([cache.ready(), other.ready()])
      const hears = (one) => one.health().cache.l2.invalidation.mode === 'tracking'
      await until(() => hears(cache) && hears(other))
      const load = { ...BOUND, ...stage.load, ...stage.followers }
      const follower = thread(t, FOLLOWER, { load, options })
      await follower.heard('up')
      const place = (key) => `${namespace}:~lock:${key}`
      const world = { cache, other, follower, options, place }
      const values = []
      for (let number = 0; number < WAVES; number++) values.push(...(await wave(t, world, stage, number)))
      for (const value of stage.values) {
        const count = values.filter((each) => each === value).length
        console.log(`${count} of ${values.length} got the value ${value}`)
      }
      // Whoever sought a lease for a flight that was over may have it for a moment.
      const isFree = async () => (await server.command('KEYS', `${namespace}:~lock:*`)).length === 0
      await until(isFree, { timeout: 2_000 })
    })
  }
})
