'use strict'
/**
 * The one error class of the package and how failures that cross the boundary as data become instances of it. It does
 * not decide what fails: checks.js does for arguments, the native side for everything else.
 */

/** @typedef {import('../index.js').CacheErrorCode} Code */
/** @typedef {{ code: Code, message: string, retryable?: boolean, key?: string, cause?: unknown }} Failure */

/** Every code an error of this package may carry. @type {readonly Code[]} */
const CODES = Object.freeze([
  'ERR_CACHE_OPTIONS',
  'ERR_CACHE_KEY',
  'ERR_CACHE_VALUE',
  'ERR_CACHE_VALUE_TOO_LARGE',
  'ERR_CACHE_L2_UNAVAILABLE',
  'ERR_CACHE_TIMEOUT',
  'ERR_CACHE_REDIS_REPLY',
  'ERR_CACHE_FACTORY_TIMEOUT',
  'ERR_CACHE_LOCKED',
  'ERR_CACHE_CLOSED',
  'ERR_CACHE_ABORTED',
  'ERR_CACHE_PLATFORM',
  'ERR_CACHE_INTERNAL',
])

/** What evenkeel rejects with or throws; programs decide by `code`, people read `message`. */
class CacheError extends Error {
  /**
   * @param {Code} code
   * @param {string} message
   * @param {{ cause?: unknown, retryable?: boolean, key?: string }} [details] `retryable`: the same call may succeed later.
   */
  constructor(code, message, details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.retryable = details.retryable === true
    if (details.key !== undefined) this.key = details.key
  }
}
// On the prototype, as with the built-in errors: an own `name` would be printed by util.inspect for every error.
Object.defineProperty(CacheError.prototype, 'name', {
  value: 'CacheError',
  configurable: true,
  writable: true,
})

/**
 * An error for a cause that crossed the boundary as data.
 * @param {unknown} cause
 * @returns {unknown}
 */
function causeOf(cause) {
  if (typeof cause === 'string') return new Error(cause)
  if (typeof cause !== 'object' || cause === null) return undefined
  const {
    code,
    message,
    cause: deeper,
  } = /** @type {{ code?: unknown, message?: unknown, cause?: unknown }} */ (cause)
  const error = new Error(
    String(message ?? code),
    deeper === undefined ? undefined : { cause: causeOf(deeper) },
  )
  return code === undefined ? error : Object.assign(error, { code })
}

/**
 * The CacheError for a failure that the native side reported.
 * @param {Failure} failure
 */
function errorOf(failure) {
  const { code, message, retryable = false, key, cause } = failure
  return new CacheError(code, message, {
    cause: causeOf(cause),
    retryable,
    ...(key === undefined ? {} : { key }),
  })
}

/**
 * The CacheError for what a native function threw; an unknown one is a fault of ours.
 * @param {unknown} thrown
 */
function errorFrom(thrown) {
  if (thrown instanceof CacheError) return thrown
  const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (Object(thrown))
  const known = CODES.find((each) => each === code)
  return new CacheError(
    known ?? 'ERR_CACHE_INTERNAL',
    String(message ?? thrown),
    known ? {} : { cause: thrown },
  )
}

/** What was thrown says, also when it is no error or has no way to become a text. @param {unknown} thrown */
function messageOf(thrown) {
  try {
    return String(Object(thrown).message ?? thrown)
  } catch {
    return 'something without a text'
  }
}

/**
 * The rejection of a call whose signal aborted.
 * @param {AbortSignal} signal
 */
function abortedBy(signal) {
  return new CacheError('ERR_CACHE_ABORTED', 'The call was aborted by its signal', { cause: signal.reason })
}

/** The rejection of what a closed cache cannot do. */
function closedError() {
  return new CacheError('ERR_CACHE_CLOSED', 'The cache is closed')
}

exports.CODES = CODES
exports.CacheError = CacheError
exports.abortedBy = abortedBy
exports.closedError = closedError
exports.errorFrom = errorFrom
exports.errorOf = errorOf
exports.messageOf = messageOf
