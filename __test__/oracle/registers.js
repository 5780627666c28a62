'use strict'

// The registers of an oracle's run: keys with one writer each. A writer has some pairs of them at a time; after a while the
// pair is left as it is and another one takes its place, so that at the end there are registers that nobody has written since
// the first faults. Everybody knows the names of all by the clock.

const PROCESSES = 3
const THREADS = 2
/** Pairs that a thread writes at a time. */
const PAIRS = 3
/** The place whose pairs are written and read most. */
const OFTEN = 0
/** How long a pair is written, in ms. */
const LIFE_MS = 4_000

/** Ms on the clock that all processes of a machine share. */
const now = () => Number(process.hrtime.bigint()) / 1e6

/** Which of the pairs that take each other's place is written at `at` in a run that began at `start`. */
function numberAt(place, start, at) {
  const shift = (place * LIFE_MS) / PAIRS
  return Math.max(0, Math.floor((at - start + shift) / LIFE_MS))
}

/** Both keys of a pair, the only ones whose names begin as theirs do. */
function pairOf({ process, thread }, place, number) {
  const prefix = `r:${process}:${thread}:${place}:${number}:`
  return [`${prefix}a`, `${prefix}b`]
}

/** The process and the thread that write a key. */
function ownerOf(key) {
  const [, process, thread] = key.split(':')
  return { process: Number(process), thread: Number(thread) }
}

/** Every key of a run that lasted from `start` to `end`. */
function allKeys(start, end) {
  const keys = []
  for (let process = 0; process < PROCESSES; process++)
    for (let thread = 0; thread < THREADS; thread++)
      for (let place = 0; place < PAIRS; place++)
        for (let number = 0; number <= numberAt(place, start, end); number++)
          keys.push(...pairOf({ process, thread }, place, number))
  return keys
}

module.exports = { OFTEN, PAIRS, PROCESSES, THREADS, allKeys, now, numberAt, ownerOf, pairOf }
