'use strict'

// Many sequences at once on a common clock. In each round every sequence does its few operations, one after another, and then all
// wait for the next tick. Lives end in the middle between two ticks, so that no read is near such a moment: a round that took
// longer than a third of a tick proves nothing.

const { performance } = require('node:perf_hooks')
const { setTimeout: pause } = require('node:timers/promises')
const { isDeepStrictEqual } = require('node:util')
const { outcomeOf } = require('./answers.js')
const { OPERATIONS } = require('./sequences.js')
const { undecided } = require('./undecided.js')
const { scribbleOn } = require('./values.js')

/** The share of a tick that a round may take. */
const ROUND_SHARE = 1 / 3
/** After so long an operation is not slow but stuck. */
const STUCK_MS = 30_000

/** One sequence on its way: what it did, and the first answer that is not the model's. */
class Run {
  history = []
  /** @type {object | undefined} the last entry of the history, if there they disagree */
  disagreement
  /** @type {object | undefined} the record that is not answered yet */
  waitsFor

  /** `begin` is the round of the clock in which the sequence begins. */
  constructor({ view, model, sequence, tick, begin = 0 }) {
    Object.assign(this, { view, model, sequence, tick, begin })
  }

  /** The number of rounds until it is over. */
  get rounds() {
    return this.begin + this.sequence.length
  }

  async round(number) {
    const own = number - this.begin
    this.model.now = own
    for (const record of this.sequence[own] ?? []) if (!this.disagreement) await this.step(own, record)
  }

  async step(round, record) {
    const { view, model, tick } = this
    const { run, apply, fits, scribble = scribbleOn } = OPERATIONS[record.op]
    const detour = undecided(model, record)
    if (detour?.skip || (fits && !fits(model, record))) return
    await detour?.first(view, record)
    this.waitsFor = record
    const seen = await outcomeOf(() => run(view, record, { tick, model }))
    this.waitsFor = undefined
    const expected = apply(model, record, seen)
    this.history.push({ round, record, expected })
    if (!isDeepStrictEqual(seen, expected)) this.disagreement = Object.assign(this.history.at(-1), { seen })
    // It is the caller's now, and nobody else may see what becomes of it.
    else if (seen.value !== undefined) scribble(seen.value)
  }

  /** Does not wait for an answer any more. */
  giveUp(number) {
    if (this.waitsFor === undefined) return
    const unanswered = {
      round: number - this.begin,
      record: this.waitsFor,
      expected: 'an answer',
      seen: 'nothing',
    }
    this.history.push(unanswered)
    this.disagreement = unanswered
  }
}

/** Waits for the end of a round; false if it does not come, which is what those runs are told who wait for an answer. */
async function ends(round, number, runs) {
  const over = new AbortController()
  const stuck = pause(STUCK_MS, 'stuck', { signal: over.signal }).catch(() => {})
  const ended = (await Promise.race([round, stuck])) !== 'stuck'
  over.abort()
  if (!ended) for (const run of runs) run.giveUp(number)
  return ended
}

/**
 * Lets all runs go on the clock, until the first round in which one of them disagrees.
 * @returns {Promise<{ late?: boolean, stuck?: boolean, longest: number }>} whether a round took too long, or did not end, and what the
 * longest took in ms
 */
async function lockstep(runs, tick) {
  const rounds = Math.max(...runs.map((run) => run.rounds))
  const start = performance.now()
  let longest = 0
  for (let number = 0; number < rounds; number++) {
    const due = start + number * tick
    await pause(Math.max(0, due - performance.now()))
    const ended = await ends(Promise.all(runs.map((run) => run.round(number))), number, runs)
    if (!ended) return { stuck: true, longest }
    const took = performance.now() - due
    longest = Math.max(longest, took)
    if (took > tick * ROUND_SHARE) return { late: true, longest }
    if (runs.some(({ disagreement }) => disagreement)) break
  }
  return { longest }
}

module.exports = { ROUND_SHARE, Run, lockstep }
