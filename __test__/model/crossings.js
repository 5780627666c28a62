'use strict'

// Operations that are under way at the same time: some that begin in one turn, which take effect in the order in which they were
// called; and a factory during which something else happens to its key.

const fc = require('fast-check')
const { outcomeOf } = require('./answers.js')
const { ENDINGS } = require('./endings.js')
const { FEATURES, where } = require('./features.js')
const { aKey, aValue, oneOf, optionsOf, someTags } = require('./fields.js')
const { READS } = require('./reads.js')
const { scribbleOn, valueOf } = require('./values.js')
const { WRITES } = require('./writes.js')

const pick = (operations, names) => Object.fromEntries(names.map((name) => [name, operations[name]]))

/** What has a place in the order: one step over each tier. */
const ORDERED = {
  ...pick(READS, ['get', 'getMany', 'has', 'peek']),
  ...pick(WRITES, ['set', 'setMany', 'increment']),
  ...pick(ENDINGS, ['touch', 'delete', 'deleteMany']),
}

const together = {
  weight: 8,
  fields: { records: fc.array(oneOf(ORDERED), { minLength: 1, maxLength: 4 }) },
  run: (cache, { records }, context) =>
    Promise.all(records.map((record) => outcomeOf(() => ORDERED[record.op].run(cache, record, context)))),
  apply: (model, { records }, seen) => ({
    value: records.map((record, n) => ORDERED[record.op].apply(model, record, seen.value[n])),
  }),
  scribble: (outcomes) => outcomes.forEach(({ value }) => scribbleOn(value)),
}

/** What happens while a factory runs, and whether what it makes is stored all the same. */
const MEANWHILE = {
  get: { run: (cache, { key }) => cache.get(key), apply: () => true },
  set: {
    run: (cache, { key, other }) => cache.set(key, valueOf(other)),
    apply: (model, { key, other }) => model.put(key, other),
  },
  delete: { run: (cache, { key }) => cache.delete(key), apply: (model, { key }) => model.drop(key) },
  clear: { run: (cache) => cache.clear(), apply: (model) => model.dropMatches(() => true) },
  ...where(FEATURES.loader, {
    invalidateTags: {
      run: (cache, { tags = [] }) => cache.invalidateTags('other', ...tags),
      apply(model, { tags = [] }) {
        model.invalidate(tags)
        return tags.length === 0
      },
    },
  }),
  'another load': {
    async run(cache, { key, other }) {
      await cache.delete(key)
      await cache.getOrSet(key, () => valueOf(other))
    },
    apply: (model, { key, other }) => model.put(key, other),
  },
}

const overtaken = {
  weight: 4,
  fields: {
    key: aKey,
    value: aValue,
    meanwhile: fc.constantFrom(...Object.keys(MEANWHILE)),
    other: aValue,
  },
  optional: where(FEATURES.loader, { tags: someTags }),
  // A stale value would be served at once, and an error without the factory.
  fits: (model, { key }) => !model.stale(key) && !model.failures.has(key) && !model.waits.has(key),
  async run(cache, record, { tick }) {
    const begun = withResolvers()
    const goOn = withResolvers()
    const made = cache.getOrSet(
      record.key,
      async () => {
        begun.resolve(true)
        await goOn.promise
        return valueOf(record.value)
      },
      optionsOf(record, tick),
    )
    const called = await Promise.race([begun.promise, made.then(() => false)])
    await MEANWHILE[record.meanwhile].run(cache, record)
    goOn.resolve()
    return { value: await made, called }
  },
  apply(model, record) {
    const { key, meanwhile } = record
    const entry = model.fresh(key)
    const value = valueOf(entry ? entry.value : record.value)
    const stored = MEANWHILE[meanwhile].apply(model, record) === true
    if (!entry && stored) model.put(key, record.value, record)
    return { value: { value, called: !entry } }
  },
  scribble: ({ value }) => scribbleOn(value),
}

function withResolvers() {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

module.exports = { CROSSINGS: { together, overtaken } }
