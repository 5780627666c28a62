'use strict'

// What every contender is given alike, and the clock that all processes of one machine share.

module.exports = {
  KEYS: 500,
  ORIGIN_MS: 5,
  /** A tenth of the keys: nine requests of ten need Redis. */
  L1_ENTRIES: 50,
  TTL_MS: 60_000,
  /** Milliseconds since the machine was started. */
  now: () => Number(process.hrtime.bigint() / 1_000n) / 1_000,
}
