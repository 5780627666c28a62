'use strict'
/** The Cache class: making one, forcing memory mode, closing. What can be done with it is in operations.js. */
const { CONTENT_TYPE, Operations, nativeOf } = require('./operations.js')
const { createCodec } = require('./codec.js')
const { environmentOf } = require('./environment.js')
const { CacheError, errorFrom } = require('./errors.js')
const { checks, describe, refused } = require('./checks.js')
const { Handle, operate } = require('./handle.js')
const { dropLocks } = require('./locks.js')
const { createLog } = require('./logger.js')
const native = require('./native.js')
const { readCacheOptions } = require('./options.js')

/**
 * @param {import('./options.js').Options} options
 * @returns {Omit<import('./handle.js').Shared, 'emitter'>}
 */
function open({ config, hooks, ignored }) {
  const environment = environmentOf()
  const cache = construct(JSON.stringify(config), environment.completions)
  const log = createLog(hooks.logger)
  if (ignored.length > 0)
    log('debug', `Redis options of ioredis that have no effect here: ${ignored.join(', ')}`, {
      event: 'options',
      ignored,
    })
  const codec = createCodec({ format: config['l2']?.format, codec: hooks.codec })
  return {
    id: cache.id(),
    name: cache.name(),
    native: cache,
    config,
    hooks,
    log,
    codec,
    closed: false,
    told: false,
    flushing: false,
  }
}

/**
 * @param {string} config
 * @param {import('./boundary').Completions} completions
 */
function construct(config, completions) {
  try {
    return new native.NativeCache(config, completions)
  } catch (error) {
    throw errorFrom(error)
  }
}

/** @param {Record<string, any>} config */
function prefixOf({ namespace, redis }) {
  return namespace ? `${namespace}:` : (redis?.keyPrefix ?? '')
}

class Cache extends Operations {
  #handle
  /** @type {Promise<void> | undefined} */
  #closing

  /** @param {unknown} [options] */
  constructor(options = {}) {
    const read = readCacheOptions(options, process.env)
    const shared = /** @type {import('./handle.js').Shared} */ (open(read))
    const handle = new Handle(shared, shared.native, prefixOf(read.config))
    super(handle)
    shared.emitter = this
    this.#handle = handle
    environmentOf().register(shared)
    this.on('newListener', (event) => {
      if (event === 'invalidated') shared.native.tellOfInvalidations()
    })
  }

  /** @param {boolean} on */
  setMemoryMode(on) {
    checks.flag(on, 'on')
    if (!this.#handle.shared.closed) this.#handle.native.setMemoryMode(on)
  }

  /** @returns {Promise<void>} */
  close() {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #close() {
    const handle = this.#handle
    const closing = operate({ handle, name: 'close', finish: () => undefined }, (own, ticket) =>
      own.close(ticket),
    )
    handle.shared.closed = true
    dropLocks(handle.shared)
    return closing
  }
}
if (Symbol.asyncDispose)
  Object.defineProperty(Cache.prototype, Symbol.asyncDispose, {
    value: Cache.prototype.close,
    configurable: true,
    writable: true,
  })

/** @param {...any} caches whose metrics are written together, each family once */
function metricsOf(...caches) {
  const natives = caches.map((cache) => {
    const own = typeof cache === 'object' && cache !== null ? nativeOf(cache) : undefined
    if (own === undefined) throw refused(`Expected \`caches\` to be caches, got ${describe(cache)}`)
    return own
  })
  // A view stands for its cache.
  return native.metricsOf([...new Set(natives)], false)
}
metricsOf.contentType = CONTENT_TYPE

/** @param {string} text */
function escapeGlob(text) {
  if (typeof text !== 'string') throw refused(`Expected \`text\` to be a string, got ${describe(text)}`)
  return native.escapeGlob(text)
}

exports.Cache = Cache
exports.CacheError = CacheError
exports.escapeGlob = escapeGlob
exports.metricsOf = metricsOf
