'use strict'
/**
 * One run of a factory: the context it is given, and its outcome, which is kept for the callers of this environment
 * who wait for the same flight. Who waits, and when a flight is over, the native side knows.
 */
const { performance } = require('node:perf_hooks')
const { checkTags, checkTtl } = require('./calls.js')
const { checks } = require('./checks.js')
const { CacheError, messageOf } = require('./errors.js')

/** Loaded by the first thread that hands an outcome to another: it takes longer than any file here. */
const v8 = () => require('node:v8')

/** @typedef {{ error: unknown } | { value: unknown }} Outcome */

/** What the factory may still change about its entry. */
class Flight {
  /** @type {AbortController | undefined} made when the factory looks at its signal */
  #controller
  #abandoned = false

  /**
   * @param {import('./load.js').Load} load
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
  /** Errors that are the answer for a while, and until when. @type {Map<number, { outcome: Outcome, until: number }>} */
  #remembered = new Map()
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
   * @param {number} [ttl] for how long those may ask for it who come later, in ms
   */
  keep(flight, outcome, ttl = 0) {
    if (ttl > 0) this.#remember(flight, outcome, ttl)
    // Nobody waits who could ask.
    else if (this.#loads > 0) bounded(this.#kept).set(flight, outcome)
  }

  /**
   * @param {number} flight
   * @param {Outcome} outcome
   * @param {number} ttl
   */
  #remember(flight, outcome, ttl) {
    const now = performance.now()
    for (const [old, { until }] of this.#remembered) {
      if (until > now) break
      this.#remembered.delete(old)
    }
    bounded(this.#remembered).set(flight, { outcome, until: now + ttl })
  }

  /**
   * @param {number} flight
   * @param {Buffer | null} clone
   * @returns {Outcome | undefined} `undefined`: it cannot be had in this environment
   */
  of(flight, clone) {
    const own = this.#kept.get(flight) ?? this.#remembered.get(flight)?.outcome
    return own ?? (clone === null ? undefined : v8().deserialize(clone))
  }
}

/**
 * A map with room for one more entry.
 * @template {Map<number, unknown>} M
 * @param {M} map
 */
function bounded(map) {
  const [oldest] = map.keys()
  if (map.size >= LIMIT && oldest !== undefined) map.delete(oldest)
  return map
}

/**
 * The structured clone of an outcome for other environments, `null` if it has none.
 * @param {Outcome} outcome
 */
function cloneOf(outcome) {
  try {
    return v8().serialize(outcome)
  } catch {
    return 'error' in outcome ? v8().serialize({ error: lesserError(outcome.error) }) : null
  }
}

/** An error with properties that cannot be cloned keeps what matters most. @param {unknown} error */
function lesserError(error) {
  const lesser = new Error(messageOf(error))
  try {
    const { name, code } = /** @type {{ name?: unknown, code?: unknown }} */ (Object(error))
    if (typeof name === 'string') lesser.name = name
    if (typeof code === 'string') Object.assign(lesser, { code })
  } catch {
    // What throws when it is looked at keeps its text, if it has one.
  }
  return lesser
}

exports.Flight = Flight
exports.Outcomes = Outcomes
exports.cloneOf = cloneOf
