'use strict'

// What was done to a run's servers, network and processes, and when: told while it happens, and asked by those who judge. Times
// are ms on the clock of registers.js; what is not over yet ends at Infinity.

const { now } = require('./registers.js')

/** A stall is over for those who suffered it a moment after it has ended. */
const RECOVERY_MS = 1_000

class Timeline {
  /** `{ name, from, to }` of every fault. */
  faults = []
  /**
   * Times at which data was lost: `{ from, to, older, shard }`. With `older`, what was lost may have left older data in its place; `shard`
   * is undefined where it is all of them.
   */
  losses = []
  /** Times at which somebody could not act or be told: `{ from, to, processes }`, undefined for all. */
  stalls = []
  /** Processes that were killed: `{ process, incarnation }`. */
  killed = []

  /** Begins `list`'s next entry; what ends it. */
  begin(list, entry) {
    const begun = { from: now(), to: Infinity, ...entry }
    this[list].push(begun)
    return () => {
      begun.to = now()
    }
  }

  /** Until when data of `shard` was lost last before `at`, -Infinity for never; `older` asks for losses that leave older data only. */
  lostUntil(shard, at, { older }) {
    const concerns = (loss) => loss.from <= at && (loss.shard ?? shard) === shard && (loss.older || !older)
    return Math.max(-Infinity, ...this.losses.filter(concerns).map(({ to }) => to))
  }

  /** Since when `process` was not stalled at `at`, Infinity if it is. */
  calmSince(process, at) {
    const concerns = ({ from, processes }) => from <= at && (processes?.includes(process) ?? true)
    const ends = this.stalls.filter(concerns).map(({ to }) => to + RECOVERY_MS)
    return Math.max(-Infinity, ...ends)
  }

  /** Whether this process, as it was started, still lives. */
  lives({ process, incarnation }) {
    return !this.killed.some((other) => other.process === process && other.incarnation === incarnation)
  }

  /** What was going on between two times, in words. */
  between(from, to, start) {
    const during = this.faults.filter((fault) => fault.from <= to && fault.to >= from)
    const seconds = (at) => ((at - start) / 1_000).toFixed(2)
    return during.map(({ name, from, to }) => `${name} (${seconds(from)} to ${seconds(to)} s)`).join(', ')
  }
}

module.exports = { Timeline }
