'use strict'
/**
 * Listening for aborts with one listener a signal, however many calls share it: Node prints a warning about a leak for
 * the eleventh listener of one AbortSignal.
 */

/** @type {WeakMap<AbortSignal, { waiting: Set<() => void>, listener: () => void }>} */
const signals = new WeakMap()

/**
 * @param {AbortSignal} signal not aborted yet
 * @param {() => void} abort called once
 * @returns {() => void} takes it off again
 */
function onAbort(signal, abort) {
  const { waiting, listener } = signals.get(signal) ?? listen(signal)
  waiting.add(abort)
  return () => {
    waiting.delete(abort)
    if (waiting.size > 0) return
    signal.removeEventListener('abort', listener)
    signals.delete(signal)
  }
}

/** @param {AbortSignal} signal */
function listen(signal) {
  /** @type {Set<() => void>} */
  const waiting = new Set()
  const listener = () => {
    for (const abort of [...waiting]) abort()
  }
  const entry = { waiting, listener }
  signal.addEventListener('abort', listener, { once: true })
  signals.set(signal, entry)
  return entry
}

exports.onAbort = onAbort
