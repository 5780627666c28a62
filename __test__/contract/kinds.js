'use strict'

// The three kinds of cache that the contract is run over.

const { openCache, openOn, ownNamespace } = require('../support/cache.js')

/**
 * `open(t, options)` makes a cache of the kind with a namespace of its own, ready to use. `l1` and `l2` tell which tiers it has,
 * `options()` what makes a cache one of the kind; `server()` is the server.
 * @param {() => object} server the running redis-server
 */
function kindsOn(server) {
  const memory = async (t, options) => openCache(t, { namespace: ownNamespace(), ...options })
  const url = () => server().url
  const kinds = [
    { name: 'memory only', l1: true, l2: false, open: memory, options: () => ({}) },
    {
      name: 'L2 only',
      l1: false,
      l2: true,
      open: (t, options) => openOn(t, server(), { l1: false, ...options }),
      options: () => ({ redis: url(), l1: false }),
    },
    {
      name: 'tiered',
      l1: true,
      l2: true,
      open: (t, options) => openOn(t, server(), options),
      options: () => ({ redis: url() }),
    },
  ]
  return kinds.map((kind) => Object.assign(kind, { server }))
}

module.exports = { kindsOn }
