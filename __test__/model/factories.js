'use strict'

// The factories of getOrSet, in words: what they give and do, for the cache that calls them and for the model that does not.

const fc = require('fast-check')
const { FEATURES, where } = require('./features.js')
const { aTtl, aValue, inMs, someTags } = require('./fields.js')
const { valueOf } = require('./values.js')

/**
 * What a factory gives, in words (nothing: undefined), and what it does besides. `stores` are those whose value is sure to be stored.
 */
const FACTORIES = {
  value: { gives: ({ value }) => value, stores: true },
  null: { gives: () => ['null', 0], stores: true },
  undefined: { gives: () => undefined },
  fails: { fails: true },
  skips: { gives: ({ value }) => value, skips: true },
  'sets the ttl': { gives: ({ value }) => value, stores: true, sets: 'ttl' },
  ...where(FEATURES.loader, { 'sets the tags': { gives: ({ value }) => value, stores: true, sets: 'tags' } }),
}

const FACTORY = {
  factory: fc.constantFrom(...Object.keys(FACTORIES)),
  value: aValue,
  made: fc.record({ ttl: aTtl, ...where(FEATURES.loader, { tags: someTags }) }, { noNullPrototype: true }),
}

const messageOf = ({ key, value }) => `no ${value.join(' ')} for ${key}`

/** A record without what nobody could say the outcome of: what an option and the factory both set, and `fresh` without a value. */
function meant(record) {
  const { sets, stores } = FACTORIES[record.factory]
  const { fresh, nullTtl, ...said } = record
  if (sets) delete said[sets]
  return {
    ...said,
    ...(fresh && stores && { fresh }),
    ...(nullTtl !== undefined && sets !== 'ttl' && { nullTtl }),
  }
}

/** The factory of a record, for the cache; `calls` counts. */
function factoryOf(record, tick) {
  const { gives, fails, skips, sets } = FACTORIES[record.factory]
  const factory = async ({ skip, setTtl, setTags }) => {
    factory.calls += 1
    if (fails) throw new Error(messageOf(record))
    if (skips) skip()
    if (sets === 'ttl') setTtl(inMs(record.made.ttl, tick))
    if (sets === 'tags') setTags(...record.made.tags)
    return valueOf(gives(record))
  }
  return Object.assign(factory, { calls: 0 })
}

/** What the factory of a record comes to: `outcome` for who waits for it, `stored` in words, if anything is, and how. */
function madeBy(record) {
  const { gives, fails, skips, sets } = FACTORIES[record.factory]
  if (fails) return { outcome: { rejects: messageOf(record) } }
  const words = gives(record)
  const entry = { ...record, ...(sets && { [sets]: record.made[sets] }) }
  if (words?.[0] === 'null') entry.ttl = record.nullTtl ?? entry.ttl
  return { outcome: { value: valueOf(words) }, stored: skips ? undefined : words, entry }
}

module.exports = { FACTORY, factoryOf, madeBy, meant }
