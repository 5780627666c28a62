'use strict'
/**
 * getOrSet on this side: a hit at once, else a ticket that joins the key's flight; when the native side says that this
 * caller leads, the factory runs here and its outcome goes back. Single flight, timeouts and the tiers are native.
 *
 * A caller never fails because a value could not be stored: what cannot be encoded goes to the waiting callers as it
 * is, what cannot be decoded is loaded anew, once, and then made by the caller's own factory.
 */
const { OPTIONS, checkKey, readCall, refuseStaleInPlain } = require('./calls.js')
const { expected } = require('./checks.js')
const { environmentOf } = require('./environment.js')
const { Flight, cloneOf } = require('./flight.js')
const { LOST, PENDING, attempt, operate } = require('./handle.js')
const { KIND } = require('./kinds.js')
const { AS } = require('./reads.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */
/** @typedef {import('./completions.js').Ticket} Ticket */
/** @typedef {(context: import('../index.js').FactoryContext) => unknown} Factory */

/**
 * @typedef {object} Load
 * @property {Handle} handle
 * @property {string} key
 * @property {Factory} factory
 * @property {import('./handle.js').Call} call
 * @property {import('./boundary').EntryOptions} entry
 * @property {import('./boundary').LoadTimes} times
 * @property {boolean} fresh
 * @property {Promise<unknown> | undefined} running the factory of this caller, if it leads
 */

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
    const read = readCall(opts, OPTIONS.load)
    if (read['signal']?.aborted || handle.shared.closed)
      return startLoad(loadOf(handle, key, factory, read, false))
    const value = handle.hit(key, AS.decoded)
    if (handle.scratch[0] === KIND.MISS) return startLoad(loadOf(handle, key, factory, read, false))
    const result = handle.decodeHit(key, value)
    return result === LOST ? startLoad(loadOf(handle, key, factory, read, true)) : Promise.resolve(result)
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {Factory} factory
 * @param {Record<string, any>} read
 * @param {boolean} fresh
 * @returns {Load}
 */
function loadOf(handle, key, factory, read, fresh) {
  checkKey(key)
  refuseStaleInPlain(read, handle)
  const {
    signal,
    strict = handle.shared.config['loader']?.strict,
    factoryTimeout,
    l2SoftTimeout,
    ...entry
  } = read
  const call = { ...(signal && { signal }), ...(strict !== undefined && { strict }) }
  const times = {
    ...(factoryTimeout !== undefined && { factoryTimeout }),
    ...(l2SoftTimeout !== undefined && { l2SoftTimeout }),
  }
  return { handle, key, factory, call, entry, times, fresh, running: undefined }
}

/**
 * @param {Load} load
 * @returns {Promise<any>}
 */
function startLoad(load) {
  const { handle, key, call, times, fresh } = load
  const { outcomes } = environmentOf()
  const options = {
    ...(call.strict !== undefined && { strict: call.strict }),
    ...times,
    ...(fresh && { fresh }),
  }
  outcomes.enter()
  const result = operate(
    {
      handle,
      call,
      finish,
      detail: load,
      leaves: () => load.running !== undefined,
      absent: () => alone(load),
    },
    (own, ticket) => own.load(ticket, key, options),
  )
  const exit = () => outcomes.exit()
  result.then(exit, exit)
  return result
}

/** @type {Finish} */
function finish(ticket, kind, value) {
  const load = /** @type {Load} */ (ticket.detail)
  if (kind === KIND.LEAD) return lead(load, value)
  if (kind === KIND.FACTORY_ERROR) return outcomeOf(load, value)
  const decoded = load.handle.decode(kind, value)
  if (decoded !== LOST) return decoded
  return load.fresh || load.running !== undefined ? alone(load) : again(load)
}

/**
 * @param {Load} load
 * @param {[number, Buffer | null]} failure
 */
function outcomeOf(load, [flight, clone]) {
  const outcome = environmentOf().outcomes.of(flight, clone)
  if (outcome === undefined) return alone(load)
  if ('error' in outcome) throw outcome.error
  return outcome.value
}

/**
 * What the tiers hold cannot be decoded.
 * @param {Load} first
 */
function again(first) {
  return startLoad({ ...first, fresh: true })
}

/**
 * The factory without a cache: nobody else gets the value.
 * @param {Load} load
 */
function alone(load) {
  load.running ??= run(load, new Flight(load.key, load.entry))
  return load.running
}

/**
 * @param {Load} load
 * @param {Flight} flight
 * @returns {Promise<unknown>}
 */
async function run(load, flight) {
  return load.factory(flight.context())
}

/**
 * Runs the factory for everybody who waits, this caller included.
 * @param {Load} load
 * @param {number} id
 */
function lead(load, id) {
  const flight = new Flight(load.key, load.entry)
  environmentOf().flights.set(id, flight)
  load.running = run(load, flight)
  load.running.then(
    (value) => landed(load.handle, id, flight, value),
    (error) => failed(load.handle, id, { error }),
  )
  return PENDING
}

/**
 * @param {Handle} handle
 * @param {number} id
 * @param {Flight} flight
 * @param {unknown} value
 */
function landed(handle, id, flight, value) {
  if (value === undefined) return over(handle, id, () => handle.native.loadedNothing(id))
  try {
    const { kind, payload } = handle.shared.codec.encode(value)
    over(handle, id, () => handle.native.loaded(id, kind, payload, flight.options))
  } catch (error) {
    handle.warn(
      'value-not-storable',
      `A factory's value could not be stored: ${String(Object(error).message ?? error)}`,
    )
    failed(handle, id, { value })
  }
}

/**
 * @param {Handle} handle
 * @param {number} id
 * @param {import('./flight.js').Outcome} outcome
 */
function failed(handle, id, outcome) {
  environmentOf().outcomes.keep(id, outcome)
  over(handle, id, () => handle.native.loadFailed(id, cloneOf(outcome)))
}

/**
 * @param {Handle} handle
 * @param {number} id
 * @param {() => void} tell
 */
function over(handle, id, tell) {
  environmentOf().flights.delete(id)
  tell()
  handle.flush()
}

exports.getOrSet = getOrSet
