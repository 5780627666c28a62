'use strict'

// What evenkeel is held to, `--check` says whether it is.

/** In every phase. */
const NONE = ['failed', 'wrong', 'pending', 'unhandled']
/** Milliseconds at most, by phase and by the path of the figure in it. */
const AT_MOST = {
  frozen: { p50: 10, p99: 60, max: 200, 'afterFirstSecond.p99': 20 },
  killed: { p99: 20 },
  restarted: { p99: 30, inUseMs: 3_000, originPerKeyInUse: 1 },
}

const figureOf = (figures, path) => path.split('.').reduce((value, part) => value[part], figures)

/** @returns {string[]} the bars that a result misses, in words */
function missed({ phases, failure }) {
  if (failure) return [`it could not run: ${failure}`]
  const lines = []
  for (const [phase, figures] of Object.entries(phases)) {
    for (const name of NONE) {
      if (figures[name] > 0) lines.push(`${phase}: ${name} ${figures[name]}, not 0`)
    }
    for (const [name, limit] of Object.entries(AT_MOST[phase] ?? {})) {
      const value = figureOf(figures, name)
      // A figure that is not there, such as a Redis that was not used again, is no pass.
      if (value === null || value > limit) lines.push(`${phase}: ${name} ${value}, at most ${limit}`)
    }
  }
  return lines
}

module.exports = { missed }
