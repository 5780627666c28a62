'use strict'

// The sequences: some rounds of some records each, as fast-check draws them for a seed, and those that are smaller than one of them.
//
// An operation is one small record of a table: the `fields` that fast-check draws (`optional` ones may be absent), `run` on the cache,
// and `apply` to the model, which answers what the cache must have answered. Both are given what was drawn; `run` has
// `{ tick, model }` too, the tick in ms, and `apply` what was seen: where nobody promises one answer, it takes that one if it is
// allowed. `fits` leaves out what nothing could be said of, `scribble` changes an answer that is not one value.

const fc = require('fast-check')
const { CROSSINGS } = require('./crossings.js')
const { ENDINGS } = require('./endings.js')
const { oneOf } = require('./fields.js')
const { LOADS } = require('./loads.js')
const { READS } = require('./reads.js')
const { TAGS } = require('./tags.js')
const { WRITES } = require('./writes.js')

/** Rounds of a sequence, and records of a round, at most. */
const ROUNDS = 8
const RECORDS = 6

const OPERATIONS = { ...READS, ...WRITES, ...ENDINGS, ...LOADS, ...TAGS, ...CROSSINGS }

const aRound = fc.array(oneOf(OPERATIONS), { maxLength: RECORDS })
const aSequence = fc.array(aRound, { minLength: 1, maxLength: ROUNDS })

/** The first `count` sequences of a seed, or the one of a path and those after it. */
const sequencesOf = (seed, count, path) =>
  fc.sample(aSequence, { seed, numRuns: count, ...(path !== undefined && { path }) })

/** The sequence of a path, and those that fast-check makes of it when it shrinks: the path of each is this one with its index. */
function relatives(seed, path) {
  const seen = []
  const property = fc.property(aSequence, (sequence) => {
    seen.push(sequence)
    return seen.length > 1
  })
  fc.check(property, { seed, path, numRuns: 1 })
  const [own, ...smaller] = seen
  return { own, smaller }
}

/** How long a sequence is, for whoever reads it. */
const sizeOf = (sequence) => JSON.stringify(sequence).length

module.exports = { OPERATIONS, relatives, sequencesOf, sizeOf }
