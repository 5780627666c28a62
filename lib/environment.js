'use strict'
/**
 * What all caches of one thread share: the completion queue, the tickets, the flights whose factory runs here, and the
 * way from a notice of the native side to the cache it is about. Made with the first cache, not at import.
 */
const { Tickets } = require('./completions.js')
const { Drain } = require('./drain.js')
const { deliver } = require('./events.js')
const { errorOf, messageOf } = require('./errors.js')
const { Outcomes } = require('./flight.js')

/** @typedef {import('./handle.js').Shared} Shared */
/** @typedef {import('./flight.js').Flight} Flight */
/** @typedef {import('./boundary').NativeCache} NativeCache */
/** @typedef {{ id: number, handle: { native: NativeCache, shared: Shared }, over: boolean, lost(): void }} Held */
/** @typedef {{ cache: number, type: string, ticket?: number, flight?: number, lock?: number, removed?: number, error?: any } & Record<string, unknown>} Event */
/** @typedef {{ cache: number, ask: number, type: 'retry' | 'credentials', attempt?: number }} Ask */

const NOTICE = { EVENT: 0, LOG: 1, ASK: 2 }

class Environment {
  tickets = new Tickets()
  /** @type {Map<number, Flight>} whose factory runs in this thread */
  flights = new Map()
  outcomes = new Outcomes()
  /** @type {Map<number, WeakRef<Held>>} locks that are held in this thread */
  locks = new Map()
  #dropped = new FinalizationRegistry((/** @type {{ native: NativeCache, id: number }} */ { native, id }) => {
    this.locks.delete(id)
    native.dropLock(id)
  })
  /** @type {Map<number, WeakRef<Shared>>} weak, so that a cache that is dropped without `close` can be collected */
  #caches = new Map()
  #collected = new FinalizationRegistry((/** @type {number} */ id) => this.#caches.delete(id))
  /** The completion queue. */
  completions = new Drain(this.tickets, (kind, json) => this.#notice(kind, json)).completions

  /** @param {Shared} shared */
  register(shared) {
    this.#caches.set(shared.id, new WeakRef(shared))
    this.#collected.register(shared, shared.id)
  }

  /** A lock is held as long as somebody has a use for it. @param {Held} held */
  holds(held) {
    const { native } = held.handle
    this.locks.set(held.id, new WeakRef(held))
    this.#dropped.register(held, { native, id: held.id }, held)
  }

  /**
   * @param {number} kind
   * @param {string} json
   */
  #notice(kind, json) {
    const notice = JSON.parse(json)
    const shared = this.#caches.get(notice.cache)?.deref()
    if (notice.type === 'abandoned') this.flights.get(notice.flight)?.abandon()
    if (notice.type === 'lock-lost') this.locks.get(notice.lock)?.deref()?.lost()
    if (shared === undefined) return
    if (kind === NOTICE.EVENT) this.#event(shared, notice)
    else if (kind === NOTICE.LOG) shared.log(notice.level, notice.message, notice.fields ?? {})
    else if (kind === NOTICE.ASK) this.#ask(shared, notice)
  }

  /**
   * @param {Shared} shared
   * @param {Event} notice
   */
  #event(shared, notice) {
    const { cache: _cache, type, ...event } = notice
    if (type === 'abandoned' || type === 'lock-lost') return
    if (type === 'progress') return this.#progress(notice)
    if (event.error) event.error = errorOf(event.error)
    if (type === 'closed') this.#caches.delete(notice.cache)
    deliver(shared.emitter, type, event)
  }

  /** @param {Event} notice */
  #progress(notice) {
    const detail = this.tickets.find(notice.ticket ?? 0)?.detail
    const { onProgress } = /** @type {{ onProgress?: (progress: object) => void }} */ (detail ?? {})
    try {
      onProgress?.({ removed: notice.removed })
    } catch (error) {
      process.emitWarning(`The onProgress of deletePattern threw: ${messageOf(error)}`, 'CacheWarning')
    }
  }

  /**
   * Whatever the user's function does, the native side gets an answer; `null` means "as before".
   * @param {Shared} shared
   * @param {Ask} notice
   */
  #ask(shared, notice) {
    const answer = (/** @type {unknown} */ value) =>
      shared.native.answer(notice.ask, JSON.stringify(value ?? null))
    const { retryStrategy, credentials } = shared.hooks
    const given =
      notice.type === 'retry'
        ? () => delayOf(retryStrategy?.(notice.attempt ?? 1))
        : async () => credentialsOf(await credentials?.())
    try {
      Promise.resolve(given()).then(answer, () => answer(null))
    } catch {
      answer(null)
    }
  }
}

/** @param {unknown} delay */
function delayOf(delay) {
  return typeof delay === 'number' && Number.isFinite(delay) && delay >= 0 ? Math.ceil(delay) : null
}

/** @param {unknown} given */
function credentialsOf(given) {
  const { username, password } = /** @type {{ username?: unknown, password?: unknown }} */ (Object(given))
  if (typeof password !== 'string') return null
  return typeof username === 'string' ? { username, password } : { password }
}

/** @type {Environment | undefined} */
let environment

/** The environment of this thread. */
function environmentOf() {
  environment ??= new Environment()
  return environment
}

exports.environmentOf = environmentOf
