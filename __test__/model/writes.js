'use strict'

// What stores and counts.

const { isDeepStrictEqual } = require('node:util')
const fc = require('fast-check')
const { rejection, value } = require('./answers.js')
const { ENTRY, aKey, aTtl, aValue, lend, optionsOf } = require('./fields.js')

/** The entries of a setMany, in one of the forms that it takes. */
function entriesOf(form, entries, tick) {
  if (form === 'object') return Object.fromEntries(entries.map(({ key, value }) => [key, value]))
  if (form === 'pairs') return entries.map(({ key, value }) => [key, value])
  return entries.map((entry) => ({ key: entry.key, value: entry.value, ...optionsOf(entry, tick) }))
}

const anEntry = fc.record(
  { key: aKey, value: aValue, ttl: aTtl },
  { requiredKeys: ['key', 'value'], noNullPrototype: true },
)

const WRITES = {
  set: {
    weight: 16,
    fields: { key: aKey, value: aValue },
    optional: { ...ENTRY, wait: fc.constant(false), onlyIf: fc.constantFrom('absent', 'present') },
    run: (cache, record, { tick }) =>
      lend([record.value], ([lent]) => cache.set(record.key, lent, optionsOf(record, tick))),
    apply(model, { key, onlyIf, value: words, ...entry }, seen) {
      if (onlyIf === undefined) return value(model.put(key, words, entry))
      const there = model.there(key) ?? (seen.value === true) === (onlyIf === 'present')
      const done = there === (onlyIf === 'present')
      if (done) model.put(key, words, entry)
      else model.doubt(key)
      return value(done)
    },
  },
  setMany: {
    weight: 6,
    fields: {
      form: fc.constantFrom('entries', 'pairs', 'object'),
      entries: fc.uniqueArray(anEntry, { selector: ({ key }) => key, maxLength: 3 }),
    },
    optional: { ...ENTRY, wait: fc.constant(false) },
    run: (cache, record, { tick }) =>
      lend(
        record.entries.map((entry) => entry.value),
        (values) => {
          const lent = record.entries.map((entry, n) => ({ ...entry, value: values[n] }))
          return cache.setMany(entriesOf(record.form, lent, tick), optionsOf(record, tick))
        },
      ),
    apply(model, { form, entries, ...call }) {
      for (const { key, value: words, ...own } of entries)
        model.put(key, words, { ...call, ...(form === 'entries' && own) })
      return value(undefined)
    },
  },
  increment: {
    weight: 6,
    fields: { key: aKey, by: fc.integer({ min: -3, max: 3 }) },
    optional: { ttl: aTtl, name: fc.constant('decrement') },
    run: (cache, record, { tick }) =>
      record.name === 'decrement'
        ? cache.decrement(record.key, record.by, optionsOf(record, tick))
        : cache.increment(record.key, record.by, optionsOf(record, tick)),
    apply(model, { key, by, ttl = null, name }, seen) {
      const entry = model.fresh(key)
      const [is, n] = entry?.value ?? ['integer', 0]
      const refused = rejection('ERR_CACHE_REDIS_REPLY')
      if (is !== 'integer') return refused
      // Nobody promises that Redis can count on what needs an envelope.
      if (isDeepStrictEqual(seen, refused) && (entry?.staleFor || entry?.tags.length)) return refused
      const sum = name === 'decrement' ? n - by : n + by
      if (entry) entry.value = [is, sum]
      else model.put(key, [is, sum], { ttl })
      return value(sum)
    },
  },
}

module.exports = { WRITES }
