'use strict'
/**
 * The way of what has ended natively to the tickets of one environment: a wake-up hands over a batch, its values in an array and
 * its numbers in memory that both sides see. Owns how long that may take: a batch is bounded on the native side, and after one of
 * some length the event loop has its turn.
 */
const { setImmediate } = require('node:timers')
const native = require('./native.js')

/** Ends that are handed over at once at most, as src/node/completions.rs has it. */
const MOST = 512
/** Of all that wait a third at most: while these call again, and Redis is asked for that, the others are handed over. */
const PARTS = 3
/** So few that it would not pay to part them. */
const FEW = 32
/** After so many the event loop has a turn before the next: Node calls back up to a thousand times on end. */
const MANY = 16

/** What async_hooks sees of the wake-ups: as Node's own handles do, it says that it keeps no process alive. */
const RESOURCE = { hasRef: () => false }

class Drain {
  /** Whether there is more, and the ticket and the kind of each. */
  #words = new Uint32Array(1 + 2 * MOST)
  /** The event loop is to have its turn, and then there is more. */
  #resting = false
  #more = false
  #tickets
  #notice
  /** The queue itself. @type {import('./boundary').Completions} */
  completions

  /**
   * @param {import('./completions.js').Tickets} tickets
   * @param {(kind: number, json: string) => void} notice told what is no ticket's
   */
  constructor(tickets, notice) {
    this.#tickets = tickets
    this.#notice = notice
    this.completions = new native.Completions(() => this.#wake(), RESOURCE, this.#words)
  }

  #wake() {
    if (this.#resting) this.#more = true
    else this.#run()
  }

  #run() {
    const values = this.completions.take(Math.max(FEW, Math.ceil(this.#tickets.pending / PARTS)))
    // A copy: what settles runs code of others, in which the event loop may turn.
    const words = this.#words.slice(0, 1 + 2 * values.length)
    const more = words[0] === 1
    if (more || values.length >= MANY) this.#rest(more)
    for (let index = 0; index < values.length; index++) {
      const [id, kind] = [Number(words[1 + 2 * index]), Number(words[2 + 2 * index])]
      if (id === 0) this.#notice(kind, String(values[index]))
      else this.#settle(id, kind, values[index])
    }
  }

  /**
   * @param {number} id
   * @param {number} kind
   * @param {unknown} value
   */
  #settle(id, kind, value) {
    const ticket = this.#tickets.find(id)
    if (ticket !== undefined) this.#tickets.settle(ticket, kind, value)
  }

  /** @param {boolean} more */
  #rest(more) {
    this.#resting = true
    this.#more = more
    setImmediate(() => {
      this.#resting = false
      if (this.#more) this.#run()
    })
  }
}

exports.Drain = Drain
