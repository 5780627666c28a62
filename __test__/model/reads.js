'use strict'

// What only asks.

const { value } = require('./answers.js')
const { GLOBS, aGlob, aKey, someKeys } = require('./fields.js')

/** How far what is left of a life may be from what the model says, in ticks. */
const TTL_TOLERANCE = 0.4

const READS = {
  get: {
    weight: 16,
    fields: { key: aKey },
    run: (cache, { key }) => cache.get(key),
    apply: (model, { key }) => value(model.read(key)),
  },
  getMany: {
    weight: 6,
    fields: { keys: someKeys },
    run: (cache, { keys }) => cache.getMany(keys),
    apply: (model, { keys }) => value(keys.map((key) => model.read(key))),
  },
  has: {
    weight: 4,
    fields: { key: aKey },
    run: (cache, { key }) => cache.has(key),
    apply: (model, { key }) => value(model.fresh(key) !== undefined),
  },
  ttl: {
    weight: 4,
    fields: { key: aKey },
    run: async (cache, { key }, { tick }) => {
      const left = await cache.ttl(key)
      return typeof left === 'number' ? left / tick : left
    },
    apply(model, { key }, seen) {
      const entry = model.fresh(key)
      if (entry === undefined) return value(undefined)
      if (entry.until === Infinity) return value(null)
      const left = entry.until - model.now
      return value(Math.abs(seen.value - left) <= TTL_TOLERANCE ? seen.value : left)
    },
  },
  peek: {
    weight: 4,
    fields: { key: aKey },
    run: async (cache, { key }) => cache.peek(key),
    // What a tier in front of another one holds is its own business; whatever it shows must be true.
    apply: (model, { key }, seen) =>
      value(model.kind.l2 && seen.value === undefined ? undefined : model.read(key)),
  },
  keys: {
    weight: 1,
    fields: { glob: aGlob },
    async run(cache, { glob }) {
      const keys = new Set()
      for await (const key of cache.keys(glob)) keys.add(key)
      return [...keys].toSorted()
    },
    apply(model, { glob }, seen) {
      const listed = model
        .keys((key) => GLOBS[glob].test(key))
        .filter((key) => model.there(key) ?? seen.value?.includes(key))
      return value(listed.toSorted())
    },
  },
}

module.exports = { READS }
