'use strict'

// getOrSet, by one caller or by several at once, and of several keys: which factory runs how often, what everyone gets and what is
// stored.

const fc = require('fast-check')
const { FACTORY, factoryOf, madeBy, meant } = require('./factories.js')
const { FEATURES, where } = require('./features.js')
const { ENTRY, aKey, aValue, optionsOf, someKeys } = require('./fields.js')
const { outcomeOf } = require('./answers.js')
const { scribbleOn, valueOf } = require('./values.js')

const aWait = fc.constantFrom(0.5, 1.5)

const LOADER = {
  ...ENTRY,
  ...where(FEATURES.loader, { nullTtl: aWait, errorTtl: aWait, retryAfter: aWait, fresh: fc.constant(true) }),
}

/** Stores what a factory made, if it is to be stored. */
function store(model, key, { stored, entry }) {
  if (stored !== undefined) model.put(key, stored, entry)
}

/** Refreshes behind a stale value; how often the factory was called. */
function refresh(model, record, seen) {
  const { key, retryAfter = Infinity } = record
  const rest = model.rest(key)
  if (rest && (rest.sure || seen?.calls === 0)) return 0
  const made = madeBy(record)
  if (made.outcome.rejects) model.waits.set(key, { until: model.now + retryAfter, sure: true })
  store(model, key, made)
  return 1
}

/** What is remembered of the factory of a key, if anything is. */
function remembered(model, key, seen) {
  const failure = model.failures.get(key)
  const remembers = failure && model.now < failure.until && (failure.sure || seen?.calls === 0)
  return remembers ? failure.outcome : undefined
}

/** Calls the factory for everyone who waits; what they get. */
function load(model, record) {
  const { key, errorTtl = 0 } = record
  const made = madeBy(record)
  model.failures.delete(key)
  store(model, key, made)
  if (made.outcome.rejects && errorTtl)
    model.failures.set(key, { outcome: made.outcome, until: model.now + errorTtl, sure: true })
  return made.outcome
}

/** What everyone gets of `key`, and how often the factory is called. */
function loaded(model, record, seen) {
  if (record.fresh) return [load(model, record), 1]
  const { key } = record
  const [fresh, stale] = [model.fresh(key), model.stale(key)]
  if (fresh) return [{ value: valueOf(fresh.value) }, 0]
  if (stale) return [{ value: valueOf(stale.value) }, refresh(model, record, seen)]
  const failure = remembered(model, key, seen)
  return failure ? [failure, 0] : [load(model, record), 1]
}

/** So many callers at once; what each gets, and how often a factory was called for them. */
async function ask(cache, record, { tick, model }) {
  const factory = factoryOf(record, tick)
  const options = optionsOf(meant(record), tick)
  const asked = Array.from({ length: record.callers }, () =>
    outcomeOf(() => cache.getOrSet(record.key, factory, options)),
  )
  const answers = await Promise.all(asked)
  // What is made behind a stale value is there once it is settled.
  if (model.stale(record.key)) await cache.settled()
  return { answers, calls: factory.calls }
}

/**
 * How often the factory is called for several callers: once. Behind a write that waits for its tags they come one by one, and who
 * comes after the value is there and wants it fresh has it made again.
 */
function callsOf(model, { callers, fresh }, once, seen) {
  const apart = fresh && model.kind.l2 && once === 1
  return apart && seen >= 1 && seen <= callers ? seen : once
}

const getOrSet = {
  weight: 6,
  fields: { key: aKey, callers: fc.constantFrom(1, 3), times: fc.constantFrom(1, 2), ...FACTORY },
  optional: LOADER,
  // Nobody says what comes of a factory that may not be tried again, once there is no stale value any more.
  fits: (model, { key }) => model.fresh(key) || model.stale(key) || !model.rest(key),
  async run(cache, record, context) {
    const groups = []
    for (let n = 0; n < record.times; n++) groups.push(await ask(cache, record, context))
    return groups
  },
  apply(model, record, seen) {
    const groups = Array.from({ length: record.times }, (_, n) => {
      const [outcome, once] = loaded(model, meant(record), seen.value?.[n])
      const calls = callsOf(model, record, once, seen.value?.[n]?.calls)
      return { answers: Array(record.callers).fill(outcome), calls }
    })
    return { value: groups }
  },
  scribble: (groups) => groups.forEach(({ answers }) => answers.forEach(({ value }) => scribbleOn(value))),
}

const getOrSetMany = {
  weight: 6,
  fields: { keys: someKeys, value: aValue, lacking: aKey },
  optional: ENTRY,
  // What getOrSet does with stale values and failures is its own business.
  fits: (model, { keys }) => keys.every((key) => !model.stale(key) && !model.failures.has(key)),
  async run(cache, { keys, value, lacking, ...record }, { tick }) {
    const missing = []
    const loadMissing = async (asked) => {
      missing.push(...asked)
      return asked.map((key) => (key === lacking ? undefined : valueOf(value)))
    }
    const values = await cache.getOrSetMany(keys, loadMissing, optionsOf(record, tick))
    return { values, missing: missing.toSorted() }
  },
  apply(model, { keys, value, lacking, ...entry }) {
    const missing = [...new Set(keys)].filter((key) => !model.fresh(key))
    for (const key of missing) if (key !== lacking) model.put(key, value, entry)
    return { value: { values: keys.map((key) => model.read(key)), missing: missing.toSorted() } }
  },
  scribble: ({ values }) => values.forEach(scribbleOn),
}

module.exports = { LOADS: { getOrSet, ...where(FEATURES.many, { getOrSetMany }) } }
