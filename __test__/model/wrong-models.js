'use strict'

// Models that are wrong, each in one way: the harness must notice. These are mistakes that caches are known for.

const { Model } = require('./model.js')

const WRONG_MODELS = {
  'takes null for a miss': class extends Model {
    fresh(key) {
      const entry = super.fresh(key)
      return entry?.value[0] === 'null' ? undefined : entry
    }
  },
  'forgets TTLs': class extends Model {
    put(key, value, options) {
      super.put(key, value, { ...options, ttl: null })
    }
  },
  'keeps an entry a tick too long': class extends Model {
    relive(entry, ttl) {
      super.relive(entry, ttl && ttl + 1)
    }
  },
  'leaves markStale without effect': class extends Model {
    age() {}
  },
}

module.exports = { WRONG_MODELS }
