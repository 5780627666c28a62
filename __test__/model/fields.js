'use strict'

// What the records of operations are made of, and what is said to the cache for them. Durations in records are ticks: halves for
// lives, so that none ends while a round is under way, and whole ones for what begins at the end of a life.

const fc = require('fast-check')
const { FEATURES, where } = require('./features.js')
const { aValue, scribbleOn, valueOf } = require('./values.js')

/** Few, so that operations meet. */
const KEYS = ['a', 'ab', 'b:1', '*']
const TAGS = ['red', 'blue']

/** Globs with what they match, of those keys. */
const GLOBS = {
  'a*': /^a/,
  '*': /^/,
  '?': /^.$/,
  'b:[0-9]': /^b:\d$/,
  '\\*': /^\*$/,
  '[^a]*': /^[^a]/,
  none: /^none$/,
}

const aKey = fc.constantFrom(...KEYS)
const someKeys = fc.array(aKey, { maxLength: 4 })
const aGlob = fc.constantFrom(...Object.keys(GLOBS))
const aTtl = fc.constantFrom(1.5, 0.5, 2.5, null)
const someTags = fc.uniqueArray(fc.constantFrom(...TAGS), { minLength: 1, maxLength: 2 })
/** A stale window of one tick, and one that nobody sees the end of. */
const STALE_TICK = 1
const aStaleWindow = fc.constantFrom(STALE_TICK, 20)

/** How an entry is to live. */
const ENTRY = {
  ttl: aTtl,
  l1Ttl: fc.constantFrom(1.2, 0.1),
  ...where(FEATURES.loader, { staleFor: aStaleWindow, tags: someTags }),
}

const DURATIONS = ['ttl', 'l1Ttl', 'staleFor', 'nullTtl', 'errorTtl', 'retryAfter']
const AS_THEY_ARE = ['wait', 'onlyIf', 'tags', 'fresh']

const inMs = (ticks, tick) => ticks && Math.round(ticks * tick)

/** The options of a call, of what its record says of them; `undefined` without any. */
function optionsOf(record, tick) {
  const said = (name) => record[name] !== undefined
  const options = Object.fromEntries([
    ...DURATIONS.filter(said).map((name) => [name, inMs(record[name], tick)]),
    ...AS_THEY_ARE.filter(said).map((name) => [name, record[name]]),
  ])
  return Object.keys(options).length === 0 ? undefined : options
}

/** Calls `use` with the values that words stand for, and changes these values afterwards: they are the caller's. */
async function lend(words, use) {
  const values = words.map(valueOf)
  const answer = await use(values)
  values.forEach(scribbleOn)
  return answer
}

/** What fast-check draws for the operation `op`; its weight beside others. */
function recordOf([op, { weight, fields, optional = {} }]) {
  const requiredKeys = ['op', ...Object.keys(fields)]
  const drawn = { op: fc.constant(op), ...fields, ...optional }
  return { weight, arbitrary: fc.record(drawn, { requiredKeys, noNullPrototype: true }) }
}

/** A record of one of these operations. */
const oneOf = (operations) => fc.oneof(...Object.entries(operations).map(recordOf))

module.exports = {
  ENTRY,
  GLOBS,
  STALE_TICK,
  aGlob,
  aKey,
  aTtl,
  aValue,
  inMs,
  lend,
  oneOf,
  optionsOf,
  someKeys,
  someTags,
}
