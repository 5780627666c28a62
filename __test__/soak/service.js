'use strict'

// One of the processes that share the keys of a soak. It writes the keys that are its own, with versions that only grow,
// reads everybody's, loads some through getOrSet, and holds every answer against what must be true of it whatever
// happens to Redis. What it finds wrong goes to the parent; so does how much it occupies.

const fs = require('node:fs')
const { performance } = require('node:perf_hooks')
const { setTimeout: pause } = require('node:timers/promises')
const { Cache } = require('evenkeel')
const { between, generator, oneOf } = require('../support/random.js')
const { until } = require('../support/wait.js')

const OPERATIONS_PER_S = 200
const SAMPLE_MS = 5_000
/** No call may take longer than this, whatever happens: the deadline, the origin, and a busy machine. */
const LONGEST_MS = 5_000
const L1_TTL_MS = 2_000
const ORIGIN_MS = 5

const { index, count, keysEach, port, namespace, seed } = JSON.parse(process.argv[2])
const random = generator(seed)

const tell = (type, text) => process.send({ type, text })
const wrong = (text) => tell('wrong', text)
process.on('uncaughtException', (error) => wrong(`uncaught: ${error.stack}`))
process.on('unhandledRejection', (error) => wrong(`unhandled: ${error?.stack ?? error}`))
process.once('disconnect', () => process.exit(1))

const cache = new Cache({ redis: { host: '127.0.0.1', port }, namespace, l1: { ttl: L1_TTL_MS } })

/** A key of this process: the version of its last change that was resolved, and whether that was a delete. */
class Own {
  version = 0
  issued = 0
  isDeleted = true
  isBusy = false

  constructor(key) {
    this.key = key
  }
}

const keyOf = (owner, number) => `own:${owner}:${number % 10}:${number}`
const owned = Array.from({ length: keysEach }, (_, number) => new Own(keyOf(index, number)))
let pending = 0

/** A value names its key, and is not of a size that always fits one packet. */
const valueOf = (key, version) => ({ key, version, text: 'x'.repeat(between(random, 0, 2_000)) })

function checkName(key, value, what) {
  if (value !== undefined && value?.key !== key) wrong(`${what} of ${key} gave ${JSON.stringify(value)}`)
}

/** A value of an own key: never older than the last change that was resolved before it was asked for. */
function checkOwn({ key, issued }, floor, value, what) {
  checkName(key, value, what)
  if (value === undefined) return
  const isOld = floor.isDeleted ? value.version <= floor.version : value.version < floor.version
  if (isOld || value.version > issued)
    wrong(`${what} of ${key} gave version ${value.version} after ${JSON.stringify(floor)}, issued ${issued}`)
}

const floorOf = ({ version, isDeleted }) => ({ version, isDeleted })

/** Changes own keys that nobody else is changing; `change` gets the version of the change. */
async function change(list, isDelete, work) {
  const free = list.filter((own) => !own.isBusy)
  if (free.length === 0) return
  for (const own of free) {
    own.isBusy = true
    own.issued += 1
  }
  await work(free)
  for (const own of free) Object.assign(own, { isBusy: false, version: own.issued, isDeleted: isDelete })
}

const anyKey = () => keyOf(between(random, 0, count), between(random, 0, keysEach))
const anyOwn = () => oneOf(random, owned)
const someOwn = () => Array.from({ length: between(random, 1, 8) }, anyOwn)
const distinct = (list) => [...new Set(list)]

async function load() {
  const key = `made:${between(random, 0, keysEach)}`
  const value = await cache.getOrSet(key, async () => {
    await pause(ORIGIN_MS)
    return { key, made: index }
  })
  if (value?.key !== key) wrong(`getOrSet of ${key} gave ${JSON.stringify(value)}`)
}

async function readOwn() {
  const own = anyOwn()
  const floor = floorOf(own)
  checkOwn(own, floor, await cache.get(own.key), 'get')
}

async function readMany() {
  const list = someOwn()
  const floors = list.map(floorOf)
  const values = await cache.getMany(list.map(({ key }) => key))
  for (const [at, value] of values.entries()) checkOwn(list[at], floors[at], value, 'getMany')
}

async function readAny() {
  const key = anyKey()
  checkName(key, await cache.get(key), 'get')
}

const OPERATIONS = [
  [20, readOwn],
  [15, readAny],
  [10, readMany],
  [20, load],
  [15, () => change([anyOwn()], false, ([own]) => cache.set(own.key, valueOf(own.key, own.issued)))],
  [8, () => change([anyOwn()], true, ([own]) => cache.delete(own.key))],
  [4, () => change(distinct(someOwn()), false, (list) => cache.setMany(list.map((own) => [own.key, valueOf(own.key, own.issued)])))], // prettier-ignore
  [3, () => change(distinct(someOwn()), true, (list) => cache.deleteMany(list.map(({ key }) => key)))],
  [2, () => cache.delete(`made:${between(random, 0, keysEach)}`)],
  [2, () => cache.has(anyKey())],
  [2, () => cache.ttl(anyKey())],
  [2, () => cache.touch(anyOwn().key, 300_000)],
  [0.05, clearGroup],
]
const WEIGHTS = OPERATIONS.reduce((sum, [weight]) => sum + weight, 0)

/** Deletes a tenth of the own keys by pattern, if none of them is being changed. */
async function clearGroup() {
  const pattern = `own:${index}:${between(random, 0, 10)}:`
  const group = owned.filter(({ key }) => key.startsWith(pattern))
  if (group.some(({ isBusy }) => isBusy)) return
  await change(group, true, () => cache.deletePattern(`${pattern}*`))
}

function anyOperation() {
  let at = random() * WEIGHTS
  return OPERATIONS.find(([weight]) => (at -= weight) < 0)[1]
}

async function once() {
  const operation = anyOperation()
  const from = performance.now()
  pending += 1
  try {
    await operation()
  } catch (error) {
    wrong(`${operation.name || 'a change'} rejected: ${error.stack}`)
  }
  pending -= 1
  const ms = performance.now() - from
  if (ms > LONGEST_MS) wrong(`${operation.name || 'a change'} took ${Math.round(ms)} ms`)
}

function start() {
  let due = performance.now()
  return setInterval(() => {
    const now = performance.now()
    // After the machine was elsewhere, what was missed is not made up for all at once.
    due = Math.max(due, now - 100)
    for (; due <= now; due += 1_000 / OPERATIONS_PER_S) void once()
  }, 5)
}

function sample() {
  globalThis.gc()
  process.send({
    type: 'sample',
    at: performance.now(),
    rss: process.memoryUsage.rss(),
    descriptors: fs.readdirSync('/proc/self/fd').length,
    threads: fs.readdirSync('/proc/self/task').length,
  })
}

/** Every own key once more, with the version that nothing may be older than. */
const ledger = () => owned.map((own) => [own.key, floorOf(own)])

async function finish(timers) {
  for (const timer of timers) clearInterval(timer)
  await until(() => pending === 0, { timeout: 2 * LONGEST_MS, message: `${pending} calls are pending` })
  await until(() => cache.state === 'up', { timeout: 30_000, message: `the link is ${cache.state}` })
  await cache.settled({ timeout: 30_000 })
  const { pending_invalidations, l2 } = cache.health().cache
  if (pending_invalidations > 0 || l2.in_flight > 0)
    wrong(`left: ${pending_invalidations} in the journal, ${l2.in_flight} in flight`)
  process.send({ type: 'ledger', ledger: ledger(), stats: cache.stats() })
}

/** Once nobody changes anything and L1 has had time to forget: everybody's keys, against the ledgers of all. */
async function audit(ledgers) {
  await pause(L1_TTL_MS + 500)
  for (const [key, floor] of ledgers) {
    checkOwn({ key, issued: Infinity }, floor, await cache.get(key), 'the last get')
  }
  await cache.close()
  process.send({ type: 'audited' }, () => process.disconnect())
  process.removeAllListeners('disconnect')
}

const timers = [start(), setInterval(sample, SAMPLE_MS)]
process.on('message', (message) => {
  const work = message.type === 'finish' ? finish(timers) : audit(message.ledgers)
  work.catch((error) => wrong(`the end failed: ${error.stack}`))
})
