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
  const { opens: answer, open, fail } = gate()
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
    open,
    fail,
    get calls() {
      return at.length
    },
  }
}

/**
 * A loader of several keys that notes those of each call, in the order of their names, and how many calls ran at once at `most()`;
 * the value of a key is `of <key>`, unless `answer` says otherwise.
 */
function noting(answer = (keys) => keys.map((key) => `of ${key}`)) {
  const calls = []
  let [running, most] = [0, 0]
  async function load(keys, context) {
    calls.push(keys.toSorted())
    most = Math.max(most, ++running)
    try {
      return await answer(keys, context)
    } finally {
      running--
    }
  }
  return { calls, load, most: () => most }
}

/** A promise to be settled from outside. */
function gate() {
  const parts = {}
  parts.opens = new Promise((resolve, reject) => Object.assign(parts, { open: resolve, fail: reject }))
  return parts
}

function pause() {
  return new Promise((resolve) => setImmediate(resolve))
}

module.exports = { gate, gated, noting, origin }
