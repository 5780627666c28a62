'use strict'
/**
 * The grammar of every complaint about an argument, ``Expected `x.y` to be …, got …``, and the checks that options of
 * the constructor and of calls share. A check returns the value to go on with (durations are rounded up to whole
 * milliseconds) or throws ERR_CACHE_OPTIONS. What options exist is said in options.js, redis-options.js and calls.js.
 */
const { CacheError } = require('./errors.js')
const { nearestName } = require('./names.js')

/** @typedef {(value: unknown, path: string) => any} Check */
/** @typedef {Readonly<Record<string, Check>>} Table */

/**
 * How a message shows a value: short, and never the inside of an object.
 * @param {unknown} value
 */
function describe(value) {
  if (typeof value === 'string')
    return value === ''
      ? 'an empty string'
      : JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (Object.is(value, -0)) return '-0'
  if (value === null || ['number', 'boolean', 'undefined'].includes(typeof value)) return String(value)
  return describeType(value)
}

/**
 * The same for a value that may be a secret: its type only.
 * @param {unknown} value
 */
function describeType(value) {
  if (value === null || value === undefined) return String(value)
  if (value === '') return 'an empty string'
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Promise) return 'a promise'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/**
 * @param {string} path
 * @param {string} wanted
 * @param {unknown} value
 * @param {string} [hint]
 */
function expected(path, wanted, value, hint) {
  return refused(
    `Expected \`${path}\` to be ${wanted}, got ${describe(value)}${hint === undefined ? '' : `; ${hint}`}`,
  )
}

/** @param {string} message */
function refused(message) {
  return new CacheError('ERR_CACHE_OPTIONS', message)
}

/**
 * @param {string} path
 * @param {string} name
 */
function join(path, name) {
  return path === '' ? name : `${path}.${name}`
}

/**
 * Checks an object of options against a table; what is `undefined` counts as absent.
 * @param {unknown} options
 * @param {string} path where the object stands, `''` for the outermost
 * @param {Table} table
 * @returns {Record<string, any>}
 */
function readOptions(options, path, table) {
  if (!isObject(options)) throw expected(path || 'options', 'an object', options)
  /** @type {Record<string, unknown>} */
  const read = {}
  for (const name of Object.keys(options)) {
    const value = options[name]
    if (value === undefined) continue
    const known = Object.hasOwn(table, name) ? table[name] : undefined
    if (known === undefined) throw unknown(path, name, Object.keys(table))
    read[name] = known(value, join(path, name))
  }
  return read
}

/**
 * @param {string} path
 * @param {string} name
 * @param {readonly string[]} known
 */
function unknown(path, name, known) {
  const nearest = nearestName(name, known)
  const advice =
    nearest === undefined ? `known are ${known.join(', ')}` : `did you mean \`${join(path, nearest)}\`?`
  return refused(`Expected \`${join(path, name)}\` to be absent, got an unknown option; ${advice}`)
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * A check out of a predicate.
 * @param {string} wanted
 * @param {(value: any) => boolean} holds
 * @returns {Check}
 */
function check(wanted, holds) {
  return (value, path) => {
    if (!holds(value)) throw expected(path, wanted, value)
    return value
  }
}

/**
 * @param {...(string | number | boolean | null)} choices
 * @returns {Check}
 */
function oneOf(...choices) {
  const names = choices.map((choice) => describe(choice))
  const wanted = names.length === 1 ? String(names[0]) : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`
  return check(wanted, (value) => choices.includes(value))
}

/**
 * A number of milliseconds, or one of a few words beside it.
 * @param {{ zero?: boolean, or?: (string | boolean | null)[] }} [allowed]
 * @returns {Check}
 */
function duration({ zero = false, or = [] } = {}) {
  const also = or.map((word) => ` or ${describe(word)}`).join('')
  const wanted = `a ${zero ? 'non-negative' : 'positive'} number of milliseconds${also}`
  return (value, path) => {
    if (or.includes(/** @type {any} */ (value))) return value
    const holds =
      typeof value === 'number' && value <= Number.MAX_SAFE_INTEGER && (value > 0 || (zero && value === 0))
    if (!holds) throw expected(path, wanted, value)
    return Math.ceil(value)
  }
}

/**
 * A check whose message shows no more of the value than its type.
 * @param {string} wanted
 * @param {(value: any) => boolean} holds
 * @returns {Check}
 */
function secret(wanted, holds) {
  return (value, path) => {
    if (!holds(value)) throw refused(`Expected \`${path}\` to be ${wanted}, got ${describeType(value)}`)
    return value
  }
}

/**
 * @param {string} reason
 * @returns {Check}
 */
function refuse(reason) {
  return (value, path) => {
    if (value) throw refused(`Expected \`${path}\` to be absent, got ${describeType(value)}; ${reason}`)
  }
}

/**
 * ioredis' own defaults are full of `null` for "not given".
 * @param {unknown} options
 */
function dropNulls(options) {
  if (!isObject(options)) return options
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null))
}

/**
 * A list of names.
 * @param {string} text
 */
function words(text) {
  return text.trim().split(/\s+/)
}

/** What an entry's envelope holds of tags. */
const MOST_TAGS = 255

/**
 * Names of tags.
 * @type {Check}
 */
function tags(value, path) {
  if (!Array.isArray(value)) throw expected(path, 'an array of non-empty strings', value)
  if (value.length > MOST_TAGS)
    throw refused(`Expected \`${path}\` to be at most ${MOST_TAGS} tags, got ${value.length}`)
  value.forEach((tag, index) => {
    if (typeof tag !== 'string' || tag === '' || !tag.isWellFormed())
      throw expected(`${path}[${index}]`, 'a non-empty, well-formed string', tag)
  })
  return [...value]
}

const checks = {
  count: check('a positive integer', (value) => Number.isSafeInteger(value) && value > 0),
  flag: check('a boolean', (value) => typeof value === 'boolean'),
  text: check('a non-empty string', (value) => typeof value === 'string' && value !== ''),
  share: check('a number from 0 to 1', (value) => value >= 0 && value <= 1 && typeof value === 'number'),
  rate: check('a number above 0, at most 1', (value) => value > 0 && value <= 1 && typeof value === 'number'),
  tags,
  func: check('a function', (value) => typeof value === 'function'),
}

exports.check = check
exports.checks = checks
exports.describe = describe
exports.describeType = describeType
exports.duration = duration
exports.expected = expected
exports.isObject = isObject
exports.oneOf = oneOf
exports.readOptions = readOptions
exports.refused = refused
exports.dropNulls = dropNulls
exports.refuse = refuse
exports.secret = secret
exports.words = words
