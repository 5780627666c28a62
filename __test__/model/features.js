'use strict'

// What the cache can already do: operations and options that are not there yet are not drawn.

const { Cache } = require('evenkeel')

const can = (method) => typeof Cache.prototype[method] === 'function'

const FEATURES = {
  /** Tags, and with them all that came with the loader: stale values, and what is remembered of a factory that failed. */
  loader: can('invalidateTags'),
  many: can('getOrSetMany'),
}

/** The properties, or none of them. */
const where = (feature, properties) => (feature ? properties : {})

module.exports = { FEATURES, where }
