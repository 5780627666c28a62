'use strict'
/**
 * The numbers by which an answer or a payload says what it is, the same on both sides of the boundary. `VALUE` to
 * `CODED` are values (all but `VALUE` are also what JavaScript hands in when it writes), the others are answers only.
 */
const KIND = Object.freeze({
  /** The JavaScript value itself. */
  VALUE: 0,
  /** JSON text. */
  JSON: 1,
  /** A string that is the value. */
  TEXT: 2,
  /** A Buffer that is the value. */
  BYTES: 3,
  /** Text in the rich notation of rich.js. */
  RICH: 4,
  /** A Buffer for the user's own codec. */
  CODED: 5,
  /** A flat array of kinds and values. */
  MANY: 6,
  /** A failure as data: `{ code, message, retryable, key?, cause? }`. */
  ERROR: 7,
  /** This caller has to run its factory: `[flight]`, and if it replaces something `[flight, age, kind, value]`. */
  LEAD: 8,
  /** The factory of a flight failed: `[flight, clone | null]`. */
  FACTORY_ERROR: 9,
  /** A reply of Redis, converted. */
  REPLY: 10,
  /** A value past its freshness, `[kind, value]`; the ticket stays open. */
  STALE: 11,
  /** The lock is the caller's: `[lock, fence]`. */
  LOCKED: 12,
  /** What a factory made, to those who waited for it: `[kind, value]`. */
  LOADED: 13,
  /** What the hit function writes when L1 has nothing, and Redis was not asked. */
  MISS: 255,
  /** The same, but Redis was asked: the ticket will be settled. */
  PENDING: 254,
  /** The same, but there is an answer already, `[kind, value]`. */
  ANSWERED: 253,
})

/** What the functions of src/node/hot write to their scratch array; what is beside the kind, for a hit only. */
const SCRATCH = Object.freeze({ KIND: 0, SPENT: 1, MS: 2, SLOT: 3, GENERATION: 4, TIDE: 5, LENGTH: 6 })

exports.KIND = KIND
exports.SCRATCH = SCRATCH
