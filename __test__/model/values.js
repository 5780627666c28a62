'use strict'

// The values that sequences work with, as words from which the same value can be made again and again: what a cache hands out
// may be scribbled on, and a big one is short in print.

const fc = require('fast-check')

const BIG = 500

/** What makes a value of each kind out of a number; the simplest ones first, since a counterexample shrinks to them. */
const VALUES = {
  text: (n) => `text ${n}`,
  integer: (n) => n,
  null: () => null,
  false: () => false,
  empty: () => '',
  digits: (n) => String(n),
  fraction: (n) => n + 0.5,
  object: (n) => ({ id: n, list: [n, null], nested: { deep: 'ü' } }),
  date: (n) => new Date(n * 1_000),
  buffer: (n) => Buffer.from([n, 0, 0xff, 0x7b]),
  map: (n) => new Map([[n, { n }]]),
  bigint: (n) => BigInt(n) * 10n ** 20n,
  big: (n) => Array.from({ length: BIG }, (_, index) => index * n),
}

/** A value in words: its kind and a number. */
const aValue = fc.tuple(fc.constantFrom(...Object.keys(VALUES)), fc.nat(9))

/** The value that words stand for, a new one at each call; `undefined` for none. */
const valueOf = (words) => words && VALUES[words[0]](words[1])

/** Changes a value as its owner may: nobody else must see it. */
function scribbleOn(value) {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) value.push('scribble')
  else if (Buffer.isBuffer(value)) value.fill(1)
  else if (value instanceof Date) value.setTime(1)
  else if (value instanceof Map) value.set('scribble', 1)
  else value.scribble = 1
}

module.exports = { aValue, scribbleOn, valueOf }
