'use strict'
/**
 * The time, for hits of which reading a clock would be a third. Where they follow one on another it is read for every 64th only,
 * and in any case anew in each turn of the event loop: what is told is never older than the turn. It is the real clock, also
 * where a test runner puts another in its place: L1 knows no other.
 */
const { performance } = require('node:perf_hooks')
const { setImmediate } = require('node:timers')

const real = performance.now.bind(performance)

/** So many hits that follow one on another by less than this are a burst, of which so many are told the same. */
const BURST = 8
const CLOSE_MS = 0.02
const HELD = 64

let last = 0
/** Reads of the clock, one on another. */
let close = 0
/** Hits that are told the same. */
let left = 0
let isArmed = false

/** ms, on a clock of this process that only goes forward. */
function now() {
  if (left === 0) return read()
  left--
  return last
}

function read() {
  const at = real()
  close = at - last < CLOSE_MS * (close < BURST ? 1 : HELD) ? close + 1 : 0
  last = at
  if (close >= BURST) hold()
  return at
}

function hold() {
  left = HELD
  if (isArmed) return
  isArmed = true
  setImmediate(turned)
}

function turned() {
  isArmed = false
  left = close = 0
}

exports.now = now
