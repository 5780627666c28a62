'use strict'

// What all contenders have in common.

module.exports = {
  /** As many as the documentation of those that count entries shows. */
  L1_ENTRIES: 5_000,
  /** Longer than a run: nothing expires under measurement. */
  TTL: 600_000,
}
