'use strict'
/**
 * The time, for hits of which reading a clock would be a fifth. Where they follow one on another it is read for every eighth only:
 * of a burst, and of what its turn of the event loop goes on to do, seven hits at most are told an older time. It is the real clock,
 * also where a test runner puts another in its place: L1 knows no other.
 */
const { performance } = require('node:perf_hooks')
const { setImmediate } = require('node:timers')

const real = performance.now.bind(performance)

/** So many reads of the clock that follow one on another by less than this are a burst; then so many hits are told the same. */
const BURST = 8
const CLOSE_MS = 0.02
const HELD = 7

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
  close = at - last < CLOSE_MS ? close + 1 : 0
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
