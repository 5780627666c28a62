'use strict'

// The three kinds of cache that the contract is run over.

const { openCache, openOn, ownNamespace } = require('../support/cache.js')

/**
 * `open(t, options)` makes a cache of the kind with a namespace of its own, ready to use. `l1` and `l2` tell which tiers it has.
 * @param {() => object} server the running redis-server
 */
function kindsOn(server) {
  const memory = async (t, options) => openCache(t, { namespace: ownNamespace(), ...options })
  return [
    { name: 'memory only', l1: true, l2: false, open: memory },
    {
      name: 'L2 only',
      l1: false,
      l2: true,
      open: (t, options) => openOn(t, server(), { l1: false, ...options }),
    },
    { name: 'tiered', l1: true, l2: true, open: (t, options) => openOn(t, server(), options) },
  ]
}

module.exports = { kindsOn }
