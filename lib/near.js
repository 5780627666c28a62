'use strict'
/**
 * Objects that `l1.shareObjects` hands to all callers: one deep-frozen value a key, true as long as the generation of
 * the key's slot is the one it was decoded under. L1 is asked at every hit, so that expiry and clearing need no word
 * here. Values that cannot be frozen (Map, Set, Date, Buffer, those of an own codec) are never shared.
 */

/** Entries kept; beyond it the oldest goes. */
const LIMIT = 1_000

class Near {
  /** @type {Map<string, { generation: number, value: unknown }>} */
  #entries = new Map()

  /**
   * @param {string} key
   * @param {number} generation as the hit that found the text told it
   * @param {string} text JSON
   * @returns {unknown} throws a SyntaxError for damaged text
   */
  share(key, generation, text) {
    const known = this.#entries.get(key)
    if (known !== undefined && known.generation === generation) return known.value
    const value = freeze(JSON.parse(text))
    // Odd: a change is under way, and the text may already be the old one.
    if (generation % 2 === 0 && typeof value === 'object' && value !== null)
      this.#keep(key, generation, value)
    return value
  }

  /**
   * @param {string} key
   * @param {number} generation
   * @param {object} value
   */
  #keep(key, generation, value) {
    this.#entries.delete(key)
    this.#entries.set(key, { generation, value })
    if (this.#entries.size <= LIMIT) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }
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
