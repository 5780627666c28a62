'use strict'

// What a caller does with a contender: how each operation of works.js is begun, and how its answer is checked. A turn is the
// place of an operation among those that are done over and over.

const assert = require('node:assert/strict')
const { draws } = require('../zipf.js')

const WRITES = 0.1
const TURNS = 100_000

/** What one contender of a work is filled with; no two contenders share a key in Redis. */
function entriesOf(id, name, work) {
  const ids = Array.from({ length: work.keys }, (_, index) => `p-${String(index).padStart(5, '0')}`)
  const keys = ids.map((each) => `${id}:${name.replaceAll(/\W+/g, '-')}:${each}`)
  return { name, work, ids, keys, values: ids.map((each) => work.value(each)) }
}

/** Of an object its id is looked at, which costs all the same. */
function checking({ name, ids, values }) {
  return (answer, index) => {
    const isRight = typeof answer === 'string' ? answer === values[index] : answer?.id === ids[index]
    if (!isRight) throw new Error(`${name} answered ${JSON.stringify(answer)} for ${ids[index]}`)
  }
}

const made = () => assert.fail('the factory ran for a key that is cached')

/** All of a value, where there is time for it. */
const wholly = (entries) => (answer, index) => assert.deepEqual(answer, entries.values[index])

/** One key in a turn. */
function single(entries, call, check = checking(entries)) {
  return { turns: entries.keys.length, call, check, checkAll: wholly(entries) }
}

/** A key that nobody has: clients answer `null`, caches `undefined`. */
function missing(cache, entries) {
  const absent = entries.keys.map((key) => `${key}:absent`)
  const check = (answer, index) => {
    if (answer !== null && answer !== undefined) throw new Error(`${entries.name} has ${absent[index]}`)
  }
  return single(entries, (index) => cache.get(absent[index]), check)
}

/** `work.batch` keys in one call; a turn is a call. */
function many(cache, entries) {
  const { batch } = entries.work
  const turns = entries.keys.length / batch
  const lists = Array.from({ length: turns }, (_, turn) =>
    entries.keys.slice(turn * batch, (turn + 1) * batch),
  )
  const checkOne = checking(entries)
  const check = (answers, turn) => {
    if (answers.length !== batch) throw new Error(`${entries.name} gave ${answers.length} for ${batch} keys`)
    for (let index = 0; index < batch; index++) checkOne(answers[index], turn * batch + index)
  }
  return { turns, call: (turn) => cache.getMany(lists[turn]), check, checkAll: wholly(entries) }
}

/**
 * Reads, and a write for every nine of them, of keys by their popularity. A write counts up the stock of its product, so that
 * an answer tells which write it is of: one that was never begun is wrong.
 */
function mixed(cache, { name, work, ids, keys, values }) {
  const first = values[0].stock
  const written = Array.from(keys, () => first)
  const sequence = draws({ keys: keys.length, turns: TURNS, writes: WRITES })
  const set = (index) => cache.set(keys[index], work.value(ids[index], ++written[index]))
  const check = (answer, index) => {
    if (answer?.id === ids[index] && answer.stock >= first && answer.stock <= written[index]) return
    throw new Error(
      `${name} answered ${JSON.stringify(answer)} for ${ids[index]}, set ${written[index] - first} times`,
    )
  }
  return {
    turns: TURNS,
    call: (turn) =>
      sequence.isWrite[turn] ? set(sequence.keys[turn]) : cache.get(keys[sequence.keys[turn]]),
    check: (answer, turn) => sequence.isWrite[turn] || check(answer, sequence.keys[turn]),
    checkAll: (answer, index) => {
      check(answer, index)
      assert.deepEqual(answer, work.value(ids[index], answer.stock))
    },
  }
}

module.exports = {
  entriesOf,
  OPERATIONS: {
    get: (cache, entries) => single(entries, (index) => cache.get(entries.keys[index])),
    getOrSet: (cache, entries) => single(entries, (index) => cache.getOrSet(entries.keys[index], made)),
    set: (cache, entries) =>
      single(
        entries,
        (index) => cache.set(entries.keys[index], entries.values[index]),
        () => {},
      ),
    miss: missing,
    many,
    mixed,
  },
}
