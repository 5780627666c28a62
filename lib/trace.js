'use strict'
/**
 * The channel `evenkeel:operation` of node:diagnostics_channel: one message an operation, from the thread that asked. While
 * nobody listens, an operation looks at a boolean and does nothing else.
 */
const { channel } = require('node:diagnostics_channel')
const { performance } = require('node:perf_hooks')
const { PENDING } = require('./completions.js')
const { KIND } = require('./kinds.js')

/** @typedef {import('../index.js').OperationMessage} Message */
/** @typedef {import('./handle.js').Operation} Operation */
/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */

const operations = channel('evenkeel:operation')

/** Reads, whose answer says whether there was something. */
const READS = new Set(['get', 'has', 'ttl'])

/** When an operation that is listened to begins, else 0. */
function begin() {
  return operations.hasSubscribers ? performance.now() : 0
}

/**
 * @param {Handle} handle
 * @param {number} began what `begin` gave
 * @param {Pick<Message, 'operation' | 'key' | 'tier' | 'outcome' | 'error'>} about
 */
function publish(handle, began, about) {
  const message = { cache: handle.shared.name, ...about, duration: performance.now() - began }
  operations.publish(/** @satisfies {Message} */ (message))
}

/**
 * What L1 had, for which there is no ticket.
 * @param {Handle} handle
 * @param {number} began
 * @param {string} operation
 * @param {string} key
 * @param {'hit' | 'miss'} [outcome] a miss: it cannot be decoded
 */
function hit(handle, began, operation, key, outcome = 'hit') {
  if (began > 0) publish(handle, began, { operation, key, tier: 'l1', outcome })
}

/**
 * The end of an operation that had a ticket.
 * @param {Operation} operation
 * @param {number} began
 * @param {{ kind: number, waited: boolean, result?: unknown, error?: unknown }} end `waited`: it was not answered at once
 */
function end({ handle, name, key, detail }, began, { kind, waited, result, error }) {
  const leads = /** @type {{ running?: unknown } | undefined} */ (detail)?.running !== undefined
  const made = leads || kind === KIND.LOADED || kind === KIND.FACTORY_ERROR
  publish(handle, began, {
    operation: name,
    ...(key !== undefined && { key }),
    tier: made ? 'origin' : waited ? 'l2' : 'l1',
    outcome: error === undefined ? outcomeOf(name, kind, made, result) : 'error',
    ...(error !== undefined && { error }),
  })
}

/**
 * @param {Operation} operation
 * @param {number} began
 * @param {Finish} finish
 * @returns {Finish} which tells those who listen as well
 */
function heard(operation, began, finish) {
  return (ticket, kind, value) => {
    const told = operation.behind !== true && (!ticket.answered || kind === KIND.STALE)
    const about = { kind, waited: ticket.pending }
    try {
      const result = finish(ticket, kind, value)
      if (!told) return result
      if (result instanceof Promise) heardLater(operation, began, { ...about, result })
      else if (result !== PENDING || kind === KIND.STALE) end(operation, began, { ...about, result })
      return result
    } catch (error) {
      if (told) end(operation, began, { ...about, error })
      throw error
    }
  }
}

/**
 * A caller that gets the value of its own factory, and not by a flight. Of a promise of another operation that one tells.
 * @param {Operation} operation
 * @param {number} began
 * @param {{ kind: number, waited: boolean, result: Promise<unknown> }} about
 */
function heardLater(operation, began, { result, ...about }) {
  const { running } = /** @type {{ running?: unknown }} */ (operation.detail ?? {})
  if (running !== result) return
  result.then(
    (value) => end(operation, began, { ...about, result: value }),
    (error) => end(operation, began, { ...about, error }),
  )
}

/**
 * @param {string} name
 * @param {number} kind
 * @param {boolean} made
 * @param {unknown} result
 * @returns {Message['outcome']}
 */
function outcomeOf(name, kind, made, result) {
  if (kind === KIND.STALE) return 'stale'
  if (made) return 'loaded'
  if (READS.has(name)) return result === undefined || result === false ? 'miss' : 'hit'
  return name === 'getOrSet' ? 'hit' : 'ok'
}

exports.begin = begin
exports.end = end
exports.heard = heard
exports.hit = hit
