'use strict'
/** The state of one walk over a value that is to be stored, which rich.js does, and how a place in a value is written. */
const { CacheError } = require('./errors.js')

/** @typedef {string | number | { entry: unknown }} Step */

/** One walk over one value: where it is, whether it needed more than JSON. */
class Walk {
  /** @param {boolean} plain refuse what JSON lacks */
  constructor(plain) {
    this.plain = plain
    this.rich = false
    /** @type {Step[]} */
    this.steps = []
    /** @type {object[]} */
    this.ancestors = []
  }

  /** @param {string} what */
  refuse(what) {
    return new CacheError('ERR_CACHE_VALUE', `Expected \`${this.path()}\` to be storable, got ${what}`)
  }

  path() {
    return pathOf('value', this.steps)
  }

  /**
   * @param {string} name
   * @param {unknown} content
   * @param {string} what
   */
  tag(name, content, what) {
    if (this.plain) throw this.refuse(`${what}, which the plain format cannot hold`)
    this.rich = true
    return { [name]: content }
  }
}

/**
 * The place that steps lead to, as JavaScript would write it.
 * @param {string} root
 * @param {readonly Step[]} steps
 */
function pathOf(root, steps) {
  let path = root
  for (const step of steps) {
    if (typeof step === 'number') path += `[${step}]`
    else if (typeof step === 'object')
      path += `.get(${typeof step.entry === 'string' ? JSON.stringify(step.entry) : '…'})`
    else
      path += /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
  }
  return path
}

exports.Walk = Walk
exports.pathOf = pathOf
