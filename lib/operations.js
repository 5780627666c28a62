'use strict'
/**
 * The methods that a cache and its views have in common; each is one line over the file that does the work. The
 * contract, with types and units, is index.d.ts.
 */
const { EventEmitter } = require('node:events')
const { inspect } = require('node:util')
const { OPTIONS, readCall } = require('./calls.js')
const { describe, refused } = require('./checks.js')
const { Handle } = require('./handle.js')
const { getOrSetMany } = require('./load-many.js')
const { getOrSet } = require('./loader.js')
const locks = require('./locks.js')
const patterns = require('./patterns.js')
const reads = require('./reads.js')
const server = require('./server.js')
const { warm } = require('./warm.js')
const { wrap } = require('./wrap.js')
const writes = require('./writes.js')

/** Prometheus text, as `metrics()` writes it. */
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * The native cache behind a cache or a view of it, `undefined` for anything else.
 * @type {(object: object) => import('./boundary').NativeCache | undefined}
 */
let nativeOf

class Operations extends EventEmitter {
  #handle

  static {
    nativeOf = (object) => (#handle in object ? object.#handle.shared.native : undefined)
  }

  /** @param {Handle} handle */
  constructor(handle) {
    super()
    this.#handle = handle
  }

  /** @param {string} key @param {unknown} [opts] */
  get(key, opts) {
    return reads.get(this.#handle, key, opts)
  }

  /** @param {readonly string[]} keys @param {unknown} [opts] */
  getMany(keys, opts) {
    return reads.getMany(this.#handle, keys, opts)
  }

  /** @param {string} key @param {unknown} [opts] */
  has(key, opts) {
    return reads.has(this.#handle, key, opts)
  }

  /** @param {string} key @param {unknown} [opts] */
  ttl(key, opts) {
    return reads.ttl(this.#handle, key, opts)
  }

  /** @param {string} key */
  peek(key) {
    return reads.peek(this.#handle, key)
  }

  /** @param {string} glob @param {unknown} [opts] */
  keys(glob, opts) {
    return patterns.keys(this.#handle, glob, opts)
  }

  /** @param {string} key @param {(context: import('../index.js').FactoryContext) => unknown} factory @param {unknown} [opts] */
  getOrSet(key, factory, opts) {
    return getOrSet(this.#handle, key, factory, opts)
  }

  /** @param {(...args: any[]) => unknown} fn @param {unknown} opts */
  wrap(fn, opts) {
    return wrap(this.#handle, fn, opts)
  }

  /** @param {readonly string[]} keys @param {import('./load-many.js').LoadMissing} loadMissing @param {unknown} [opts] */
  getOrSetMany(keys, loadMissing, opts) {
    return getOrSetMany(this.#handle, keys, loadMissing, opts)
  }

  /** @param {unknown} source @param {unknown} [opts] */
  warm(source, opts) {
    return warm(this.#handle, source, opts)
  }

  /** @param {string} key @param {unknown} value @param {unknown} [opts] */
  set(key, value, opts) {
    return writes.set(this.#handle, key, value, opts)
  }

  /** @param {unknown} entries @param {unknown} [opts] */
  setMany(entries, opts) {
    return writes.setMany(this.#handle, entries, opts)
  }

  /** @param {string} key @param {unknown} [opts] */
  delete(key, opts) {
    return writes.remove(this.#handle, key, opts)
  }

  /** @param {string} key @param {unknown} [opts] */
  del(key, opts) {
    return writes.remove(this.#handle, key, opts)
  }

  /** @param {readonly string[]} keys @param {unknown} [opts] */
  deleteMany(keys, opts) {
    return writes.removeMany(this.#handle, keys, opts)
  }

  /** @param {string} glob @param {unknown} [opts] */
  deletePattern(glob, opts) {
    return patterns.deletePattern(this.#handle, glob, opts)
  }

  /** @param {unknown} [opts] */
  clear(opts) {
    return patterns.clear(this.#handle, opts)
  }

  /** @param {string} key @param {number | null} ttl @param {unknown} [opts] */
  touch(key, ttl, opts) {
    return writes.touch(this.#handle, key, ttl, opts)
  }

  /** @param {string} key @param {unknown} [opts] */
  markStale(key, opts) {
    return writes.markStale(this.#handle, key, opts)
  }

  /** @param {string} key @param {number} [by] @param {unknown} [opts] */
  increment(key, by = 1, opts) {
    return writes.increment(this.#handle, key, by, opts)
  }

  /** @param {string} key @param {number} [by] @param {unknown} [opts] */
  decrement(key, by = 1, opts) {
    return writes.increment(this.#handle, key, typeof by === 'number' ? 0 - by : by, opts)
  }

  /** @param {...unknown} tags */
  invalidateTags(...tags) {
    return writes.invalidateTags(this.#handle, tags)
  }

  /** @param {string} key @param {unknown} [opts] */
  lock(key, opts) {
    return locks.lock(this.#handle, key, opts)
  }

  /** @param {string} key @param {unknown} opts @param {(lock: import('../index.js').Lock) => unknown} fn */
  withLock(key, opts, fn) {
    return locks.withLock(this.#handle, key, opts, fn)
  }

  /** @param {string} name @param {readonly unknown[]} [args] @param {unknown} [opts] */
  command(name, args = [], opts) {
    return server.command(this.#handle, name, args, opts)
  }

  /** @param {readonly unknown[]} list @param {unknown} [opts] */
  commands(list, opts) {
    return server.commands(this.#handle, list, opts)
  }

  /** @param {unknown} [opts] */
  ping(opts) {
    return server.ping(this.#handle, opts)
  }

  /** @param {unknown} [opts] */
  ready(opts) {
    return server.ready(this.#handle, opts)
  }

  /** @param {unknown} [opts] */
  settled(opts) {
    return server.settled(this.#handle, opts)
  }

  /** @param {string} prefix */
  namespaced(prefix) {
    if (typeof prefix !== 'string' || prefix === '')
      throw refused(`Expected \`prefix\` to be a non-empty string, got ${describe(prefix)}`)
    const { shared, native, prefix: outer, tagBytes } = this.#handle
    const room = tagBytes - Buffer.byteLength(prefix) - 1
    return new View(new Handle(shared, native.view(prefix), `${outer}${prefix}:`, room), shared.emitter)
  }

  get state() {
    return this.#handle.shared.native.state()
  }

  /** @param {unknown} [opts] */
  health(opts) {
    return JSON.parse(this.#handle.shared.native.health(readCall(opts, OPTIONS.health)['verbose'] === true))
  }

  stats() {
    return JSON.parse(this.#handle.shared.native.stats())
  }

  /** @param {unknown} [opts] */
  metrics(opts) {
    return this.#handle.shared.native.metrics(readCall(opts, OPTIONS.metrics)['openMetrics'] === true)
  }

  /** Shows neither options nor keys. @param {number} _depth @param {import('node:util').InspectOptions} options */
  [inspect.custom](_depth, options) {
    return `${this.constructor.name} ${inspect({ state: this.state, prefix: this.#handle.prefix }, options)}`
  }
}
Object.assign(Operations.prototype.metrics, { contentType: CONTENT_TYPE })

/** What `namespaced` gives: the operations under a prefix, and the events of the cache it belongs to. */
class View extends Operations {
  #emitter

  /**
   * @param {Handle} handle
   * @param {EventEmitter} emitter
   */
  constructor(handle, emitter) {
    super(handle)
    this.#emitter = emitter
  }

  static {
    const shared = /** @type {const} */ ([
      'on',
      'once',
      'off',
      'addListener',
      'removeListener',
      'prependListener',
      'prependOnceListener',
    ])
    for (const name of shared) {
      /** @this {View} @param {string | symbol} event @param {(...args: any[]) => void} listener */
      const value = function (event, listener) {
        this.#emitter[name](event, listener)
        return this
      }
      Object.defineProperty(View.prototype, name, { value, configurable: true, writable: true })
    }
  }
}

exports.CONTENT_TYPE = CONTENT_TYPE
exports.Operations = Operations
exports.nativeOf = nativeOf
