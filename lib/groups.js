'use strict'
/** What the groups of options may hold: the tables by which options.js and calls.js check. */
const { check, checks, duration, expected, later, oneOf, readOptions } = require('./checks.js')

/** @typedef {import('./checks.js').Check} Check */
/** @typedef {import('./checks.js').Table} Table */

/** Options of getOrSet that a later version brings. */
const LATER = [
  'tags',
  'factorySoftTimeout',
  'eagerRefresh',
  'retryAfter',
  'nullTtl',
  'errorTtl',
  'lock',
  'fresh',
]

/** What an entry may be given, in a call or as a default. */
const ENTRY = {
  ttl: duration({ or: [null] }),
  l1Ttl: duration(),
  staleFor: duration({ zero: true }),
  jitter: checks.share,
}

const L1 = {
  ttl: duration(),
  maxBytes: checks.count,
  maxEntries: checks.count,
  shareObjects: checks.flag,
  plainTtl: duration(),
}

const L2 = {
  ttl: duration({ or: [null] }),
  format: oneOf('envelope', 'plain'),
  maxValueBytes: check(
    'a positive integer, at most 512 MiB',
    (value) => Number.isInteger(value) && value > 0 && value <= 2 ** 29,
  ),
  timeout: duration(),
  softTimeout: duration({ or: ['auto', false] }),
}

const LOADER = {
  ...ENTRY,
  strict: checks.flag,
  factoryTimeout: duration({ or: [false] }),
  l2SoftTimeout: duration({ or: ['auto', false] }),
  ...Object.fromEntries(LATER.map((name) => [name, later])),
}

const HEALTH = { interval: duration({ zero: true }), timeout: duration() }

const BREAKER = {
  window: duration(),
  minCalls: checks.count,
  failureRate: checks.rate,
  slowRate: checks.rate,
  openFor: duration(),
  maxOpenFor: duration(),
  probes: checks.count,
}

const QUOTA = {
  commands: checks.count,
  window: oneOf('day', 'month'),
  connections: check(
    'a positive integer or "server"',
    (value) => value === 'server' || (Number.isSafeInteger(value) && value > 0),
  ),
  warnAt: shares,
}

/** @type {Check} */
function shares(value, path) {
  if (!Array.isArray(value)) throw expected(path, 'an array of numbers above 0, at most 1', value)
  return value.map((each, index) => checks.rate(each, `${path}[${index}]`))
}

/**
 * @param {Table} table
 * @returns {Check}
 */
function group(table) {
  return (value, path) => readOptions(value, path, table)
}

exports.BREAKER = BREAKER
exports.ENTRY = ENTRY
exports.HEALTH = HEALTH
exports.L1 = L1
exports.L2 = L2
exports.LATER = LATER
exports.LOADER = LOADER
exports.QUOTA = QUOTA
exports.group = group
