'use strict'
/**
 * One run of a factory: the context it is given, and its outcome, which is kept for the callers of this environment
 * who wait for the same flight. Who waits, and when a flight is over, the native side knows.
 */
const v8 = require('node:v8')
const { checkTags, checkTtl } = require('./calls.js')
const { checks } = require('./checks.js')
const { CacheError } = require('./errors.js')

/** @typedef {{ error: unknown } | { value: unknown }} Outcome */

/** What the factory may still change about its entry. */
class Flight {
  /** @type {AbortController | undefined} made when the factory looks at its signal */
  #controller
  #abandoned = false

  /**
   * @param {import('./loader.js').Load} load
   * @param {{ value: unknown, age: number } | undefined} stale what the factory is to replace
   */
  constructor({ handle, key, entry, nullTtl }, stale) {
    this.handle = handle
    this.key = key
    this.stale = stale
    /** How long `null` lives, unless the factory says how long. */
    this.nullTtl = nullTtl
    /** @type {import('./boundary').LoadedOptions} */
    this.options = { ...entry }
  }

  /** What is stored with `value`. @param {unknown} value */
  optionsFor(value) {
    return value === null && this.nullTtl !== undefined
      ? { ...this.options, ttl: this.nullTtl }
      : this.options
  }

  /** The last caller has left. */
  abandon() {
    this.#abandoned = true
    this.#controller?.abort(reason())
  }

  get signal() {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abandoned) this.#controller.abort(reason())
    }
    return this.#controller.signal
  }

  /**
   * The argument of the factory; its functions work when taken out of it.
   * @returns {import('../index.js').FactoryContext}
   */
  context() {
    const flight = this
    return {
      key: this.key,
      get signal() {
        return flight.signal
      },
      stale: flight.stale,
      skip() {
        flight.options.skip = true
      },
      setTtl(ttl) {
        flight.options.ttl = checkTtl(ttl)
        flight.nullTtl = undefined
      },
      setTags(...tags) {
        const checked = checks.tags(tags, 'tags')
        checkTags(checked, flight.handle)
        flight.options.tags = checked
      },
    }
  }
}

function reason() {
  return new CacheError('ERR_CACHE_ABORTED', 'Every caller that waited for the factory has left')
}

/** Outcomes kept at most; who comes later gets the clone. */
const LIMIT = 4_096

/** The outcomes that cannot go through a tier, by flight: errors, and values that cannot be stored. */
class Outcomes {
  /** @type {Map<number, Outcome>} */
  #kept = new Map()
  #loads = 0

  /** A load waits from now on. */
  enter() {
    this.#loads++
  }

  /** It waits no more; with the last one nobody is left who could ask. */
  exit() {
    if (--this.#loads === 0) this.#kept.clear()
  }

  /**
   * @param {number} flight
   * @param {Outcome} outcome
   */
  keep(flight, outcome) {
    this.#kept.set(flight, outcome)
    if (this.#kept.size <= LIMIT) return
    const [oldest] = this.#kept.keys()
    if (oldest !== undefined) this.#kept.delete(oldest)
  }

  /**
   * @param {number} flight
   * @param {Buffer | null} clone
   * @returns {Outcome | undefined} `undefined`: it cannot be had in this environment
   */
  of(flight, clone) {
    return this.#kept.get(flight) ?? (clone === null ? undefined : v8.deserialize(clone))
  }
}

/**
 * The structured clone of an outcome for other environments, `null` if it has none.
 * @param {Outcome} outcome
 */
function cloneOf(outcome) {
  try {
    return v8.serialize(outcome)
  } catch {
    return 'error' in outcome ? v8.serialize({ error: lesserError(outcome.error) }) : null
  }
}

/** A text for anything, also for what has no way to become one. @param {unknown} value */
function textOf(value) {
  try {
    return String(value)
  } catch {
    return 'the factory failed with a value that has no text'
  }
}

/** An error with properties that cannot be cloned keeps what matters most. @param {unknown} error */
function lesserError(error) {
  const { name, message, code } = /** @type {{ name?: unknown, message?: unknown, code?: unknown }} */ (
    Object(error)
  )
  const lesser = new Error(textOf(message ?? error))
  if (typeof name === 'string') lesser.name = name
  return typeof code === 'string' ? Object.assign(lesser, { code }) : lesser
}

exports.Flight = Flight
exports.Outcomes = Outcomes
exports.cloneOf = cloneOf
exports.textOf = textOf
