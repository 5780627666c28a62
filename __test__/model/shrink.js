'use strict'

// The smallest sequence that still disagrees. fast-check says how a sequence can be smaller; all that it says are tried at once on
// one clock, so that a step takes as long as one sequence does. The steps make the path by which fast-check finds the result again.

const { performance } = require('node:perf_hooks')
const { relatives, sizeOf } = require('./sequences.js')
const { trial } = require('./trial.js')

/** Sequences tried at once, at most. */
const AT_ONCE = 400

/** Of those that disagree the smallest one, `{ run, index }`. */
function smallest(runs) {
  const disagreeing = runs.map((run, index) => ({ run, index })).filter(({ run }) => run.disagreement)
  const [first] = disagreeing.toSorted((a, b) => sizeOf(a.run.sequence) - sizeOf(b.run.sequence))
  return first
}

/** Of these sequences, alone on a cache, one that disagrees, `{ run, index }`. */
async function disagreeing(t, part, sequences, clock) {
  for (let from = 0; from < sequences.length; from += AT_ONCE) {
    const [runs] = await trial(t, [{ ...part, sequences: sequences.slice(from, from + AT_ONCE) }], clock)
    const found = smallest(runs)
    if (found) return { run: found.run, index: from + found.index }
  }
}

/**
 * Shrinks the sequence of a seed and path for about `ms`.
 * @returns {Promise<{ path: string, run: object | undefined, steps: number }>} no run: alone it does not disagree
 */
async function shrink(t, { kind, model, seed, path, clock, ms }) {
  const until = performance.now() + ms
  const part = { kind, model }
  const { own, ...others } = relatives(seed, path)
  let { smaller } = others
  let best = (await disagreeing(t, part, [own], clock))?.run
  let steps = 0
  while (best && performance.now() < until) {
    const found = await disagreeing(t, part, smaller, clock)
    if (!found) break
    best = found.run
    path = `${path}:${found.index}`
    steps += 1
    smaller = relatives(seed, path).smaller
  }
  return { path, run: best, steps }
}

module.exports = { shrink, smallest }
