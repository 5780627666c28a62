'use strict'
/** What the groups of options may hold: the tables by which options.js and calls.js check. */
const { check, checks, duration, expected, isObject, oneOf, readOptions } = require('./checks.js')

/** @typedef {import('./checks.js').Check} Check */
/** @typedef {import('./checks.js').Table} Table */

/** What an entry may be given, in a call or as a default. */
const ENTRY = {
  ttl: duration({ or: [null] }),
  l1Ttl: duration(),
  staleFor: duration({ zero: true }),
  jitter: checks.share,
  tags: checks.tags,
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
  compress,
  timeout: duration(),
  softTimeout: duration({ or: ['auto', false] }),
}

/** What getOrSet may be told beside the entry's options, in a call or as a default. */
const LOADER = {
  ...ENTRY,
  strict: checks.flag,
  factorySoftTimeout: duration({ zero: true }),
  factoryTimeout: duration({ or: [false] }),
  l2SoftTimeout: duration({ or: ['auto', false] }),
  eagerRefresh: check(
    'a number above 0 and below 1',
    (value) => value > 0 && value < 1 && typeof value === 'number',
  ),
  retryAfter: duration({ zero: true }),
  nullTtl: duration(),
  errorTtl: duration({ zero: true }),
  lock: checks.flag,
  fresh: checks.flag,
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
function compress(value, path) {
  if (typeof value === 'boolean') return value
  if (!isObject(value)) throw expected(path, 'a boolean or an object', value)
  return readOptions(value, path, { above: checks.count })
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
exports.LOADER = LOADER
exports.QUOTA = QUOTA
exports.group = group
