'use strict'
/**
 * A load on this side: a ticket that joins the key's flight; when the native side says that this caller leads, the factory
 * runs here and its outcome goes back. Single flight, timeouts, what is stale and the tiers are native.
 *
 * A caller never fails because a value could not be stored: what cannot be encoded goes to the waiting callers as it
 * is, what cannot be decoded is loaded anew, once, and then made by the caller's own factory.
 */
const { checkEntry, checkKey } = require('./calls.js')
const { environmentOf } = require('./environment.js')
const { messageOf } = require('./errors.js')
const { Flight, cloneOf } = require('./flight.js')
const { LOST, PENDING, operate } = require('./handle.js')
const { KIND } = require('./kinds.js')

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
 * @property {number | undefined} nullTtl
 * @property {import('./boundary').NativeLoadOptions} options
 * @property {boolean} served the caller has a value, and the load only renews it
 * @property {Promise<unknown> | undefined} running the factory of this caller, if it leads
 */

/** @param {number} share */
function thousandths(share) {
  return Math.ceil(share * 1_000)
}

/**
 * The load that renews an entry behind the caller who has it.
 * @param {Handle} handle
 * @param {string} key
 * @param {Factory} factory
 * @param {Record<string, any>} read
 * @returns {Load}
 */
function renewalOf(handle, key, factory, read) {
  const { signal: _signal, strict: _strict, ...rest } = read
  const load = loadOf(handle, key, factory, rest, false)
  return { ...load, options: { ...load.options, behind: true }, served: true }
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
  checkEntry(read, handle)
  const {
    signal,
    strict = handle.loader['strict'],
    tags = handle.loader['tags'],
    nullTtl = handle.loader['nullTtl'],
    eagerRefresh = handle.loader['eagerRefresh'],
    fresh: _fresh,
    gentle,
    ttl,
    l1Ttl,
    staleFor,
    jitter,
    ...options
  } = read
  const entry = withoutAbsent({ ttl, l1Ttl, staleFor, jitter, tags, gentle })
  return {
    handle,
    key,
    factory,
    call: withoutAbsent({ signal, strict }),
    entry,
    nullTtl,
    options: withoutAbsent({
      ...options,
      strict,
      tags,
      gentle,
      fresh: fresh || undefined,
      eager: eagerRefresh === undefined ? undefined : thousandths(eagerRefresh),
    }),
    served: false,
    running: undefined,
  }
}

/**
 * @template {Record<string, any>} T
 * @param {T} options
 * @returns {{ [K in keyof T]?: Exclude<T[K], undefined> }}
 */
function withoutAbsent(options) {
  /** @type {Record<string, any>} */ const given = {}
  for (const name of Object.keys(options)) if (options[name] !== undefined) given[name] = options[name]
  return /** @type {any} */ (given)
}

/**
 * @param {Load} load
 * @returns {Promise<any>}
 */
function startLoad(load) {
  const { key, options } = load
  const { outcomes } = environmentOf()
  outcomes.enter()
  const result = operate(operationOf(load), (own, ticket) => own.load(ticket, key, options))
  const exit = () => outcomes.exit()
  result.then(exit, exit)
  return result
}

/** @param {Load} load @returns {import('./handle.js').Operation} */
function operationOf(load) {
  return {
    handle: load.handle,
    name: 'getOrSet',
    key: load.key,
    call: load.call,
    finish,
    detail: load,
    leave: (ticket) => load.handle.native.leave(ticket, load.key, load.running !== undefined),
    discard: unheard,
    absent: () => alone(load),
    behind: load.served,
  }
}

/** @type {Finish} Its caller has left before it was in a flight: whatever is asked of it goes to the next. */
function unheard(ticket, kind) {
  const { handle, key } = /** @type {Load} */ (ticket.detail)
  if (kind === KIND.LEAD || kind === KIND.STALE) handle.native.leave(ticket.id, key, false)
  return undefined
}

/** @type {Finish} */
function finish(ticket, kind, value) {
  const load = /** @type {Load} */ (ticket.detail)
  if (kind === KIND.LEAD) return lead(load, value)
  if (kind === KIND.STALE) return served(load, ticket, value)
  if (kind === KIND.FACTORY_ERROR) return outcomeOf(load, value)
  if (kind === KIND.LOADED) return decodedOf(load, value[0], value[1])
  return decodedOf(load, kind, value)
}

/**
 * @param {Load} load
 * @param {number} kind
 * @param {any} value
 */
function decodedOf(load, kind, value) {
  const decoded = load.handle.decode(kind, value)
  if (decoded !== LOST) return decoded
  return load.options.fresh || load.running !== undefined ? alone(load) : again(load)
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
 * The caller gets what is stale; its ticket stays open, since it may be the one to renew it.
 * @param {Load} load
 * @param {Ticket} ticket
 * @param {[number, any]} stale
 */
function served(load, ticket, [kind, value]) {
  const decoded = load.handle.decode(kind, value)
  load.served = true
  load.handle.tickets.answer(ticket, decoded === LOST ? again(load) : decoded)
  return PENDING
}

/**
 * What the tiers hold cannot be decoded.
 * @param {Load} first
 */
function again(first) {
  return startLoad({ ...first, options: { ...first.options, fresh: true }, served: false })
}

/**
 * The factory without a cache: nobody else gets the value.
 * @param {Load} load
 */
function alone(load) {
  load.running ??= run(load, new Flight(load, undefined))
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
 * Runs the factory for everybody who waits, this caller included if it does.
 * @param {Load} load
 * @param {[number, number?, number?, any?]} lead the flight, and the age, kind and payload of what is to be replaced
 */
function lead(load, [id, age, kind, payload]) {
  const flight = new Flight(load, age === undefined ? undefined : staleOf(load, age, Number(kind), payload))
  environmentOf().flights.set(id, flight)
  load.running = run(load, flight)
  load.running.then(
    (value) => landed(load.handle, id, flight, value),
    (error) => failed(load, id, error),
  )
  return PENDING
}

/**
 * @param {Load} load
 * @param {number} age
 * @param {number} kind
 * @param {any} payload
 */
function staleOf(load, age, kind, payload) {
  const value = load.handle.decode(kind, payload)
  return value === LOST ? undefined : { value, age }
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
    over(handle, id, () => handle.native.loaded(id, kind, payload, flight.optionsFor(value)))
  } catch (error) {
    handle.warn('value-not-storable', `A factory's value could not be stored: ${messageOf(error)}`)
    const outcome = { value }
    environmentOf().outcomes.keep(id, outcome)
    over(handle, id, () => handle.native.loadedUnstorable(id, cloneOf(outcome)))
  }
}

/**
 * @param {Load} load
 * @param {number} id
 * @param {unknown} error
 */
function failed({ handle, options }, id, error) {
  const { errorTtl = handle.loader['errorTtl'] ?? 0 } = options
  const outcome = { error }
  environmentOf().outcomes.keep(id, outcome, errorTtl)
  over(handle, id, () => handle.native.loadFailed(id, cloneOf(outcome), messageOf(error)))
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

exports.loadOf = loadOf
exports.operationOf = operationOf
exports.renewalOf = renewalOf
exports.startLoad = startLoad
exports.thousandths = thousandths
