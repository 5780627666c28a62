'use strict'
/**
 * What is plain: an object or array as a literal makes it, of no class and with nothing of the language's own behind it,
 * in whatever realm it was made. What it holds is not looked at.
 */

/** @param {object} value */
function isPlain(value) {
  const own = Array.isArray(value) ? Array : Object
  const prototype = Object.getPrototypeOf(value)
  // The tag knows dates, errors, boxed primitives and `arguments` whatever their prototype.
  if (tagOf(value) !== own.name) return false
  return prototype === own.prototype || (prototype === null ? own === Object : isForeign(prototype, own))
}

/**
 * Whether a prototype is what `own.prototype` is, in another realm: that of a vm context, as in Jest, where what the
 * modules of Node make is of another realm than the service.
 * @param {{ constructor: unknown }} prototype
 * @param {Function} own
 */
function isForeign(prototype, own) {
  const { constructor } = prototype
  return (
    typeof constructor === 'function' &&
    constructor.prototype === prototype &&
    codeOf(constructor) === codeOf(own)
  )
}

/** @param {Function} code */
function codeOf(code) {
  return Function.prototype.toString.call(code)
}

/** @param {object} value */
function tagOf(value) {
  return Object.prototype.toString.call(value).slice('[object '.length, -1)
}

/**
 * How a message names an object that is not plain.
 * @param {object} value
 */
function describeInstance(value) {
  const names = [value.constructor?.name, tagOf(value)]
  return `an instance of ${names.find((name) => name && name !== 'Object' && name !== 'Array') ?? 'a class'}`
}

exports.describeInstance = describeInstance
exports.isPlain = isPlain
