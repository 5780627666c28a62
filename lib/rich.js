'use strict'
/**
 * The rich notation: JSON text in which what JSON lacks is written as an object of exactly one key that begins with `$`.
 *
 * | value | notation |
 * |---|---|
 * | `Date` | `{"$date": "2026-02-08T07:49:15.000Z"}`, `{"$date": null}` for an invalid one |
 * | `Map` | `{"$map": [[key, value], …]}`, keys and values in this notation, in order |
 * | `Set` | `{"$set": [value, …]}` |
 * | `bigint` | `{"$bigint": "-12345678901234567890"}`, decimal |
 * | `NaN`, `Infinity`, `-Infinity` | `{"$number": "NaN"}`, … |
 * | `Buffer`, `Uint8Array` | `{"$bytes": "…"}`, base64; comes back as a Buffer |
 * | an object whose only key is `$name` | `{"$$name": …}`: one `$` more, taken off when read |
 *
 * A reader that meets a key of this shape which it does not know refuses the text. Where JSON suffices, JSON is written
 * and the notation is not used, so that other programs can read it; the kind in the envelope tells them apart.
 *
 * As in JSON: `undefined` is left out of objects and `null` in arrays (so also in a Map or Set), only own enumerable
 * properties with string keys are written, boxed primitives are unboxed, and `-0` becomes 0. `toJSON` of user objects is
 * called first; those of Date and Buffer are not.
 */
const { types } = require('node:util')
const { CacheError } = require('./errors.js')
const { Walk } = require('./walk.js')

/**
 * A tree that JSON.stringify writes as wanted: the value itself where nothing has to change.
 * @param {Walk} walk
 * @param {unknown} value
 * @param {string} key handed to `toJSON`, as JSON does
 * @returns {unknown}
 */
function note(walk, value, key) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return value
    case 'number':
      return Number.isFinite(value) || walk.plain ? value : walk.tag('$number', String(value), 'a number')
    case 'bigint':
      return walk.tag('$bigint', String(value), 'a bigint')
    case 'object':
      return value === null ? null : noteObject(walk, value, key)
    default:
      throw walk.refuse(`a ${typeof value}`)
  }
}

/**
 * The same for what stands one step further in.
 * @param {Walk} walk
 * @param {import('./walk.js').Step} step
 * @param {unknown} value
 */
function inside(walk, step, value) {
  walk.steps.push(step)
  const noted = note(walk, value, typeof step === 'object' ? '' : String(step))
  walk.steps.pop()
  return noted
}

/**
 * @param {Walk} walk
 * @param {object} value
 * @param {string} key
 */
function noteObject(walk, value, key) {
  const { toJSON } = /** @type {{ toJSON?: unknown }} */ (value)
  if (typeof toJSON === 'function' && !(isNative(value, toJSON) && !(walk.plain && types.isDate(value)))) {
    const replaced = toJSON.call(value, key)
    // JSON calls toJSON once: what it returns is copied without a prototype, so that it is not called again.
    return typeof replaced === 'object' && replaced !== null
      ? noteInside(walk, replaced, true)
      : note(walk, replaced, key)
  }
  return noteInside(walk, value, false)
}

/**
 * Whether a `toJSON` is the one that Date or Buffer brings along, whatever realm it comes from.
 * @param {object} value
 * @param {Function} toJSON
 */
function isNative(value, toJSON) {
  if (types.isDate(value)) return Function.prototype.toString.call(toJSON).includes('[native code]')
  return toJSON === Buffer.prototype.toJSON && types.isUint8Array(value)
}

/**
 * @param {Walk} walk
 * @param {object} value
 * @param {boolean} copied
 * @returns {unknown}
 */
function noteInside(walk, value, copied) {
  if (walk.ancestors.includes(value)) throw walk.refuse('a cycle')
  walk.ancestors.push(value)
  const noted = Array.isArray(value) ? noteArray(walk, value, copied) : noteOther(walk, value, copied)
  walk.ancestors.pop()
  return noted
}

/**
 * @param {Walk} walk
 * @param {unknown[]} list
 * @param {boolean} copied
 */
function noteArray(walk, list, copied) {
  let result = copied ? Array.from(list) : list
  for (let index = 0; index < list.length; index++) {
    const value = list[index]
    const noted = inside(walk, index, value)
    if (noted === value) continue
    if (result === list) result = Array.from(list)
    result[index] = noted
  }
  return result
}

/**
 * @param {Walk} walk
 * @param {object} value
 * @param {boolean} copied
 */
function noteOther(walk, value, copied) {
  const prototype = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return noteProperties(walk, value, copied)
  if (types.isDate(value))
    return walk.tag('$date', Number.isNaN(value.getTime()) ? null : value.toISOString(), 'a Date')
  if (types.isMap(value))
    return walk.tag(
      '$map',
      Array.from(value, ([key, each], index) => [
        inside(walk, index, key),
        inside(walk, { entry: key }, each),
      ]),
      'a Map',
    )
  if (types.isSet(value))
    return walk.tag(
      '$set',
      Array.from(value, (each, index) => inside(walk, index, each)),
      'a Set',
    )
  if (types.isUint8Array(value))
    return walk.tag(
      '$bytes',
      Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'),
      'a Buffer',
    )
  if (types.isBoxedPrimitive(value)) return note(walk, value.valueOf(), '')
  refuseLossy(walk, value)
  return noteProperties(walk, value, copied)
}

/**
 * JSON would write {} for these and lose the content without a word.
 * @param {Walk} walk
 * @param {object} value
 */
function refuseLossy(walk, value) {
  if (types.isPromise(value)) throw walk.refuse('a promise; await it first')
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value))
    throw walk.refuse('binary data; wrap it in a Buffer')
  if (types.isWeakMap(value) || types.isWeakSet(value)) throw walk.refuse('a weak collection')
}

/**
 * @param {Walk} walk
 * @param {object} value
 * @param {boolean} copied
 */
function noteProperties(walk, value, copied) {
  const given = /** @type {Record<string, unknown>} */ (value)
  const names = Object.keys(given)
  let result = copied ? copyOf(given, names) : given
  let written = 0
  let last = ''
  for (const name of names) {
    const each = given[name]
    const noted = inside(walk, name, each)
    if (noted !== undefined) [written, last] = [written + 1, name]
    if (Object.is(noted, each)) continue
    if (result === given) result = copyOf(given, names)
    result[name] = noted
  }
  return written === 1 && last.startsWith('$') && !walk.plain
    ? walk.tag(`$${last}`, result[last], '')
    : result
}

/**
 * Without a prototype, so that a key `__proto__` stays a key.
 * @param {Record<string, unknown>} value
 * @param {string[]} names
 */
function copyOf(value, names) {
  /** @type {Record<string, unknown>} */
  const copy = Object.create(null)
  for (const name of names) copy[name] = value[name]
  return copy
}

/**
 * The text of a value and whether it is in the rich notation rather than JSON.
 * @param {unknown} value
 * @param {boolean} plain refuse what JSON lacks
 * @returns {{ text: string, rich: boolean }} `ERR_CACHE_VALUE`, naming the path, for what cannot be stored
 */
function encodeRich(value, plain) {
  const walk = new Walk(plain)
  try {
    const text = JSON.stringify(note(walk, value, ''))
    if (text === undefined) throw walk.refuse('undefined')
    return { text, rich: walk.rich }
  } catch (error) {
    if (error instanceof CacheError) throw error
    const reason =
      error instanceof RangeError
        ? 'a value that is nested too deeply or too large'
        : `an error while reading it: ${String(Object(error).message ?? error)}`
    throw new CacheError(
      'ERR_CACHE_VALUE',
      `Expected \`${error instanceof RangeError ? 'value' : walk.path()}\` to be storable, got ${reason}`,
      { cause: error },
    )
  }
}

exports.encodeRich = encodeRich
