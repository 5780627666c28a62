'use strict'

// What a thread knows of how well its cache hears, as a number of an epoch: the same before and after a read means that
// nothing happened to the link, or to the stream of changes, meanwhile.

const { now } = require('./registers.js')

/** `look()` answers `{ number, healthy }` of now; each epoch that begins goes to `log`. */
function earOf(cache, way, log) {
  let epoch = { number: 0, token: '', hears: false, healthy: false }
  return {
    look() {
      const { status, cache: figures } = cache.health()
      const { state, reconnects, invalidation } = figures.l2
      const token = [figures.mode, state, reconnects, invalidation.mode, invalidation.losses].join(' ')
      if (token === epoch.token) return epoch
      const hears = invalidation.mode === way
      epoch = { number: epoch.number + 1, token, hears, healthy: hears && status === 'healthy' }
      log.note({ is: 'epoch', at: now(), ...epoch })
      return epoch
    },
  }
}

module.exports = { earOf }
