'use strict'
/**
 * wrap: a function with a cache before it. getOrSet and delete do the work; here is what the arguments of a call add to
 * it: the key that they make (arguments-key.js), and options that depend on them and on the value.
 *
 * The functions among the options belong to the caller. One that makes no key has no entry to look for, so the call
 * rejects. One that fails once the value is there does not take the value from those who wait for it: it is returned, is
 * not stored, since what was asked for its entry is unknown, and the warning `wrap-option-failed` says why.
 */
const { types } = require('node:util')
const { argumentsKey } = require('./arguments-key.js')
const { OPTIONS, checkKey, readCall } = require('./calls.js')
const { describe, expected, isObject } = require('./checks.js')
const { CacheError, messageOf } = require('./errors.js')
const { attempt } = require('./handle.js')
const { getOrSet } = require('./loader.js')
const { remove } = require('./writes.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {(...args: any[]) => unknown} Callee */
/** @typedef {import('../index.js').FactoryContext} Context */

/**
 * @typedef {object} Wrapping
 * @property {Handle} handle
 * @property {Callee} fn
 * @property {string | Callee} key
 * @property {Record<string, unknown> | undefined} options of getOrSet
 * @property {[name: 'ttl' | 'tags', choose: Callee][]} chosen what is decided about an entry once its value is there
 */

/** How what was chosen reaches the entry; throws for what it cannot be. */
const APPLY = {
  /** @param {Context} context @param {any} ttl */
  ttl: (context, ttl) => context.setTtl(ttl),
  /** @param {Context} context @param {any} tags */
  tags(context, tags) {
    if (!Array.isArray(tags)) throw expected('tags', 'an array of strings', tags)
    context.setTags(...tags)
  },
}

/**
 * @param {Handle} handle
 * @param {Callee} fn
 * @param {unknown} opts
 */
function wrap(handle, fn, opts) {
  const wrapping = wrappingOf(handle, fn, opts)
  /** @this {unknown} @param {...unknown} args */
  function wrapped(...args) {
    return load(wrapping, this, args, wrapping.options)
  }
  // In `wrapped.fresh(…)` the receiver is `wrapped`, which the caller's functions do not mean by `this`.
  Object.assign(
    wrapped,
    methodsOf(wrapping, (receiver) => (receiver === wrapped ? undefined : receiver)),
  )
  return Object.defineProperties(wrapped, {
    name: { value: fn.name, configurable: true },
    length: { value: fn.length, configurable: true },
  })
}

/**
 * What a wrapped function can do beside being called.
 * @param {Wrapping} wrapping
 * @param {(receiver: unknown) => unknown} outer
 */
function methodsOf(wrapping, outer) {
  const { handle, options = {} } = wrapping
  const fresh = { ...options, fresh: true }
  const { signal, strict } = options
  return {
    /** @this {unknown} @param {...unknown} args */
    fresh(...args) {
      return load(wrapping, outer(this), args, fresh)
    },
    /** @this {unknown} @param {...unknown} args */
    delete(...args) {
      return attempt(() => remove(handle, keyOf(wrapping, outer(this), args), { signal, strict }))
    },
    /** @this {unknown} @param {...unknown} args */
    keyOf(...args) {
      return keyOf(wrapping, outer(this), args)
    },
  }
}

/**
 * @param {Handle} handle
 * @param {Callee} fn
 * @param {unknown} opts
 * @returns {Wrapping}
 */
function wrappingOf(handle, fn, opts) {
  if (typeof fn !== 'function') throw expected('fn', 'a function', fn, formOf(fn))
  if (!isObject(opts)) throw expected('options', 'an object', opts, "write wrap(fn, { key: 'user' })")
  const { key, ...options } = readCall(opts, OPTIONS.wrap)
  if (key === undefined) throw expected('key', 'a non-empty string or a function of the arguments', key)
  /** @type {Wrapping['chosen']} */
  const chosen = []
  for (const name of /** @type {const} */ (['ttl', 'tags'])) {
    if (typeof options[name] !== 'function') continue
    chosen.push([name, options[name]])
    delete options[name]
  }
  return { handle, fn, key, chosen, options: Object.keys(options).length === 0 ? undefined : options }
}

/** Elsewhere the key comes first, and means one entry. @param {unknown} given */
function formOf(given) {
  if (typeof given !== 'string') return undefined
  const key = describe(given)
  return `write wrap(fn, { key: ${key} }) for an entry for each list of arguments, getOrSet(${key}, fn) for one entry`
}

/**
 * @param {Wrapping} wrapping
 * @param {unknown} receiver
 * @param {unknown[]} args
 * @param {Record<string, unknown> | undefined} options
 */
function load(wrapping, receiver, args, options) {
  return attempt(() => {
    const key = keyOf(wrapping, receiver, args)
    return getOrSet(wrapping.handle, key, factoryOf(wrapping, receiver, args), options)
  })
}

/**
 * @param {Wrapping} wrapping
 * @param {unknown} receiver
 * @param {unknown[]} args
 * @returns {string}
 */
function keyOf({ key }, receiver, args) {
  if (typeof key === 'string') return argumentsKey(key, args)
  const made = keyMadeBy(key, receiver, args)
  checkKey(made, 'key(…)')
  return made
}

/**
 * @param {Callee} key
 * @param {unknown} receiver
 * @param {unknown[]} args
 */
function keyMadeBy(key, receiver, args) {
  try {
    return quiet(key.apply(receiver, args))
  } catch (error) {
    throw new CacheError(
      'ERR_CACHE_KEY',
      `Expected \`key(…)\` to be a non-empty string, got an error: ${messageOf(error)}`,
      { cause: error },
    )
  }
}

/**
 * @param {Wrapping} wrapping
 * @param {unknown} receiver
 * @param {unknown[]} args
 * @returns {import('./load.js').Factory}
 */
function factoryOf(wrapping, receiver, args) {
  const { fn, chosen } = wrapping
  if (chosen.length === 0) return () => fn.apply(receiver, args)
  return async (context) => {
    const value = await fn.apply(receiver, args)
    // Without an entry there is nothing to decide.
    if (value !== undefined) adjust(wrapping, context, receiver, [value, ...args])
    return value
  }
}

/**
 * Hands on what the options that are functions decide about an entry.
 * @param {Wrapping} wrapping
 * @param {Context} context
 * @param {unknown} receiver
 * @param {[value: unknown, ...args: unknown[]]} given
 */
function adjust({ handle, fn, chosen }, context, receiver, given) {
  for (const [name, choose] of chosen) {
    try {
      APPLY[name](context, quiet(choose.apply(receiver, given)))
    } catch (error) {
      context.skip()
      handle.warn(
        'wrap-option-failed',
        `What \`${name}\` gave for a value of the wrapped function ${describe(fn.name || 'anonymous')} cannot be used, and the value was not stored: ${messageOf(error)}`,
      )
      return
    }
  }
}

/**
 * An async function where none belongs is told of at once; its later rejection must not end the process.
 * @param {unknown} result
 */
function quiet(result) {
  if (types.isPromise(result)) result.catch(() => {})
  return result
}

exports.wrap = wrap
