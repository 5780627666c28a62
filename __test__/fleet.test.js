'use strict'

// Fifty processes lose the same server: none of them hammers it, and they do not return in one wave. `FLEET_SECONDS` makes the
// outage longer.

const assert = require('node:assert/strict')
const { fork } = require('node:child_process')
const path = require('node:path')
const { performance } = require('node:perf_hooks')
const { test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const PROCESSES = 50
const SECONDS = Number(process.env.FLEET_SECONDS ?? 15)
/** What `resilience` allows a process in any minute. */
const ATTEMPTS_A_MINUTE = 40
/** After an outage of this kind everybody is back within this time. */
const BACK_MS = 6_000
/** No more than a third of the fleet within this time. */
const WAVE_MS = 100

const now = () => performance.timeOrigin + performance.now()

/** A process that notes when it tried and when it was back. */
function member(t, ...words) {
  const file = path.join(__dirname, 'fixtures', 'member.js')
  const child = fork(file, words, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  t.after(() => child.disconnect())
  const notes = { attempt: [], ready: [] }
  child.on('message', ({ type, at }) => notes[type].push(at))
  return notes
}

/** The most of `times` within `width`. */
function densest(times, width) {
  return Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + width).length))
}

test(`${PROCESSES} processes that lose one server for ${SECONDS} s return spread out, and have tried within bounds`, async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const fleet = []
  while (fleet.length < PROCESSES) {
    fleet.push(...Array.from({ length: 5 }, () => member(t, server.url)))
    await until(() => fleet.every(({ ready }) => ready.length === 1), { timeout: 30_000 })
  }
  const hammer = member(t, server.url, 'hammers')
  await until(() => hammer.ready.length === 1)
  await server.kill()
  const lost = now()
  await pause(SECONDS * 1_000)
  await server.start()
  const back = now()
  await until(() => fleet.every(({ ready }) => ready.length >= 2), { timeout: 30_000 })

  const firsts = fleet.map(({ attempt }) => attempt[0] - lost)
  const returns = fleet.map(({ ready }) => ready[1] - back)
  const attempts = fleet.map(({ attempt }) => densest(attempt, 60_000))
  const span = (list) => `${Math.round(Math.min(...list))} to ${Math.round(Math.max(...list))}`
  t.diagnostic(
    `attempts ${span(attempts)}, the first after ${span(firsts)} ms, back after ${span(returns)} ms`,
  )
  t.diagnostic(
    `within ${WAVE_MS} ms: ${densest(firsts, WAVE_MS)} first attempts, ${densest(returns, WAVE_MS)} returns`,
  )
  assert.ok(Math.max(...attempts) <= ATTEMPTS_A_MINUTE, `${attempts}`)
  const most = densest(hammer.attempt, 60_000)
  assert.ok(most > 20 && most <= ATTEMPTS_A_MINUTE, `${most}`)
  assert.ok(Math.max(...returns) <= BACK_MS, `${returns}`)
  assert.ok(densest(returns, WAVE_MS) <= PROCESSES / 3, `${returns}`)
  assert.ok(Math.max(...firsts) - Math.min(...firsts) >= WAVE_MS, `${firsts}`)
})
