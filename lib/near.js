'use strict'
/**
 * Decoded values of hot entries of L1, for hits that need no native call. Each is proved by two words of memory that native
 * code writes: the generation of its key's slot, and the tide, which turns when anything changes that concerns more than one
 * slot (src/tide.rs). A value whose words are what they were before L1 was asked is what L1 would answer now. After a second, or
 * USES hits, L1 is asked again all the same: so it learns what is in use, and no clock of ours runs for long.
 *
 * Text and what JSON holds are kept. An object is handed out as a copy, or, with `l1.shareObjects`, as the same deep-frozen one to all;
 * what cannot be frozen (Map, Set, Date, Buffer, the values of an own codec) is neither kept nor shared. Where a runtime
 * allows no such memory nothing is kept, and the results are the same.
 */
const { now } = require('./clock.js')
const { KIND, SCRATCH } = require('./kinds.js')
const native = require('./native.js')

/** Entries and characters kept; beyond it the oldest goes. */
const MOST_ENTRIES = 2_048
const MOST_TEXT = 4 * 2 ** 20
/** Longer text is not kept, nor what is nested deeper. */
const LONGEST = 16 * 2 ** 10
const DEEPEST = 32
/** Hits until L1 is asked again. */
const USES = 64
/** Of so many hits of late the slots are known: only a second one is kept, so that a walk over many keys costs nothing. */
const RECENT = 2_048

/** @typedef {{ words: Uint32Array, hits: Float64Array }} Memory */
/**
 * @typedef {object} Entry
 * @property {unknown} value
 * @property {boolean} isShared the value itself is handed out
 * @property {number} length of the text
 * @property {number} slot
 * @property {number} generation of the slot
 * @property {number} tide
 * @property {number} until on `now`
 * @property {number} uses that are left
 */

class Near {
  /** @type {Map<string, Entry>} */
  #entries = new Map()
  #text = 0
  /** A bit for each slot that had a hit of late, and how many have one. */
  #recent
  #count = 0
  #words
  #hits
  #tide
  #shares

  /**
   * @param {Memory} memory
   * @param {boolean} shares
   */
  constructor({ words, hits }, shares) {
    this.#words = words
    this.#hits = hits
    this.#tide = words.length - 1
    this.#recent = new Uint32Array(Math.ceil(this.#tide / 32))
    this.#shares = shares
  }

  /**
   * @param {string} key
   * @returns {unknown} the value of a hit, which is counted; `undefined`: L1 is to be asked
   */
  get(key) {
    const entry = this.#entries.get(key)
    if (entry === undefined || !this.#holds(entry)) return undefined
    this.#hits[0] = Number(this.#hits[0]) + 1
    return handedOut(entry)
  }

  /** @param {Entry} entry */
  #holds(entry) {
    return (
      Atomics.load(this.#words, entry.slot) === entry.generation &&
      Atomics.load(this.#words, this.#tide) === entry.tide &&
      --entry.uses > 0 &&
      now() < entry.until
    )
  }

  /**
   * The value of a hit that L1 gave, as `scratch` tells.
   * @param {string} key
   * @param {Uint32Array} scratch
   * @param {string} text
   * @returns {unknown} throws a SyntaxError for damaged text
   */
  take(key, scratch, text) {
    const known = this.#entries.get(key)
    if (known !== undefined) {
      // No key of the slot was changed since: it is the same text, of which only the proof is renewed.
      if (known.generation === scratch[SCRATCH.GENERATION]) {
        prove(known, scratch)
        return handedOut(known)
      }
      this.#drop(key, known)
    }
    const value = scratch[SCRATCH.KIND] === KIND.TEXT ? text : JSON.parse(text)
    if (this.#shares) freeze(value)
    if (!this.#admits(scratch, text) || !isShallow(value, DEEPEST)) return value
    return handedOut(this.#keep(key, value, text.length, scratch))
  }

  /**
   * @param {Uint32Array} scratch
   * @param {string} text
   */
  #admits(scratch, text) {
    if (scratch[SCRATCH.MS] === 0 || text.length > LONGEST) return false
    const slot = Number(scratch[SCRATCH.SLOT])
    const [at, bit] = [slot >>> 5, 1 << (slot & 31)]
    const bits = Number(this.#recent[at])
    if ((bits & bit) !== 0) return true
    if (this.#count++ >= RECENT) {
      this.#recent.fill(0)
      this.#count = 0
    }
    this.#recent[at] = bits | bit
    return false
  }

  /**
   * @param {string} key
   * @param {unknown} value
   * @param {number} length
   * @param {Uint32Array} scratch
   */
  #keep(key, value, length, scratch) {
    const isShared = typeof value !== 'object' || this.#shares
    const [slot, generation] = [Number(scratch[SCRATCH.SLOT]), Number(scratch[SCRATCH.GENERATION])]
    const entry = { value, isShared, length, slot, generation, tide: 0, until: 0, uses: 0 }
    prove(entry, scratch)
    this.#entries.set(key, entry)
    this.#text += length
    for (const [oldest, other] of this.#entries) {
      if (this.#entries.size <= MOST_ENTRIES && this.#text <= MOST_TEXT) break
      this.#drop(oldest, other)
    }
    return entry
  }

  /**
   * @param {string} key
   * @param {Entry} entry
   */
  #drop(key, entry) {
    this.#entries.delete(key)
    this.#text -= entry.length
  }
}

/**
 * From now on the entry is what L1 would answer.
 * @param {Entry} entry
 * @param {Uint32Array} scratch
 */
function prove(entry, scratch) {
  entry.tide = Number(scratch[SCRATCH.TIDE])
  entry.until = now() + Number(scratch[SCRATCH.MS])
  entry.uses = USES
}

/** @param {Entry} entry */
function handedOut({ value, isShared }) {
  return isShared ? value : copyOf(value)
}

/**
 * The memory that a cache shares with this thread.
 * @param {import('./boundary').NativeCache} cache
 * @returns {Memory | undefined}
 */
function memoryOf(cache) {
  const memory = native.nearMemory(cache)
  return memory && { words: new Uint32Array(memory.words), hits: new Float64Array(memory.hits) }
}

/**
 * Copies a tree that JSON.parse made.
 * @param {unknown} node
 * @returns {unknown}
 */
function copyOf(node) {
  if (typeof node !== 'object' || node === null) return node
  if (Array.isArray(node)) return node.map(copyOf)
  /** @type {Record<string, unknown>} */ const copy = { ...node }
  for (const name of Object.keys(copy)) {
    const value = copy[name]
    if (typeof value === 'object' && value !== null) copy[name] = copyOf(value)
  }
  return copy
}

/**
 * @param {unknown} node
 * @param {number} depth
 * @returns {boolean}
 */
function isShallow(node, depth) {
  if (typeof node !== 'object' || node === null) return true
  return depth > 0 && Object.values(node).every((value) => isShallow(value, depth - 1))
}

/**
 * Freezes a tree that JSON.parse made.
 * @param {unknown} node
 */
function freeze(node) {
  if (typeof node !== 'object' || node === null) return node
  for (const value of Object.values(node)) freeze(value)
  return Object.freeze(node)
}

exports.Near = Near
exports.freeze = freeze
exports.memoryOf = memoryOf
