'use strict'
/**
 * The key that a list of arguments makes below a prefix: the canonical JSON of each, joined by `:`.
 *
 * | argument | text |
 * |---|---|
 * | string, number, boolean, `null` | as JSON; `-0` is `0` |
 * | array | as JSON, without white space |
 * | object | as JSON, without white space, names in the order of their UTF-16; what is `undefined` is absent |
 * | `undefined` | empty; the last ones are not given |
 *
 * A JSON text says itself where it ends, so no `:` inside one is taken for one between two: below one prefix, other lists
 * have other keys. What JSON would make the same as something else (a Date and its text, a Map and `{}`, NaN and null) is
 * refused, never guessed. Only own properties are looked at.
 */
const { describeType } = require('./checks.js')
const { CacheError, messageOf } = require('./errors.js')
const { describeInstance, isPlain } = require('./plain.js')
const { pathOf } = require('./walk.js')

/** Levels of an argument at most, far from where the stack ends. */
const MAX_DEPTH = 64
/** Characters at most. No key is longer in UTF-8, which the native side checks; so nothing is walked in vain. */
const MAX_LENGTH = 32 * 1024

/**
 * @typedef {object} Walk
 * @property {(string | number)[]} steps from the list of arguments to where the walk is
 * @property {object[]} ancestors
 * @property {number} length of what was written
 */

/**
 * @param {string} prefix
 * @param {readonly unknown[]} args
 * @returns {string} throws ERR_CACHE_KEY, naming the place, for what has no text of its own
 */
function argumentsKey(prefix, args) {
  let count = args.length
  while (count > 0 && args[count - 1] === undefined) count--
  const walk = { steps: [], ancestors: [], length: prefix.length }
  let key = prefix
  for (let index = 0; index < count; index++)
    key += `:${args[index] === undefined ? '' : within(walk, index, args[index])}`
  return key
}

/**
 * The text of what stands one step further in.
 * @param {Walk} walk
 * @param {string | number} step
 * @param {unknown} value
 * @returns {string}
 */
function within(walk, step, value) {
  walk.steps.push(step)
  const text = textOf(walk, value)
  walk.steps.pop()
  return text
}

/**
 * @param {Walk} walk
 * @param {unknown} value
 */
function textOf(walk, value) {
  switch (typeof value) {
    case 'string':
      return textOfString(walk, value)
    case 'number':
      if (!Number.isFinite(value)) throw refusal(walk, String(value))
      return written(walk, String(value))
    case 'boolean':
      return written(walk, String(value))
    case 'object':
      return value === null ? written(walk, 'null') : textOfObject(walk, value)
    default:
      throw refusal(walk, describeType(value))
  }
}

/**
 * @param {Walk} walk
 * @param {string} value
 */
function textOfString(walk, value) {
  if (!value.isWellFormed()) throw refusal(walk, 'a text with a lone surrogate')
  return written(walk, JSON.stringify(value))
}

/**
 * Counts what is written.
 * @param {Walk} walk
 * @param {string} text
 */
function written(walk, text) {
  walk.length += text.length
  if (walk.length > MAX_LENGTH) throw refusal(walk, 'more than a key may hold')
  return text
}

/**
 * @param {Walk} walk
 * @param {object} value
 */
function textOfObject(walk, value) {
  if (walk.ancestors.includes(value)) throw refusal(walk, 'a cycle')
  if (walk.ancestors.length === MAX_DEPTH) throw refusal(walk, `more than ${MAX_DEPTH} levels`)
  walk.ancestors.push(value)
  const text = readable(walk, () => textOfMembers(walk, value))
  walk.ancestors.pop()
  return text
}

/**
 * Getters and proxies may throw anything.
 * @param {Walk} walk
 * @param {() => string} read
 */
function readable(walk, read) {
  try {
    return read()
  } catch (error) {
    if (error instanceof CacheError) throw error
    throw refusal(walk, `an error while reading it: ${messageOf(error)}`, { cause: error })
  }
}

/**
 * @param {Walk} walk
 * @param {object} value
 */
function textOfMembers(walk, value) {
  if (!isPlain(value)) throw refusalOfInstance(walk, value)
  const text = Array.isArray(value)
    ? textOfList(walk, value)
    : textOfRecord(walk, /** @type {Record<string, unknown>} */ (value))
  // What has no members counts too: one empty array may stand in a million places.
  written(walk, '[]')
  return text
}

/**
 * @param {Walk} walk
 * @param {readonly unknown[]} list
 */
function textOfList(walk, list) {
  /** @type {string[]} */
  const texts = []
  // By index, since a hole is `undefined` too, which JSON would make null.
  for (let index = 0; index < list.length; index++) texts.push(within(walk, index, list[index]))
  if (Reflect.ownKeys(list).length > list.length + 1)
    throw refusal(walk, 'an array with properties of its own')
  return `[${texts.join(',')}]`
}

/**
 * @param {Walk} walk
 * @param {Record<string, unknown>} record
 */
function textOfRecord(walk, record) {
  const names = Object.keys(record)
  if (Reflect.ownKeys(record).length > names.length)
    throw refusal(walk, 'an object with symbols for names or with hidden properties')
  if (typeof record['toJSON'] === 'function') throw refusal(walk, 'an object with toJSON')
  /** @type {string[]} */
  const texts = []
  for (const name of names.sort()) {
    const value = record[name]
    if (value === undefined) continue
    texts.push(`${textOfString(walk, name)}:${within(walk, name, value)}`)
  }
  return `{${texts.join(',')}}`
}

/**
 * @param {Walk} walk
 * @param {{ aborted?: unknown }} value
 */
function refusalOfInstance(walk, value) {
  // Functions that can be cancelled are given a signal, which says nothing of what they answer.
  const leaving = typeof value.aborted === 'boolean' ? ' that leaves the signal out' : ''
  return refusal(walk, describeInstance(value), { leaving })
}

/**
 * @param {Walk} walk
 * @param {string} what
 * @param {{ cause?: unknown, leaving?: string }} [more]
 */
function refusal(walk, what, { cause, leaving = '' } = {}) {
  const path = pathOf('arguments', walk.steps)
  return new CacheError(
    'ERR_CACHE_KEY',
    `Expected \`${path}\` to be plain JSON, got ${what}; pass a key function${leaving}: { key: (id) => \`user:\${id}\` }`,
    cause === undefined ? {} : { cause },
  )
}

exports.argumentsKey = argumentsKey
