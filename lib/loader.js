'use strict'
/**
 * getOrSet: a hit in L1 at once, else a load (load.js).
 */
const { OPTIONS, readCall } = require('./calls.js')
const { expected, isObject } = require('./checks.js')
const { LOST, attempt } = require('./handle.js')
const { KIND, SCRATCH } = require('./kinds.js')
const { loadOf, renewalOf, startLoad, thousandths } = require('./load.js')
const { AS } = require('./reads.js')
const trace = require('./trace.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./load.js').Load} Load */
/** @typedef {import('./load.js').Factory} Factory */

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {Factory} factory
 * @param {unknown} opts
 * @returns {Promise<any>}
 */
function getOrSet(handle, key, factory, opts) {
  return attempt(() => {
    if (typeof factory !== 'function') throw expected('factory', 'a function', factory)
    if (!isPlain(handle, opts)) return getOrSetWith(handle, key, factory, opts)
    const began = trace.begin()
    const near = handle.near?.get(key)
    if (near !== undefined) {
      trace.hit(handle, began, 'getOrSet', key)
      return Promise.resolve(near)
    }
    const value = handle.hit(key, AS.decoded, 0)
    if (handle.scratch[SCRATCH.KIND] === KIND.MISS)
      return startLoad(loadOf(handle, key, factory, readCall(opts, OPTIONS.load), false))
    const result = handle.decodeHit(key, value)
    if (result === LOST) return startLoad(loadOf(handle, key, factory, readCall(opts, OPTIONS.load), true))
    trace.hit(handle, began, 'getOrSet', key)
    return Promise.resolve(result)
  })
}

/** The options of which a hit needs to know no more than that they are right. */
const PLAIN = Object.assign(Object.create(null), OPTIONS.load)
for (const name of ['signal', 'fresh', 'eagerRefresh']) delete PLAIN[name]

/**
 * Checks the options of a call whose hit depends on none of them; most calls are hits, for which no more is made of them.
 * `false`: they are to be read first.
 * @param {Handle} handle
 * @param {any} opts
 */
function isPlain({ loader, shared }, opts) {
  if (shared.closed || loader['fresh'] === true || loader['eagerRefresh'] !== undefined) return false
  if (opts === undefined) return true
  if (!isObject(opts)) return false
  for (const name of Object.keys(opts)) {
    const value = opts[name]
    if (value === undefined) continue
    const check = PLAIN[name]
    if (check === undefined) return false
    check(value, name)
  }
  return true
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {Factory} factory
 * @param {unknown} opts
 * @returns {Promise<any>}
 */
function getOrSetWith(handle, key, factory, opts) {
  const { load, ...hit } = hitOf(handle, key, readCall(opts, OPTIONS.load))
  const loading = load && startLoad(load(factory))
  if (!('value' in hit)) return /** @type {Promise<any>} */ (loading)
  // What becomes of a renewal is told to nobody: who asks next finds it, or tries again.
  loading?.catch(() => {})
  return Promise.resolve(hit.value)
}

/**
 * What L1 has of a key, if it will do, and the load that is to bring its value or to renew it.
 * @param {Handle} handle
 * @param {string} key
 * @param {Record<string, any>} read
 * @returns {{ value?: unknown, load?: (factory: Factory) => Load }} at least one of them
 */
function hitOf(handle, key, read) {
  const { fresh = handle.loader['fresh'] === true, eagerRefresh = handle.loader['eagerRefresh'] } = read
  const load = (/** @type {boolean} */ isFresh) => (/** @type {Factory} */ factory) =>
    loadOf(handle, key, factory, read, isFresh)
  if (fresh || read['signal']?.aborted || handle.shared.closed) return { load: load(fresh) }
  const began = trace.begin()
  const found = handle.hit(key, eagerRefresh === undefined ? AS.decoded : AS.decodedWithShare, 0)
  if (handle.scratch[SCRATCH.KIND] === KIND.MISS) return { load: load(false) }
  const isDue =
    eagerRefresh !== undefined && Number(handle.scratch[SCRATCH.SPENT]) >= thousandths(eagerRefresh)
  const value = handle.decodeHit(key, found)
  if (value === LOST) return { load: load(true) }
  trace.hit(handle, began, 'getOrSet', key)
  return isDue ? { value, load: (factory) => renewalOf(handle, key, factory, read) } : { value }
}

exports.getOrSet = getOrSet
exports.hitOf = hitOf
