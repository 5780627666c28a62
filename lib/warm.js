'use strict'
/**
 * warm: filling a cache before it is asked, batch by batch. What is cached already stays as it is: each batch is a
 * getOrSetMany, so that a newer value is never overwritten and nobody makes a value twice. Between batches the event loop
 * has its turn. In L1 nothing that is there makes room for what is brought.
 */
const { setImmediate: turn } = require('node:timers/promises')
const { OPTIONS, checkKey, readCall } = require('./calls.js')
const { expected } = require('./checks.js')
const { abortedBy, closedError, messageOf } = require('./errors.js')
const { loadMany } = require('./load-many.js')
const { entriesOf, readEntry } = require('./writes.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {{ done: number, total: number, failed: number, skipped: number, next: number, failedKeys: string[] }} Report */
/** @typedef {{ key: string, value?: unknown, options: Record<string, any> }} Item */

const DEFAULTS = { concurrency: 4, batch: 100, start: 0 }

/** One run over a source. */
class Warming {
  /** @type {Report} */
  report
  /** The first item of each batch under way. */
  #underWay = new Set()
  /** Items that were read from the source, and those of them that are in batches. */
  #read = 0
  #brought = 0

  /**
   * @param {Handle} handle
   * @param {Record<string, any>} read
   * @param {number} total items of the source, as far as it says
   */
  constructor(handle, read, total) {
    /** @type {Record<string, any>} */ const given = { ...DEFAULTS, ...read }
    const { load, concurrency, batch, start, onProgress, signal, ...entry } = given
    this.handle = handle
    this.load = load
    this.concurrency = concurrency
    this.batch = batch
    this.start = start
    this.onProgress = onProgress
    this.signal = signal
    this.entry = entry
    this.report = { done: 0, total, failed: 0, skipped: 0, next: start, failedKeys: [] }
  }

  /** @param {AsyncIterable<unknown> | Iterable<unknown>} source */
  async run(source) {
    /** @type {Set<Promise<void>>} */ const running = new Set()
    try {
      for await (const items of this.#batches(source)) {
        this.#check()
        const batch = this.#bring(items).finally(() => running.delete(batch))
        running.add(batch)
        if (running.size >= this.concurrency) await Promise.race(running)
        await turn()
      }
    } finally {
      await Promise.allSettled(running)
    }
    this.#check()
    this.report.total = this.report.next = this.#read
    return this.report
  }

  #check() {
    if (this.signal?.aborted) throw abortedBy(this.signal)
    if (this.handle.shared.closed) throw closedError()
  }

  /**
   * @param {AsyncIterable<unknown> | Iterable<unknown>} source
   * @returns {AsyncGenerator<{ first: number, items: Item[] }>}
   */
  async *#batches(source) {
    /** @type {Item[]} */ let items = []
    for await (const given of source) {
      const index = this.#read++
      this.report.total = Math.max(this.report.total, this.#read)
      if (index < this.start) continue
      items.push(this.#item(given, index))
      if (items.length < this.batch) continue
      yield { first: this.#read - items.length, items }
      items = []
    }
    if (items.length > 0) yield { first: this.#read - items.length, items }
  }

  /**
   * @param {unknown} given
   * @param {number} index
   * @returns {Item}
   */
  #item(given, index) {
    if (this.load !== undefined) {
      checkKey(given, `source[${index}]`)
      return { key: given, options: this.entry }
    }
    const { key, value, ...own } = readEntry(given, index, this.handle, 'source')
    return { key, value, options: { ...this.entry, ...own } }
  }

  /** @param {{ first: number, items: Item[] }} batch */
  async #bring({ first, items }) {
    this.#underWay.add(first)
    this.#brought = first + items.length
    const byKey = new Map(items.map((item) => [item.key, item]))
    /** @type {Set<string>} */ const made = new Set()
    const load = async (/** @type {string[]} */ keys, /** @type {object} */ context) => {
      for (const key of keys) made.add(key)
      return this.load === undefined
        ? keys.map((key) => byKey.get(key)?.value)
        : await this.load(keys, context)
    }
    const keys = [...byKey.keys()]
    const optionsOf = (/** @type {string} */ key) => ({ ...byKey.get(key)?.options, gentle: true })
    const ends = await Promise.allSettled(loadMany(this.handle, keys, load, optionsOf))
    ends.forEach((end, index) => this.#count(String(keys[index]), end, made))
    // The same key again: what was brought first is there already.
    this.report.skipped += items.length - keys.length
    this.#underWay.delete(first)
    this.report.next = Math.min(this.#brought, ...this.#underWay)
    this.#tell()
  }

  /**
   * @param {string} key
   * @param {PromiseSettledResult<unknown>} end
   * @param {Set<string>} made the keys whose values were made here
   */
  #count(key, end, made) {
    const { report } = this
    if (end.status === 'rejected' || end.value === undefined) {
      report.failed++
      report.failedKeys.push(key)
    } else if (made.has(key) && this.#isKept(key)) report.done++
    else report.skipped++
  }

  /** Without Redis what found no room in L1 is nowhere. @param {string} key */
  #isKept(key) {
    return this.handle.shared.config['redis'] !== undefined || this.handle.native.peek(key) !== undefined
  }

  #tell() {
    if (this.onProgress === undefined) return
    try {
      this.onProgress({ ...this.report, failedKeys: [...this.report.failedKeys] })
    } catch (error) {
      this.handle.warn('listener-threw', `onProgress of warm threw: ${messageOf(error)}`)
    }
  }
}

/**
 * @param {Handle} handle
 * @param {unknown} source
 * @param {unknown} opts
 * @returns {Promise<Report>}
 */
async function warm(handle, source, opts) {
  const read = readCall(opts, OPTIONS.warm)
  const items = sourceOf(source, read['load'] !== undefined)
  const { length, size = length } = /** @type {{ length?: number, size?: number }} */ (items)
  return new Warming(handle, read, typeof size === 'number' ? size : 0).run(items)
}

/**
 * @param {any} source
 * @param {boolean} ofKeys
 * @returns {AsyncIterable<unknown> | Iterable<unknown>}
 */
function sourceOf(source, ofKeys) {
  if (typeof source?.[Symbol.asyncIterator] === 'function') return source
  if (ofKeys && (typeof source !== 'object' || typeof source?.[Symbol.iterator] !== 'function'))
    throw expected('source', 'an iterable of keys', source)
  if (!ofKeys && Array.isArray(source) && source.some((item) => typeof item === 'string'))
    throw expected('source', 'entries, or keys beside the option `load`', source)
  return ofKeys ? source : entriesOf(source, 'source')
}

exports.warm = warm
