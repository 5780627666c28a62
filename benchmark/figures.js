'use strict'

// What is measured in a round, and the units in which it is shown.

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

/** By the name that a goal gives it. Of all but the rate, less is better. */
const FIGURES = {
  time: ({ rate }) => 1 / rate,
  rate: ({ rate }) => rate,
  cpu: ({ cpu }) => cpu,
  delay: ({ delay }) => delay,
  pause: ({ pause }) => pause,
  empty: ({ empty }) => empty,
  bytes: ({ bytes }) => bytes,
  start: ({ start }) => start,
  size: ({ size }) => size / 1e6,
  commands: ({ commands }) => commands,
}

/** A figure of a round in a unit. */
const UNITS = {
  ns: ({ rate }) => 1e9 / rate,
  µs: ({ rate }) => 1e6 / rate,
  'k/s': ({ rate }) => rate / 1_000,
  'µs of CPU': FIGURES.cpu,
  'ms late': FIGURES.delay,
  'ms of pause': FIGURES.pause,
  'bytes an entry': FIGURES.bytes,
  ms: FIGURES.start,
  MB: FIGURES.size,
  commands: FIGURES.commands,
}

/** Whether more of a unit is better. */
const isMoreBetter = (unit) => ['k/s', '%'].includes(unit)

/** The median of what `figure` reads from the rounds; `undefined` where they have no such figure. */
function middle(rounds, figure) {
  const value = median(rounds.map(figure))
  return Number.isFinite(value) ? value : undefined
}

const digits = (value) => (value < 10 ? 2 : value < 100 ? 1 : 0)

/** A figure as it is printed. */
const shown = (value) => {
  const exact = digits(value)
  return value.toLocaleString('en', { minimumFractionDigits: exact, maximumFractionDigits: exact })
}

module.exports = { FIGURES, UNITS, isMoreBetter, median, middle, shown }
