'use strict'

// What gives a key another end: at another time, or at once.

const { value, within } = require('./answers.js')
const { GLOBS, STALE_TICK, aGlob, aKey, aTtl, inMs, someKeys } = require('./fields.js')

/** How many of these keys are there, at least and at most. */
function countOf(model, keys) {
  const there = [...new Set(keys)].map((key) => model.there(key))
  const least = there.filter((each) => each === true).length
  return [least, least + there.filter((each) => each === undefined).length]
}

/** Whether a key is there; where both may be, as was seen. */
const thereAsSeen = (model, key, seen) => model.there(key) ?? seen.value === true

const LIVES = {
  touch: {
    weight: 6,
    fields: { key: aKey, ttl: aTtl },
    run: (cache, { key, ttl }, { tick }) => cache.touch(key, inMs(ttl, tick)),
    apply(model, { key, ttl }, seen) {
      const there = thereAsSeen(model, key, seen)
      if (there) model.relive(model.entries.get(key), ttl)
      else model.doubt(key)
      return value(there)
    },
  },
  markStale: {
    weight: 4,
    fields: { key: aKey },
    run: (cache, { key }) => cache.markStale(key),
    // The short stale window would end at a tick.
    fits: (model, { key }) => model.entries.get(key)?.staleFor !== STALE_TICK,
    apply(model, { key }, seen) {
      const there = thereAsSeen(model, key, seen)
      if (there) model.age(model.entries.get(key))
      else model.doubt(key)
      return value(there)
    },
  },
}

const REMOVALS = {
  delete: {
    weight: 4,
    fields: { key: aKey },
    run: (cache, { key }) => cache.delete(key),
    apply(model, { key }, seen) {
      const there = thereAsSeen(model, key, seen)
      model.drop(key)
      return value(there)
    },
  },
  deleteMany: {
    weight: 4,
    fields: { keys: someKeys },
    run: (cache, { keys }) => cache.deleteMany(keys),
    apply(model, { keys }, seen) {
      const count = within(seen, countOf(model, keys))
      for (const key of keys) model.drop(key)
      return count
    },
  },
  deletePattern: {
    weight: 1,
    fields: { glob: aGlob },
    run: (cache, { glob }) => cache.deletePattern(glob),
    apply(model, { glob }, seen) {
      const matches = (key) => GLOBS[glob].test(key)
      const count = within(seen, countOf(model, model.keys(matches)))
      model.dropMatches(matches)
      return count
    },
  },
  clear: {
    weight: 1,
    fields: {},
    run: (cache) => cache.clear(),
    apply: (model) => value(model.dropMatches(() => true)),
  },
}

module.exports = { ENDINGS: { ...LIVES, ...REMOVALS } }
