'use strict'

// What all contenders have in common.

module.exports = {
  /**
   * Of those that give up a call after a while, in ms: on a machine that is busy with something else for so long, they would
   * fail here for what is their merit elsewhere.
   */
  DEADLINE: 10_000,
  /** As many as the documentation of those that count entries shows. */
  L1_ENTRIES: 5_000,
  /** Longer than a run: nothing expires under measurement. */
  TTL: 600_000,
}
