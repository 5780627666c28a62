'use strict'

// One round: an operation done over and over for a while, by one caller, by many, or by all at once.

const { monitorEventLoopDelay } = require('node:perf_hooks')

/** One caller after another; gives how many there were. */
async function sequence({ call, check, turns }, { until }) {
  let done = 0
  while (performance.now() < until) {
    for (let turn = 0; turn < turns; turn++) check(await call(turn), turn)
    done += turns
  }
  return done
}

/** `inFlight` callers at a time, each with turns of its own. */
async function parallel({ call, check, turns }, { until, inFlight }) {
  let done = 0
  async function caller(first) {
    for (let turn = first; performance.now() < until; turn += inFlight) {
      if (turn >= turns) turn = first
      check(await call(turn), turn)
      done++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, (_, first) => caller(first)))
  return done
}

/** @returns operations a second, µs of CPU for each, and the p99 of the event loop's delay in ms */
async function round(operation, { ms, inFlight, isLocal }) {
  globalThis.gc()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const [start, cpu] = [performance.now(), process.cpuUsage()]
  const run = isLocal ? sequence : parallel
  const done = await run(operation, { until: start + ms, inFlight })
  const seconds = (performance.now() - start) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  delay.disable()
  return { rate: done / seconds, cpu: (user + system) / done, delay: delay.percentile(99) / 1e6 }
}

/** As many rounds of all keys at once; the commands that the worst of them took, by what `count` says before and after. */
async function bursts({ call, check, turns }, { count, times }) {
  let commands = 0
  for (let time = 0; time < times; time++) {
    const before = await count()
    const answers = await Promise.all(Array.from({ length: turns }, (_, turn) => call(turn)))
    commands = Math.max(commands, (await count()) - before)
    for (const [turn, answer] of answers.entries()) check(answer, turn)
  }
  return { commands }
}

module.exports = { bursts, round }
