'use strict'
/** The public entry; the contract is index.d.ts, the work is done in lib/ and in the addon. */
const { Cache, CacheError, escapeGlob, metricsOf } = require('./lib/cache.js')

exports.Cache = Cache
exports.CacheError = CacheError
exports.escapeGlob = escapeGlob
exports.metricsOf = metricsOf
