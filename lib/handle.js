'use strict'
/**
 * What the operations of a cache or of a view work on: the native handle, its hit function, the codec; and the one
 * funnel through which every operation that is not a hit goes. The public classes are in cache.js and operations.js.
 */
const { AsyncResource } = require('node:async_hooks')
const { PENDING } = require('./completions.js')
const { environmentOf } = require('./environment.js')
const { abortedBy, closedError, errorFrom, errorOf, messageOf } = require('./errors.js')
const { deliver } = require('./events.js')
const { KIND, SCRATCH } = require('./kinds.js')
const { Near, freeze, memoryOf } = require('./near.js')
const native = require('./native.js')
const trace = require('./trace.js')

/** @typedef {import('./boundary').NativeCache} NativeCache */
/** @typedef {import('./boundary').Answer} Answer */
/** @typedef {import('./completions.js').Finish} Finish */
/** @typedef {import('./completions.js').Ticket} Ticket */
/** @typedef {import('./codec.js').ValueCodec} ValueCodec */
/** @typedef {{ signal?: AbortSignal, strict?: boolean }} Call */

/**
 * @typedef {object} Shared what a cache and its views have in common
 * @property {number} id
 * @property {string} name
 * @property {NativeCache} native of the cache itself
 * @property {import('node:events').EventEmitter} emitter
 * @property {Record<string, any>} config
 * @property {import('./options.js').Hooks} hooks
 * @property {import('./logger.js').Log} log
 * @property {ValueCodec} codec
 * @property {boolean} closed
 * @property {boolean} told that a closed cache was used
 * @property {boolean} flushing a wake-up is scheduled
 * @property {import('./near.js').Memory | null} [memory] shared with native code; `null` if the runtime allows none
 */

/**
 * @typedef {object} Operation
 * @property {Handle} handle
 * @property {string} name the method
 * @property {string} [key]
 * @property {Finish} finish
 * @property {Call} [call]
 * @property {() => unknown} [absent] a read: what it gives once the cache is closed
 * @property {object} [detail] for `finish`
 * @property {(ticket: number) => boolean} [leave] a load: its caller no longer waits; false if nothing is known of it
 * @property {boolean} [behind] nobody waits for it
 * @property {() => void} [waitsForOther] a load that waits for somebody else's factory
 * @property {Finish} [discard] what is done with its end if its caller has left
 */

/** A stored value that could not be decoded. */
const LOST = Symbol('lost')

class Handle {
  /**
   * @param {Shared} shared
   * @param {NativeCache} own the native handle: the cache's, or that of a view
   * @param {string} prefix of the keys in Redis; empty only if every key of the database is in reach
   * @param {number} tagBytes what a tag may have, of the 255 bytes that an envelope has room for
   */
  constructor(shared, own, prefix, tagBytes = 255) {
    this.shared = shared
    this.native = own
    this.prefix = prefix
    this.tagBytes = tagBytes
    this.tickets = environmentOf().tickets
    /** Written by the two functions. */
    this.scratch = new Uint32Array(SCRATCH.LENGTH)
    this.hit = native.hitFunction(own, this.scratch)
    this.put = native.setFunction(own, this.scratch)
    const { loader = {} } = shared.config
    /** Defaults of getOrSet that are needed on this side. @type {Record<string, any>} */
    this.loader = loader
    this.sharesObjects = shared.config['l1']?.shareObjects === true
    /** Made with the first hit. @type {Near | undefined} */
    this.near = undefined
  }

  /**
   * The value of a hit, read from `scratch`.
   * @param {string} key
   * @param {unknown} value
   */
  decodeHit(key, value) {
    const kind = this.scratch[SCRATCH.KIND]
    const near = kind === KIND.TEXT || kind === KIND.JSON ? this.#nearby() : undefined
    if (near === undefined) return this.decode(Number(kind), value)
    try {
      return near.take(key, this.scratch, /** @type {string} */ (value))
    } catch (error) {
      return this.lost(error)
    }
  }

  #nearby() {
    if (this.near !== undefined) return this.near
    const { shared } = this
    shared.memory ??= memoryOf(shared.native) ?? null
    if (shared.memory !== null) this.near = new Near(shared.memory, this.sharesObjects)
    return this.near
  }

  /**
   * @param {number} kind
   * @param {unknown} value
   * @returns {unknown} `LOST` for what cannot be decoded, which is told once an occurrence and counts as a miss
   */
  decode(kind, value) {
    try {
      const decoded = this.shared.codec.decode(kind, value)
      return this.sharesObjects && kind === KIND.JSON ? freeze(decoded) : decoded
    } catch (error) {
      return this.lost(error)
    }
  }

  /** @param {unknown} error */
  lost(error) {
    this.warn(
      'value-not-decodable',
      `A stored value could not be decoded and counts as a miss: ${messageOf(error)}`,
    )
    return LOST
  }

  /**
   * @param {string} code
   * @param {string} message
   */
  warn(code, message) {
    deliver(this.shared.emitter, 'warning', { code, message })
  }

  /** Tells once that a closed cache is being used. */
  warnClosed() {
    if (this.shared.told) return
    this.shared.told = true
    this.warn(
      'cache-closed',
      'The cache is used after close(): reads find nothing and factories run uncached',
    )
  }

  /**
   * The promise of a borrowed ticket, by what a function has written to `scratch`; `undefined` if the ticket was not wanted.
   * @param {Ticket} ticket
   * @param {any} answer
   * @returns {Promise<any> | undefined}
   */
  promised(ticket, answer) {
    const kind = this.scratch[SCRATCH.KIND]
    if (kind === KIND.PENDING) {
      this.tickets.keep(ticket, undefined, undefined)
      this.flush()
    } else if (kind === KIND.ANSWERED) {
      this.tickets.settle(ticket, answer[0], answer[1])
    } else {
      this.tickets.giveBack(ticket)
      return undefined
    }
    return ticket.promise
  }

  /** What was submitted in this turn leaves together at its end. */
  flush() {
    const { shared } = this
    if (shared.flushing) return
    shared.flushing = true
    queueMicrotask(() => {
      shared.flushing = false
      shared.native.wake()
    })
  }
}

/**
 * Runs one operation: opens a ticket, submits, and gives the promise of its result.
 * @param {Operation} operation
 * @param {(own: NativeCache, ticket: number) => Answer | undefined} submit
 * @returns {Promise<any>}
 */
function operate(operation, submit) {
  const { handle, call } = operation
  if (call?.signal?.aborted) return Promise.reject(abortedBy(call.signal))
  if (handle.shared.closed) return afterClose(operation)
  const ticket = openTicket(operation)
  submitted(operation, ticket, () => submit(handle.native, ticket.id))
  return ticket.promise
}

/**
 * Runs several operations of one handle that are submitted together; `submit` gives what is known of each.
 * @param {Operation[]} operations
 * @param {(own: NativeCache, tickets: number[]) => (Answer | true | undefined)[]} submit
 * @returns {Promise<any>[]}
 */
function operateMany(operations, submit) {
  const [first] = operations
  if (first === undefined) return []
  const { handle, call } = first
  const { signal } = call ?? {}
  if (signal?.aborted) return operations.map(() => Promise.reject(abortedBy(signal)))
  if (handle.shared.closed) return operations.map(afterClose)
  const tickets = operations.map(openTicket)
  const answers = guarded(() =>
    submit(
      handle.native,
      tickets.map(({ id }) => id),
    ),
  )
  operations.forEach((operation, index) => {
    const ticket = /** @type {Ticket} */ (tickets[index])
    const answer = Array.isArray(answers) ? answers[index] : answers.error
    if (answer === true) operation.waitsForOther?.()
    submitted(operation, ticket, () => (answer === true ? undefined : answer))
  })
  return tickets.map(({ promise }) => promise)
}

/** @param {Operation} operation */
function openTicket(operation) {
  const { handle, absent, finish } = operation
  const began = trace.begin()
  /** @type {Finish} */
  const checked = (ticket, kind, value) => {
    if (kind !== KIND.ERROR) return finish(ticket, kind, value)
    if (value.code === 'ERR_CACHE_CLOSED' && absent !== undefined && !isStrict(operation)) return absent()
    throw errorOf(value)
  }
  const heard = began === 0 ? checked : trace.heard(operation, began, checked)
  const ticket = handle.tickets.open(handle, heard, operation.detail)
  if (began !== 0)
    ticket.left = (error) => trace.end(operation, began, { kind: KIND.ERROR, waited: true, error })
  ticket.answered = operation.behind === true
  if (operation.discard) ticket.discard = operation.discard
  return ticket
}

/**
 * @param {Operation} operation
 * @param {Ticket} ticket
 * @param {() => Answer | undefined} submit
 */
function submitted(operation, ticket, submit) {
  const { handle, call, leave } = operation
  const answer = guarded(submit)
  const known = answer !== undefined && 'error' in answer ? answer.error : answer
  if (known !== undefined) handle.tickets.settle(ticket, known[0], known[1])
  if (handle.tickets.find(ticket.id) !== ticket) return
  if (leave !== undefined || ticket.left !== undefined) inContext(ticket)
  handle.tickets.keep(ticket, call?.signal, leave)
  handle.flush()
}

/**
 * What comes later comes in the context of the call, not of the queue: a factory finds its AsyncLocalStorage, and who listens
 * its span.
 * @param {Ticket} ticket
 */
function inContext(ticket) {
  const context = new AsyncResource('EVENKEEL')
  const { finish, left } = ticket
  ticket.finish = (...end) => context.runInAsyncScope(finish, undefined, ...end)
  if (left !== undefined) ticket.left = (error) => context.runInAsyncScope(left, undefined, error)
}

/**
 * What a native function gives; what it throws as an answer.
 * @template T
 * @param {() => T} call
 * @returns {T | { error: Answer }}
 */
function guarded(call) {
  try {
    return call()
  } catch (error) {
    const { code, message } = errorFrom(error)
    return { error: [KIND.ERROR, { code, message, retryable: false }] }
  }
}

/** @param {Pick<Operation, 'handle' | 'call'>} operation */
function isStrict({ handle, call }) {
  return call?.strict ?? handle.shared.config['strict'] === true
}

/** @param {Operation} operation */
function afterClose(operation) {
  if (operation.absent === undefined || isStrict(operation)) return Promise.reject(closedError())
  operation.handle.warnClosed()
  return Promise.resolve(operation.absent())
}

/**
 * An async method's body: what it throws becomes a rejection.
 * @template T
 * @param {() => Promise<T>} body
 * @returns {Promise<T>}
 */
function attempt(body) {
  try {
    return body()
  } catch (error) {
    return Promise.reject(error)
  }
}

exports.Handle = Handle
exports.LOST = LOST
exports.PENDING = PENDING
exports.attempt = attempt
exports.isStrict = isStrict
exports.operate = operate
exports.operateMany = operateMany
