'use strict'
/** Delivering events so that no listener can hurt the cache or another listener. */

/**
 * Calls every listener with one object. Unlike `emit`, one that throws stops nothing: it is reported by
 * process.emitWarning, as is the rejection of an asynchronous one.
 * @param {import('node:events').EventEmitter} emitter
 * @param {string} type
 * @param {object} event
 */
function deliver(emitter, type, event) {
  // The raw ones are the wrappers of `once`, which take themselves off when called.
  for (const listener of emitter.rawListeners(type)) {
    try {
      const result = /** @type {unknown} */ (listener.call(emitter, event))
      if (result instanceof Promise) result.catch((error) => report(type, error))
    } catch (error) {
      report(type, error)
    }
  }
}

/**
 * @param {string} type
 * @param {unknown} error
 */
function report(type, error) {
  const { message = error, stack } = /** @type {Partial<Error>} */ (Object(error))
  process.emitWarning(`A listener of the event "${type}" of a cache threw: ${String(message)}`, {
    type: 'CacheWarning',
    ...(typeof stack === 'string' && { detail: stack }),
  })
}

exports.deliver = deliver
