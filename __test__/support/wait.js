'use strict'

// Waiting for a condition with a deadline, so that no test sleeps.

const { performance } = require('node:perf_hooks')
const { setTimeout: pause } = require('node:timers/promises')

const POLL_MS = 5

/**
 * Resolves with what `condition` answers as soon as that is truthy. A condition that throws or rejects does not hold yet.
 * Rejects after `timeout` ms with the condition's text (or `message`) and the last error.
 */
async function until(condition, { timeout = 10_000, message = String(condition) } = {}) {
  const deadline = performance.now() + timeout
  let cause
  for (;;) {
    try {
      const answer = await condition()
      if (answer) return answer
    } catch (error) {
      cause = error
    }
    if (performance.now() > deadline) throw new Error(`Not within ${timeout} ms: ${message}`, { cause })
    await pause(POLL_MS)
  }
}

/** Resolves with the first event `name` of `emitter` for which `matches` holds; rejects after `timeout` ms. */
function eventOf(emitter, name, { timeout = 10_000, matches = () => true } = {}) {
  return new Promise((resolve, reject) => {
    const settle = (end, value) => {
      clearTimeout(timer)
      emitter.off(name, listener)
      end(value)
    }
    const listener = (event) => matches(event) && settle(resolve, event)
    const timer = setTimeout(
      () => settle(reject, new Error(`No event "${name}" within ${timeout} ms`)),
      timeout,
    )
    emitter.on(name, listener)
  })
}

/** What `work` resolves with, and how many milliseconds it took. */
async function timed(work) {
  const started = performance.now()
  const value = await work()
  return { value, ms: performance.now() - started }
}

/**
 * Calls `work` at `perSecond` until `stop()` is called on the answer, which resolves with all results once the last
 * call has settled: `{ value | error, ms }` each.
 */
function steadily(perSecond, work) {
  const calls = []
  let due = performance.now()
  const timer = setInterval(() => {
    for (; due <= performance.now(); due += 1000 / perSecond) {
      const call = timed(work).catch((error) => ({ error, ms: 0 }))
      calls.push(call)
    }
  }, 2)
  timer.unref()
  return {
    calls,
    stop() {
      clearInterval(timer)
      return Promise.all(calls)
    },
  }
}

/** Holds the event loop of this thread for `ms`, as a long computation does: for tests of what happens meanwhile. */
function hold(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

module.exports = { eventOf, hold, steadily, timed, until }
