'use strict'
/**
 * getOrSetMany: each key is a load like any other, with a flight of its own; here the factories of those that this call
 * leads are one. It is called once it is known of every key whether somebody has it, makes it, or nobody: with exactly the
 * keys that nobody else is making. A key that comes to this call later, since whoever made it is gone, is asked for in a
 * further call.
 */
const { OPTIONS, checkKeys, readCall } = require('./calls.js')
const { describe, expected, isObject, refused } = require('./checks.js')
const { environmentOf } = require('./environment.js')
const { attempt, operateMany } = require('./handle.js')
const { KIND } = require('./kinds.js')
const { operationOf } = require('./load.js')
const { hitOf } = require('./loader.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./load.js').Load} Load */
/** @typedef {import('./load.js').Factory} Factory */
/** @typedef {import('../index.js').FactoryContext} Context */
/** @typedef {(keys: string[], context: { readonly signal: AbortSignal }) => unknown} LoadMissing */
/** @typedef {{ key: string, context: Context, resolve: (value: unknown) => void, reject: (error: unknown) => void }} Asked */

/** The factories of one call, which are one. */
class Batch {
  #loadMissing
  /** Keys of which it is not known yet whether they have to be made. */
  #open = 0
  /** @type {Asked[]} */
  #asked = []

  /** @param {LoadMissing} loadMissing */
  constructor(loadMissing) {
    this.#loadMissing = loadMissing
  }

  /** So many keys are undecided. @param {number} keys */
  await(keys) {
    this.#open += keys
  }

  /**
   * The factory of one key.
   * @param {string} key
   * @returns {(context: Context) => Promise<unknown>}
   */
  factory(key) {
    return (context) =>
      new Promise((resolve, reject) => {
        this.#asked.push({ key, context, resolve, reject })
        if (this.#open === 0) queueMicrotask(() => this.#run())
      })
  }

  /** It is known of one more key. */
  decided() {
    if (--this.#open === 0) queueMicrotask(() => this.#run())
  }

  async #run() {
    const asked = this.#asked.splice(0)
    if (asked.length === 0) return
    try {
      const keys = asked.map(({ key }) => key)
      const valueOf = valuesBy(keys, await this.#loadMissing(keys, contextOf(asked)))
      for (const { key, resolve } of asked) resolve(valueOf(key))
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }
}

/**
 * One signal for all: it aborts when nobody wants any of the values any more.
 * @param {Asked[]} asked
 */
function contextOf(asked) {
  /** @type {AbortController | undefined} */
  let controller
  return {
    get signal() {
      if (controller !== undefined) return controller.signal
      const all = new AbortController()
      controller = all
      let wanted = asked.length
      const left = (/** @type {AbortSignal} */ signal) => {
        if (--wanted === 0) all.abort(signal.reason)
      }
      for (const { context } of asked) {
        const { signal } = context
        if (signal.aborted) left(signal)
        else signal.addEventListener('abort', () => left(signal), { once: true })
      }
      return all.signal
    },
  }
}

/**
 * How the value of a key is found in what the factory gave.
 * @param {string[]} keys
 * @param {any} given
 * @returns {(key: string) => unknown}
 */
function valuesBy(keys, given) {
  if (given instanceof Map) return (key) => given.get(key)
  if (Array.isArray(given)) {
    if (given.length !== keys.length)
      throw refused(
        `Expected \`loadMissing(…)\` to give as many values as keys (${keys.length}), got ${given.length}`,
      )
    const values = new Map(keys.map((key, index) => [key, given[index]]))
    return (key) => values.get(key)
  }
  if (isObject(given)) return (key) => (Object.hasOwn(given, key) ? given[key] : undefined)
  throw refused(
    `Expected \`loadMissing(…)\` to give an array, a Map or an object of values, got ${describe(given)}`,
  )
}

/**
 * @param {Handle} handle
 * @param {readonly string[]} keys
 * @param {LoadMissing} loadMissing
 * @param {unknown} opts
 * @returns {Promise<any[]>}
 */
function getOrSetMany(handle, keys, loadMissing, opts) {
  return attempt(() => {
    if (typeof loadMissing !== 'function') throw expected('loadMissing', 'a function', loadMissing)
    checkKeys(keys)
    const read = readCall(opts, OPTIONS.load)
    const unique = [...new Set(keys)]
    const loaded = loadMany(handle, unique, loadMissing, () => read)
    return Promise.all(loaded).then((values) => {
      const byKey = new Map(unique.map((key, index) => [key, values[index]]))
      return keys.map((key) => byKey.get(key))
    })
  })
}

/**
 * The promises of the values, in the order of the keys.
 * @param {Handle} handle
 * @param {string[]} keys each once
 * @param {LoadMissing} loadMissing
 * @param {(key: string) => Record<string, any>} optionsOf the options of each; all have the same signal and strictness
 * @returns {Promise<any>[]}
 */
function loadMany(handle, keys, loadMissing, optionsOf) {
  /** @type {Map<string, Promise<any>>} */ const promises = new Map()
  /** @type {{ key: string, load: (factory: Factory) => Load }[]} */ const needed = []
  for (const key of keys) {
    const read = optionsOf(key)
    const hit = hitOf(handle, key, read)
    if ('value' in hit) promises.set(key, Promise.resolve(hit.value))
    if (hit.load !== undefined) needed.push({ key, load: hit.load })
  }
  const batch = new Batch(loadMissing)
  const loads = needed.map(({ key, load }) => load(batch.factory(key)))
  batch.await(loads.filter((load) => !locks(load)).length)
  for (const alike of groupsOf(loads)) {
    const started = startAll(handle, alike, batch)
    alike.forEach(({ key }, index) => {
      if (!promises.has(key)) promises.set(key, /** @type {Promise<any>} */ (started[index]))
    })
  }
  return keys.map((key) => /** @type {Promise<any>} */ (promises.get(key)))
}

/**
 * Loads of the same options, which the native side takes together.
 * @param {Load[]} loads
 */
function groupsOf(loads) {
  /** @type {Map<string, Load[]>} */ const groups = new Map()
  for (const load of loads) {
    const options = JSON.stringify(load.options)
    const group = groups.get(options)
    if (group === undefined) groups.set(options, [load])
    else group.push(load)
  }
  return groups.values()
}

/**
 * @param {Handle} handle
 * @param {Load[]} loads one at least
 * @param {Batch} batch
 */
function startAll(handle, loads, batch) {
  const { options } = /** @type {Load} */ (loads[0])
  const { outcomes } = environmentOf()
  const deciding = loads.map((load) => decidingOperation(load, batch))
  const operations = deciding.map(({ operation }) => operation)
  const keys = loads.map(({ key }) => key)
  for (const _ of loads) outcomes.enter()
  const promises = operateMany(operations, (own, tickets) => own.loadMany(tickets, keys, options))
  const exit = () => outcomes.exit()
  promises.forEach((promise, index) => {
    promise.then(exit, exit)
    promise.catch(() => deciding[index]?.decide())
  })
  return promises
}

/**
 * Whether a key is made under a lease. It is waited for by nobody: two calls that each hold one and wait for the other's
 * would wait for each other.
 * @param {Load} load
 */
function locks({ handle, options }) {
  return options.lock ?? handle.loader['lock'] === true
}

/**
 * The operation of a load that tells the batch, once, when it is known who has or makes its value: `decide`.
 * @param {Load} load
 * @param {Batch} batch
 */
function decidingOperation(load, batch) {
  const inner = operationOf(load)
  let isOpen = !locks(load)
  const decide = () => {
    if (isOpen) batch.decided()
    isOpen = false
  }
  /** @type {import('./handle.js').Operation} */
  const operation = {
    ...inner,
    finish(ticket, kind, value) {
      const result = inner.finish(ticket, kind, value)
      // Whoever was given what is stale may still have to make the value.
      if (kind !== KIND.STALE) decide()
      return result
    },
    absent() {
      const result = inner.absent?.()
      decide()
      return result
    },
    waitsForOther: decide,
  }
  return { operation, decide }
}

exports.getOrSetMany = getOrSetMany
exports.loadMany = loadMany
