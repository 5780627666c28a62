'use strict'
/**
 * lock() and withLock(): the lease, its renewal and its loss are native; here is the object that stands for it. One that
 * is collected without having been released is released then.
 */
const { OPTIONS, checkKey, checkLife, readCall } = require('./calls.js')
const { expected } = require('./checks.js')
const { environmentOf } = require('./environment.js')
const { CacheError } = require('./errors.js')
const { attempt, operate } = require('./handle.js')
const { plain } = require('./reads.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */

/** How long a lock is leased at a time, and how long one that somebody else holds is waited for, in ms. */
const DEFAULTS = { ttl: 10_000, wait: 5_000 }

const HELD = Symbol('lock')

/** A lock that is held, and whether it still is. */
class Held {
  #controller = new AbortController()
  over = false

  /**
   * @param {Handle} handle
   * @param {string} key
   * @param {number} id
   */
  constructor(handle, key, id) {
    this.handle = handle
    this.key = key
    this.id = id
    // Who holds nothing but the signal holds the lock.
    Object.defineProperty(this.#controller.signal, HELD, { value: this })
  }

  get signal() {
    return this.#controller.signal
  }

  /** It is somebody else's now, or nobody's. */
  lost() {
    this.over = true
    this.#controller.abort(
      new CacheError('ERR_CACHE_LOCKED', 'The lock was lost: it could not be renewed in time', {
        key: this.key,
      }),
    )
  }

  /** @param {number} ttl */
  extend(ttl) {
    if (this.over) return Promise.resolve(false)
    return operate({ handle: this.handle, name: 'extend', key: this.key, finish: plain }, (own, ticket) =>
      own.extendLock(ticket, this.id, ttl),
    )
  }

  /** @returns {Promise<boolean>} */
  async release() {
    if (this.over) return false
    this.over = true
    environmentOf().locks.delete(this.id)
    try {
      return await operate(
        { handle: this.handle, name: 'release', key: this.key, finish: plain },
        (own, ticket) => own.releaseLock(ticket, this.id),
      )
    } catch {
      // What cannot be told to Redis ends there by itself.
      return false
    }
  }
}

/** @type {Finish} */
function locked(ticket, _kind, [id, fence]) {
  const { key } = /** @type {{ key: string }} */ (ticket.detail)
  const held = new Held(ticket.handle, key, id)
  environmentOf().holds(held)
  const release = () => held.release()
  return {
    key,
    fence: BigInt(fence),
    signal: held.signal,
    /** @param {unknown} ms */
    extend: (ms) => attempt(() => held.extend(checkLife(ms))),
    release,
    ...(Symbol.asyncDispose && { [Symbol.asyncDispose]: release }),
  }
}

/**
 * A cache was closed. With its last handle all of its locks are released already; of one that others go on with, those that
 * were taken here.
 * @param {import('./handle.js').Shared} shared
 */
function dropLocks(shared) {
  const { locks } = environmentOf()
  for (const [id, ref] of locks) {
    const held = ref.deref()
    if (held?.handle.shared !== shared) continue
    held.over = true
    locks.delete(id)
    shared.native.dropLock(id)
  }
}

/** @type {Finish} Nobody is there any more who could hold it. */
function unwanted(ticket, _kind, value) {
  return Array.isArray(value) ? ticket.handle.native.dropLock(value[0]) : undefined
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 * @returns {Promise<any>}
 */
function lock(handle, key, opts) {
  return attempt(() => {
    const { ttl = DEFAULTS.ttl, wait = DEFAULTS.wait, ...call } = readCall(opts, OPTIONS.lock)
    checkKey(key)
    return operate(
      { handle, name: 'lock', key, call, finish: locked, discard: unwanted, detail: { key } },
      (own, ticket) => own.lock(ticket, key, ttl, wait),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 * @param {(lock: import('../index.js').Lock) => unknown} body
 */
async function withLock(handle, key, opts, body) {
  if (typeof body !== 'function') throw expected('fn', 'a function', body)
  const held = await lock(handle, key, opts)
  try {
    return await body(held)
  } finally {
    await held.release()
  }
}

exports.dropLocks = dropLocks
exports.lock = lock
exports.withLock = withLock
