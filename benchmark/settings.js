'use strict'

// What all contenders have in common.

module.exports = {
  /** Longer than a run: nothing expires under measurement. */
  TTL: 600_000,
}
