'use strict'
/**
 * The tickets of one environment (a thread): an operation that the native side does not answer at once gets a number, by
 * which its end is told (drain.js) and its promise is settled. Holds the event loop open while a ticket is pending, and only then. It does not know what operations mean: a ticket brings its own `finish`.
 *
 * A ticket's number is its slot and, above 24 bits, how often the slot was used: a completion that was already queued
 * when its caller left finds another number and is dropped.
 *
 * | from | when | to |
 * |---|---|---|
 * | open | answered at once | settled; one that was borrowed is open still, for the next who borrows |
 * | open | no answer, or the lead of a flight | pending, holds the loop |
 * | pending | completion | settled |
 * | pending | lead of a flight | pending |
 * | open, pending | a stale value | answered: the promise is settled, and the loop is not held |
 * | answered | lead of a flight, or completion | settled |
 * | pending | the signal aborts: a load of a flight | settled, the native side is told |
 * | pending | the signal aborts: anything else | abandoned: rejected, the slot waits for its completion |
 * | abandoned | completion | settled |
 */
const { setInterval } = require('node:timers')
const { abortedBy } = require('./errors.js')
const { onAbort } = require('./signals.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {(ticket: Ticket, kind: number, value: any) => unknown} Finish the result, or throws what the promise rejects with, or `PENDING` */

/** What `finish` returns when the ticket goes on. */
const PENDING = Symbol('pending')

const SLOT_BITS = 24
const SLOT_MASK = 2 ** SLOT_BITS - 1
/** Numbers stay small integers of V8. */
const USES = 2 ** 6

const nothing = () => {}

/** @type {Finish} */
const ignore = () => undefined

/** One operation on its way. */
class Ticket {
  /**
   * @param {number} id
   * @param {Handle} handle
   * @param {Finish} finish
   * @param {object | undefined} detail whatever `finish` wants to know
   */
  constructor(id, handle, finish, detail) {
    this.id = id
    /** None while nobody has borrowed it. @type {any} */
    this.handle = handle
    this.finish = finish
    this.detail = detail
    this.pending = false
    /** Its promise is settled; the native side may still want something of its caller. */
    this.answered = false
    /** What is done with its end once its caller has left. */
    this.discard = ignore
    /** @type {((error: unknown) => void) | undefined} told when its caller leaves */
    this.left = undefined
    /** @type {(() => void) | undefined} takes the listener off the caller's signal */
    this.unlisten = undefined
    /** @type {Promise<any>} */
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

class Tickets {
  /** @type {(Ticket | undefined)[]} slot 0 is never given out: ticket 0 means a notice */
  #slots = [undefined]
  #uses = [0]
  /** @type {number[]} */
  #free = []
  #pending = 0
  /** @type {Ticket | undefined} */
  #spare
  /** @type {NodeJS.Timeout | undefined} */
  #hold

  /** How many wait for their end. */
  get pending() {
    return this.#pending
  }

  /**
   * @param {Handle} handle
   * @param {Finish} finish
   * @param {object} [detail]
   */
  open(handle, finish, detail) {
    const slot = this.#free.pop() ?? this.#slots.length
    const use = this.#uses[slot] ?? 0
    const ticket = new Ticket(use * 2 ** SLOT_BITS + slot, handle, finish, detail)
    this.#uses[slot] = use
    this.#slots[slot] = ticket
    return ticket
  }

  /**
   * A ticket for what is probably answered at once, and then given back. It is open before its number is told to anybody: whatever is
   * thrown meanwhile, such as where the stack ends, no other call gets the number.
   * @param {Handle} handle
   * @param {Finish} finish
   */
  borrow(handle, finish) {
    const ticket = this.#spare
    if (ticket === undefined) return this.open(handle, finish)
    this.#spare = undefined
    ticket.handle = handle
    ticket.finish = finish
    return ticket
  }

  /** @param {Ticket} ticket one that was borrowed, of which nobody has heard */
  giveBack(ticket) {
    if (this.#spare !== undefined) return this.#close(ticket)
    // A cache that is dropped can be collected.
    ticket.handle = undefined
    this.#spare = ticket
  }

  /** @param {number} id */
  find(id) {
    const ticket = this.#slots[id & SLOT_MASK]
    return ticket?.id === id ? ticket : undefined
  }

  /**
   * Settles a ticket, or lets it go on if `finish` says so.
   * @param {Ticket} ticket
   * @param {number} kind
   * @param {unknown} value
   */
  settle(ticket, kind, value) {
    /** @type {unknown} */
    let result
    try {
      result = ticket.finish(ticket, kind, value)
    } catch (error) {
      this.#close(ticket)
      ticket.reject?.(error)
      return
    }
    if (result === PENDING) return
    this.#close(ticket)
    ticket.resolve?.(result)
  }

  /**
   * Settles the promise of a ticket that stays open, and keeps nothing alive from now on.
   * @param {Ticket} ticket
   * @param {unknown} value
   */
  answer(ticket, value) {
    ticket.answered = true
    this.#release(ticket)
    ticket.resolve?.(value)
  }

  /**
   * The native side has the ticket; its completion will come.
   * @param {Ticket} ticket
   * @param {AbortSignal | undefined} signal
   * @param {((id: number) => boolean) | undefined} leave tells the native side to forget the ticket, where it can
   */
  keep(ticket, signal, leave) {
    if (ticket.answered) return
    ticket.pending = true
    // No closure of this function: it would keep the first ticket, and its result, for ever.
    this.#hold ??= setInterval(nothing, 2 ** 31 - 1)
    if (this.#pending++ === 0) this.#hold.ref()
    if (signal === undefined) return
    // A factory may abort its own caller before it returns.
    if (signal.aborted) return this.#abort(ticket, signal, leave)
    ticket.unlisten = onAbort(signal, () => this.#abort(ticket, signal, leave))
  }

  /**
   * @param {Ticket} ticket
   * @param {AbortSignal} signal
   * @param {((id: number) => boolean) | undefined} leave
   */
  #abort(ticket, signal, leave) {
    const error = abortedBy(signal)
    ticket.reject?.(error)
    ticket.left?.(error)
    this.#release(ticket)
    // Where the native side knows nothing of it any more, or not yet, its end will come, and its number stays taken.
    if (leave === undefined || !leave(ticket.id)) ticket.finish = ticket.discard
    else this.#close(ticket)
  }

  /** @param {Ticket} ticket */
  #close(ticket) {
    this.#release(ticket)
    const slot = ticket.id & SLOT_MASK
    this.#slots[slot] = undefined
    this.#uses[slot] = ((this.#uses[slot] ?? 0) + 1) % USES
    this.#free.push(slot)
  }

  /** @param {Ticket} ticket */
  #release(ticket) {
    ticket.unlisten?.()
    ticket.unlisten = undefined
    if (!ticket.pending) return
    ticket.pending = false
    if (--this.#pending === 0) this.#hold?.unref()
  }
}

exports.PENDING = PENDING
exports.Ticket = Ticket
exports.Tickets = Tickets
