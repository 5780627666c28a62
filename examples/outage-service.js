'use strict'

// The service that outage.js puts under test, a child process of it so that all which reaches its
// stderr is seen. It offers a steady load, changes rows of its origin meanwhile, and checks that no
// answer is older than it may be.

const { setTimeout: sleep } = require('node:timers/promises')
const { Cache } = require('evenkeel')

const [port, l2Timeout] = process.argv.slice(2).map(Number)
const RATE = 300 // requests a second
const KEYS = 600
const CHANGES = 20 // rows of the origin changed, and their keys deleted, a second
const ORIGIN_MS = 20

const cache = new Cache({
  redis: { host: '127.0.0.1', port },
  namespace: 'outage',
  l1: { ttl: 1_000 }, // short, so that most requests need Redis
  l2: { timeout: l2Timeout },
})
const rows = new Int32Array(KEYS) // the origin: a version for each row
const settled = new Int32Array(KEYS) // the version that a request which starts now must see at least
const report = { phases: [], slowestOrigin: 0, unhandled: [] }
const running = new Set() // what stop() waits for
let phase

function enter(name) {
  phase = { name, calls: 0, rejected: [], wrong: [], origin: 0, times: [] }
  report.phases.push(phase)
}

async function readOrigin(row) {
  phase.origin += 1
  const start = performance.now()
  const version = rows[row] // read early and returned late, as a slow query does
  await sleep(ORIGIN_MS)
  report.slowestOrigin = Math.max(report.slowestOrigin, performance.now() - start)
  return { row, version }
}

async function request(row) {
  const own = phase
  const least = settled[row]
  const start = performance.now()
  own.calls += 1
  try {
    const value = await cache.getOrSet(`row:${row}`, () => readOrigin(row))
    const right = value?.row === row && value.version >= least && value.version <= rows[row]
    if (!right) own.wrong.push(`row ${row} at least version ${least}, got ${JSON.stringify(value)}`)
  } catch (error) {
    own.rejected.push(String(error))
  }
  own.times.push(performance.now() - start)
}

/** Changes a row while it is being read, and reads it again once its key is deleted. */
async function change(row) {
  const own = phase
  const before = request(row)
  await sleep(ORIGIN_MS / 2)
  const version = (rows[row] += 1)
  try {
    await cache.delete(`row:${row}`)
    settled[row] = Math.max(settled[row], version)
  } catch (error) {
    own.rejected.push(String(error))
  }
  await Promise.all([before, request(row)])
}

const anyRow = () => Math.floor(Math.random() * KEYS)

function track(promise) {
  running.add(promise)
  promise.finally(() => running.delete(promise))
}

const start = performance.now()
let requests = 0
let changes = 0
const clock = setInterval(() => {
  const seconds = (performance.now() - start) / 1000
  for (; requests < seconds * RATE; requests += 1) track(request(anyRow()))
  for (; changes < seconds * CHANGES; changes += 1) track(change(anyRow()))
}, 5)

async function stop() {
  clearInterval(clock)
  await Promise.all(running)
  await cache.close()
  process.send({ type: 'report', report })
  process.disconnect()
}

for (const event of ['uncaughtException', 'unhandledRejection', 'warning']) {
  process.on(event, (error) => report.unhandled.push(`${event}: ${error}`))
}
process.on('message', (message) => {
  if (message.type === 'phase') enter(message.name)
  if (message.type === 'state') process.send({ type: 'state', state: cache.state })
  if (message.type === 'stop') stop()
})
enter('start')
process.send({ type: 'ready' })
