'use strict'
/**
 * The arguments of calls: keys, globs and the options of every method. Types are checked here; the length of a key, its
 * surrogates and the names that are reserved are the native side's to check.
 */
const { CacheError } = require('./errors.js')
const {
  check,
  checks,
  describe,
  duration,
  expected,
  isObject,
  oneOf,
  readOptions,
  refused,
} = require('./checks.js')
const { ENTRY, LOADER } = require('./groups.js')

const signal = check(
  'an AbortSignal',
  (value) => typeof value?.aborted === 'boolean' && typeof value.addEventListener === 'function',
)

const CALL = { signal, strict: checks.flag }
const WRITE = { ...CALL, ...ENTRY, wait: checks.flag }
/** The options that each method takes. */
const OPTIONS = {
  call: CALL,
  get: { ...CALL, as: oneOf('string', 'buffer') },
  set: { ...WRITE, onlyIf: oneOf('absent', 'present') },
  setMany: WRITE,
  entry: { ...ENTRY, key: keyed, value: keyed },
  pattern: { ...CALL, onProgress: checks.func, wholeDatabase: checks.flag },
  keys: { ...CALL, limit: checks.count },
  clear: { ...CALL, wholeDatabase: checks.flag },
  increment: { ...CALL, ttl: ENTRY.ttl },
  load: { ...CALL, ...LOADER },
  warm: {
    signal,
    ...ENTRY,
    load: checks.func,
    concurrency: checks.count,
    batch: checks.count,
    start: check('a non-negative integer', (value) => Number.isSafeInteger(value) && value >= 0),
    onProgress: checks.func,
  },
  lock: { ...CALL, ttl: duration(), wait: duration({ zero: true }) },
  command: { ...CALL, timeout: duration(), buffers: checks.flag },
  wait: { ...CALL, timeout: duration() },
  health: { verbose: checks.flag },
  metrics: { openMetrics: checks.flag },
}

/** What `wrap` takes: the options of `load`, two of which may be functions here, and where its keys come from. */
const WRAP = {
  ...OPTIONS.load,
  key: check(
    'a non-empty string or a function of the arguments',
    (value) => typeof value === 'function' || (typeof value === 'string' && value !== ''),
  ),
  ttl: orFunction(OPTIONS.load.ttl),
  tags: orFunction(OPTIONS.load.tags),
}

/** @param {unknown} value */
function keyed(value) {
  return value
}

/**
 * @param {import('./checks.js').Check} check
 * @returns {import('./checks.js').Check}
 */
function orFunction(check) {
  return (value, path) => (typeof value === 'function' ? value : check(value, path))
}

const NONE = Object.freeze({})

/**
 * @param {unknown} given
 * @param {import('./checks.js').Table} table
 * @returns {Record<string, any>}
 */
function readCall(given, table) {
  if (given === undefined) return NONE
  if (!isObject(given))
    throw expected(
      'options',
      'an object',
      given,
      Object.hasOwn(table, 'ttl') ? 'pass { ttl: 60_000 } (milliseconds)' : undefined,
    )
  return readOptions(given, '', table)
}

/**
 * What an entry is given, as far as it depends on the cache: the plain format has no place for some of it.
 * @param {Record<string, any>} call
 * @param {import('./handle.js').Handle} handle
 */
function checkEntry(call, handle) {
  const { staleFor, tags } = call
  if (tags !== undefined) checkTags(tags, handle)
  if (handle.shared.config['l2']?.format !== 'plain') return
  if (staleFor) throw refused('Expected `staleFor` to be absent with `l2.format: "plain"`, got both')
  if (tags?.length > 0) throw refused('Expected `tags` to be absent with `l2.format: "plain"`, got both')
}

/**
 * The length of tags, which the prefix of a view is part of.
 * @param {readonly string[]} tags
 * @param {import('./handle.js').Handle} handle
 */
function checkTags(tags, handle) {
  const { tagBytes } = handle
  const long = tags.findIndex((tag) => tag.length * 3 > tagBytes && Buffer.byteLength(tag) > tagBytes)
  if (long >= 0)
    throw refused(`Expected \`tags[${long}]\` to be at most ${tagBytes} bytes, got ${describe(tags[long])}`)
}

/**
 * @param {unknown} key
 * @param {string} [path]
 * @returns {asserts key is string}
 */
function checkKey(key, path = 'key') {
  if (typeof key === 'string' && key !== '') return
  throw new CacheError('ERR_CACHE_KEY', `Expected \`${path}\` to be a non-empty string, got ${describe(key)}`)
}

/**
 * @param {unknown} keys
 * @returns {asserts keys is readonly string[]}
 */
function checkKeys(keys) {
  if (!Array.isArray(keys))
    throw new CacheError('ERR_CACHE_KEY', `Expected \`keys\` to be an array, got ${describe(keys)}`)
  keys.forEach((key, index) => checkKey(key, `keys[${index}]`))
}

/** The ttl of `touch` and `setTtl`, where it must be given. @param {unknown} ttl @returns {number | null} */
function checkTtl(ttl) {
  return ENTRY.ttl(ttl, 'ttl')
}

/** A life that ends. @param {unknown} ms @returns {number} */
function checkLife(ms) {
  return OPTIONS.lock.ttl(ms, 'ms')
}

exports.OPTIONS = { ...OPTIONS, wrap: WRAP }
exports.checkEntry = checkEntry
exports.checkKey = checkKey
exports.checkLife = checkLife
exports.checkKeys = checkKeys
exports.checkTtl = checkTtl
exports.readCall = readCall
exports.checkTags = checkTags
