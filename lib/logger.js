'use strict'
/**
 * The bridge to the user's logger. Knows the shapes of console, winston, pino (fields first; recognised by `bindings`)
 * and Nest (`log` where `info` is missing). What is logged is decided elsewhere.
 */

/** @typedef {'error' | 'warn' | 'info' | 'debug'} Level */
/** @typedef {(level: Level, message: string, fields: object) => void} Log */

/** Where a line goes if the logger lacks its level; a missing `debug` means that nobody wants to read it. @type {Record<Level, string[]>} */
const METHODS = { error: ['error'], warn: ['warn', 'error'], info: ['info', 'log'], debug: ['debug'] }

/**
 * @param {import('../index.js').Logger | undefined} logger
 * @returns {Log} never throws: a logger that does is reported once by process.emitWarning
 */
function createLog(logger) {
  if (logger === undefined) return () => {}
  const target = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (logger))
  const fieldsFirst = typeof target['bindings'] === 'function'
  let reported = false
  return (level, message, fields) => {
    // Looked up at each line: spies and level changes replace methods.
    const name = METHODS[level].find((each) => typeof target[each] === 'function')
    if (name === undefined) return
    const write = /** @type {Function} */ (target[name])
    try {
      if (fieldsFirst) write.call(logger, fields, message)
      else write.call(logger, message, fields)
    } catch (error) {
      if (!reported)
        process.emitWarning(
          `The logger given to evenkeel threw: ${String(Object(error).message ?? error)}`,
          'CacheWarning',
        )
      reported = true
    }
  }
}

exports.createLog = createLog
