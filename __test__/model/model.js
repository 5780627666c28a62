'use strict'

// What a cache is, in a few lines: a map whose entries have an end. Time is counted in ticks of the common clock, all of a round
// happens at one time, and lives end between two ticks.

const { valueOf } = require('./values.js')

/** The life of an entry for which a call gives none, in ticks. */
const DEFAULT_TTL = 6.5

/**
 * @typedef {object} Entry
 * @property {[string, number]} value in words
 * @property {number} until when it is not fresh any more
 * @property {number} staleFor for how long a loader may serve it from then on
 * @property {number} keptUntil until when Redis may hold it, fresh or not
 * @property {readonly string[]} tags
 * @property {boolean} gone a tag of it was invalidated: nobody is served it any more, but Redis may hold it
 */

class Model {
  /** The time in ticks. */
  now = 0
  /** @type {Map<string, Entry>} */
  entries = new Map()
  /** What is remembered of a factory that failed, by key: its error `until` then. `sure: false`, maybe forgotten. */
  failures = new Map()
  /** Until when a factory is not tried again, by key, since it failed while there was a stale value. */
  waits = new Map()

  /** @param {{ l1: boolean, l2: boolean }} kind the tiers that the cache has */
  constructor(kind) {
    this.kind = kind
  }

  /** The entry that readers see. */
  fresh(key) {
    const entry = this.entries.get(key)
    return entry && !entry.gone && this.now < entry.until ? entry : undefined
  }

  /** The entry that only a loader sees. */
  stale(key) {
    const entry = this.entries.get(key)
    if (entry === undefined || entry.gone || this.now < entry.until) return undefined
    return this.now < entry.until + entry.staleFor ? entry : undefined
  }

  /** What readers get. */
  read(key) {
    return valueOf(this.fresh(key)?.value)
  }

  /**
   * Whether a key is there for whoever does not read it; `undefined` if nobody promises either: it is not fresh any more, but Redis
   * may hold it.
   */
  there(key) {
    if (this.fresh(key)) return true
    const entry = this.entries.get(key)
    return entry && this.now < entry.keptUntil ? undefined : false
  }

  put(key, value, { ttl = DEFAULT_TTL, staleFor = 0, tags = [] } = {}) {
    this.drop(key)
    const entry = { value, staleFor, tags, gone: false }
    this.entries.set(key, entry)
    this.relive(entry, ttl)
  }

  /** Gives an entry another life from now on. */
  relive(entry, ttl) {
    entry.until = ttl === null ? Infinity : this.now + ttl
    entry.keptUntil = entry.until + entry.staleFor
  }

  /** Ends an entry's freshness. */
  age(entry) {
    entry.until = Math.min(entry.until, this.now)
  }

  /** Forgets a key, and what is remembered of its factory. */
  drop(key) {
    this.entries.delete(key)
    this.failures.delete(key)
    this.waits.delete(key)
  }

  /** Drops what has a key that `matches`. */
  dropMatches(matches) {
    for (const key of this.keys(matches)) this.drop(key)
    for (const key of this.failures.keys()) if (matches(key)) this.doubt(key)
  }

  /** Nobody promises that what was done to this key, which has no fresh entry, leaves its failure remembered, or that it does not. */
  doubt(key) {
    for (const each of [this.failures.get(key), this.waits.get(key)]) if (each) each.sure = false
  }

  /** The rest of a key whose factory has failed behind a stale value. */
  rest(key) {
    const wait = this.waits.get(key)
    return wait && this.now < wait.until ? wait : undefined
  }

  /** Ends what carries one of these tags, its stale value too. */
  invalidate(tags) {
    for (const entry of this.entries.values())
      if (entry.tags.some((tag) => tags.includes(tag))) entry.gone = true
  }

  /** The keys that were set and `matches`. */
  keys(matches) {
    return [...this.entries.keys()].filter(matches)
  }
}

module.exports = { DEFAULT_TTL, Model }
