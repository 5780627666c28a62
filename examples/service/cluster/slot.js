'use strict'

// One place of the cluster: a worker, and when it dies the next one, under the same number. The number
// is what tells its series apart in `/metrics`: a worker that took the place of another continues the
// other's series from 0, which Prometheus' rate() knows as a reset, and there are never more series
// than places.

const cluster = require('node:cluster')
const { once } = require('node:events')
const { talk } = require('./ipc.js')

const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5_000
/** A worker that lived this long was not one of a crash loop. */
const STEADY_MS = 10_000
/** More than a worker takes that lets its requests end (5 s) and closes its cache (1 s). */
const STOP_MS = 8_000

class Slot {
  /** @type {import('node:cluster').Worker | undefined} */
  #worker
  #ask
  #options
  #timer
  #deaths = 0
  #stopping = false

  /**
   * `answers` is what its workers may ask, `isWorthIt` whether another worker is to follow a dead one.
   * @param {number} number
   * @param {{ answers: Parameters<typeof talk>[1], isWorthIt: () => boolean }} options
   */
  constructor(number, options) {
    this.number = number
    this.#options = options
    this.#fork()
  }

  /** Of the worker that is there now. */
  get pid() {
    return this.#worker?.process.pid
  }

  /** Asks the worker; rejects at once when there is none. */
  async ask(name, args, timeout) {
    if (!this.#worker) throw new Error(`Worker ${this.number} is not there`)
    return this.#ask(name, args, timeout)
  }

  /** @returns {Promise<boolean>} once the worker has ended, whether it did so by itself and in time */
  async stop(signal) {
    this.#stopping = true
    clearTimeout(this.#timer)
    const worker = this.#worker
    if (!worker) return true
    const ended = once(worker, 'exit')
    worker.process.kill(signal)
    const timer = setTimeout(() => worker.process.kill('SIGKILL'), STOP_MS)
    const [, killedBy] = await ended
    clearTimeout(timer)
    return killedBy !== 'SIGKILL'
  }

  #fork() {
    const born = performance.now()
    const worker = cluster.fork({ WORKER_NUMBER: String(this.number) })
    this.#worker = worker
    this.#ask = talk(worker, this.#options.answers)
    worker.once('exit', (code, signal) => {
      this.#worker = undefined
      if (this.#stopping || !this.#options.isWorthIt()) return
      if (performance.now() - born >= STEADY_MS) this.#deaths = 0
      this.#forkLater(`worker ${this.number} (process ${worker.process.pid}) ended: ${signal ?? code}`)
    })
  }

  #forkLater(reason) {
    const delay = Math.min(FIRST_DELAY_MS * 2 ** this.#deaths, LONGEST_DELAY_MS)
    this.#deaths += 1
    console.error(`${reason}; the next one in ${delay} ms`)
    this.#timer = setTimeout(() => this.#fork(), delay)
  }
}

module.exports = { Slot }
