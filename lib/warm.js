'use strict'
/**
 * warm: filling a cache before it is asked, batch by batch. What is cached already stays as it is: each batch is a
 * getOrSetMany, so that a newer value is never overwritten and nobody makes a value twice. Between batches the event loop
 * has its turn. In L1 nothing that is there makes room for what is brought.
 */
const timers = require('node:timers')
const { OPTIONS, checkEntry, checkKey, readCall } = require('./calls.js')
const { expected } = require('./checks.js')
const { CacheError, abortedBy, closedError, messageOf } = require('./errors.js')
const { loadMany } = require('./load-many.js')
const { entriesOf, readEntry } = require('./writes.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {{ done: number, total: number, failed: number, skipped: number, next: number, failedKeys: string[] }} Report */
/** @typedef {{ key: string, value?: unknown, options: Record<string, any> }} Item */

const DEFAULTS = { concurrency: 4, batch: 100, start: 0 }

/**
 * How each key is loaded, whatever is the cache's default: what is fresh stays as it is, what is stale is waited for, and
 * nothing makes room.
 */
const GENTLY = { gentle: true, fresh: false, eagerRefresh: 1, factorySoftTimeout: 2 ** 31 }

/** One run over a source. */
class Warming {
  /** @type {Report} */
  report
  /** The first item of each batch that is not settled. */
  #underWay = new Set()
  /** Why no further batch is begun. @type {{ error: unknown } | undefined} */
  #failure
  #told = false
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
    /** @type {Set<Promise<unknown>>} */ const running = new Set()
    try {
      for await (const items of this.#batches(source)) {
        this.#check()
        const batch = this.#bring(items)
          .catch((error) => (this.#failure ??= { error }))
          .finally(() => running.delete(batch))
        running.add(batch)
        if (running.size >= this.concurrency) await Promise.race(running)
        await timers.promises.setImmediate()
      }
    } finally {
      await Promise.allSettled(running)
    }
    this.#check()
    this.report.total = this.report.next = this.#read
    return this.report
  }

  #check() {
    if (this.#failure !== undefined) throw this.#failure.error
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
    const keys = [...byKey.keys()]
    /** What was asked for here, and whether it was given. @type {Map<string, boolean>} */ const made =
      new Map()
    const optionsOf = (/** @type {string} */ key) => ({
      ...byKey.get(key)?.options,
      ...GENTLY,
      signal: this.signal,
    })
    const ends = await Promise.allSettled(loadMany(this.handle, keys, this.#loaderOf(byKey, made), optionsOf))
    this.#refuse(ends, made)
    // A batch that was left is not settled: whoever goes on begins with it.
    if (this.signal?.aborted && ends.some(({ status }) => status === 'rejected')) return
    ends.forEach((end, index) => this.#count(String(keys[index]), end, made))
    // The same key again: what was brought first is there already.
    this.report.skipped += items.length - keys.length
    this.#underWay.delete(first)
    this.report.next = Math.min(this.#brought, ...this.#underWay)
    this.#tell()
  }

  /**
   * @param {Map<string, Item>} byKey
   * @param {Map<string, boolean>} made
   * @returns {import('./load-many.js').LoadMissing}
   */
  #loaderOf(byKey, made) {
    return async (keys, context) => {
      for (const key of keys) made.set(key, false)
      const given =
        this.load === undefined
          ? keys.map((key) => byKey.get(key)?.value)
          : await this.load([...keys], context)
      for (const key of keys) made.set(key, true)
      return given
    }
  }

  /**
   * A key that is none is an error of the whole call.
   * @param {PromiseSettledResult<unknown>[]} ends
   * @param {Map<string, boolean>} made
   */
  #refuse(ends, made) {
    if (made.size > 0) return
    for (const end of ends)
      if (
        end.status === 'rejected' &&
        end.reason instanceof CacheError &&
        end.reason.code === 'ERR_CACHE_KEY'
      )
        throw end.reason
  }

  /**
   * @param {string} key
   * @param {PromiseSettledResult<unknown>} end
   * @param {Map<string, boolean>} made
   */
  #count(key, end, made) {
    const { report } = this
    // Something stale may stand in for what the loader did not give.
    if (end.status === 'rejected') this.#tellOf(end.reason)
    if (end.status === 'rejected' || end.value === undefined || made.get(key) === false) {
      report.failed++
      report.failedKeys.push(key)
    } else if (made.has(key) && this.#isKept(key)) report.done++
    else report.skipped++
  }

  /** The report says which keys failed, this once why. @param {unknown} error */
  #tellOf(error) {
    if (this.#told) return
    this.#told = true
    this.handle.warn('warm-failed', `warm could not bring every key: ${messageOf(error)}`)
  }

  /** What found no room in L1 is nowhere without Redis. @param {string} key */
  #isKept(key) {
    const { native } = this.handle
    return native.peek(key) !== undefined || native.state() === 'up'
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
  checkEntry(read, handle)
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
