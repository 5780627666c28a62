'use strict'

// Factories that note how often and when they are called, and what they are given.

const { performance } = require('node:perf_hooks')

/** A factory `make` that answers what `answer` does; `at` tells when it was called, in ms of `performance.now()`. */
function origin(answer) {
  const at = []
  return {
    at,
    get calls() {
      return at.length
    },
    async make(context) {
      at.push(performance.now())
      return answer(context)
    },
  }
}

/**
 * A factory that takes until `open(value)` or `fail(error)` is called, for all its calls. `over` resolves once its outcome has
 * been taken; `signals` are those it was given.
 */
function gated() {
  const gate = {}
  const answer = new Promise((open, fail) => Object.assign(gate, { open, fail }))
  answer.catch(() => {})
  const signals = []
  const { make, at } = origin(({ signal }) => {
    signals.push(signal)
    return answer
  })
  /** What is told to the cache is told in turns of the event loop after this one. */
  const over = answer.then(pause, pause)
  return {
    at,
    make,
    signals,
    over,
    ...gate,
    get calls() {
      return at.length
    },
  }
}

function pause() {
  return new Promise((resolve) => setImmediate(resolve))
}

module.exports = { gated, origin }
