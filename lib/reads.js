'use strict'
/** Reading: hits at once, everything else by ticket. */
const { OPTIONS, checkKey, checkKeys, readCall } = require('./calls.js')
const { errorOf } = require('./errors.js')
const { LOST, attempt, isStrict, operate } = require('./handle.js')
const { KIND, SCRATCH } = require('./kinds.js')
const trace = require('./trace.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */

/** What a caller wants the native side to make of an entry. */
const AS = { decoded: 0, string: 1, buffer: 2, decodedWithShare: 4 }

const absent = () => undefined

/** @type {Finish} */
const decoded = ({ handle }, kind, value) => found(handle.decode(kind, value))

/** @type {Finish} What comes as it is. */
const plain = (_ticket, _kind, value) => value

/** @type {Finish} */
const many = ({ handle }, _kind, flat) => {
  const values = new Array(flat.length / 2)
  for (let index = 0; index < values.length; index++)
    values[index] = found(handle.decode(flat[2 * index], flat[2 * index + 1]))
  return values
}

/** @param {unknown} value */
function found(value) {
  return value === LOST ? undefined : value
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 * @returns {Promise<any>}
 */
function get(handle, key, opts) {
  if (opts !== undefined || handle.shared.closed) return getWith(handle, key, opts)
  const began = trace.begin()
  const near = handle.near?.get(key)
  if (near !== undefined) {
    trace.hit(handle, began, 'get', key)
    return Promise.resolve(near)
  }
  // Who listens is told by the other way.
  const ticket = began === 0 ? handle.tickets.borrow(handle, decodedGet) : undefined
  const value = handle.hit(key, AS.decoded, ticket?.id ?? 0)
  const kind = handle.scratch[SCRATCH.KIND]
  if (ticket !== undefined) {
    const promise = handle.promised(ticket, value)
    if (promise !== undefined) return promise
  }
  if (kind === KIND.MISS) return getMissed(handle, key, AS.decoded, undefined)
  const result = handle.decodeHit(key, value)
  trace.hit(handle, began, 'get', key, result === LOST ? 'miss' : 'hit')
  return Promise.resolve(found(result))
}

/** @type {Finish} */
function decodedGet({ handle }, kind, value) {
  if (kind !== KIND.ERROR) return found(handle.decode(kind, value))
  if (value.code === 'ERR_CACHE_CLOSED' && !isStrict({ handle })) return undefined
  throw errorOf(value)
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 */
function getWith(handle, key, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.get)
    const as = call['as'] === 'string' ? AS.string : call['as'] === 'buffer' ? AS.buffer : AS.decoded
    if (call['signal']?.aborted || handle.shared.closed) return getMissed(handle, key, as, call)
    const began = trace.begin()
    const value = handle.hit(key, as, 0)
    if (handle.scratch[SCRATCH.KIND] === KIND.MISS) return getMissed(handle, key, as, call)
    const result = as === AS.decoded ? handle.decodeHit(key, value) : value
    trace.hit(handle, began, 'get', key, result === LOST ? 'miss' : 'hit')
    return Promise.resolve(found(result))
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {number} as
 * @param {import('./handle.js').Call | undefined} call
 */
function getMissed(handle, key, as, call) {
  return attempt(() => {
    checkKey(key)
    const finish = as === AS.decoded ? decoded : plain
    return operate({ handle, name: 'get', key, finish, absent, ...(call && { call }) }, (own, ticket) =>
      own.get(ticket, key, as, call?.strict),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {readonly string[]} keys
 * @param {unknown} opts
 */
function getMany(handle, keys, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKeys(keys)
    if (keys.length === 0) return Promise.resolve([])
    const none = () => new Array(keys.length).fill(undefined)
    return operate({ handle, name: 'getMany', call, finish: many, absent: none }, (own, ticket) =>
      own.getMany(ticket, keys, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 */
function has(handle, key, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKey(key)
    return operate({ handle, name: 'has', key, call, finish: plain, absent: () => false }, (own, ticket) =>
      own.has(ticket, key, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 */
function ttl(handle, key, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKey(key)
    return operate({ handle, name: 'ttl', key, call, finish: plain, absent }, (own, ticket) =>
      own.ttl(ticket, key, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 */
function peek(handle, key) {
  checkKey(key)
  if (handle.shared.closed) return undefined
  const answer = handle.native.peek(key)
  return answer === undefined ? undefined : found(handle.decode(...answer))
}

exports.AS = AS
exports.decoded = decoded
exports.get = get
exports.getMany = getMany
exports.has = has
exports.peek = peek
exports.plain = plain
exports.ttl = ttl
