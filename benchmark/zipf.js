'use strict'

// Which keys a service asks for: few of them often, most of them seldom. The same for every contender and in every run.

const { generator } = require('../__test__/support/random.js')

/** As in YCSB, "Benchmarking Cloud Serving Systems with YCSB", 2010. */
const SKEW = 0.99
const SEED = 20_240_229

/** Ranks from 0 up, of which the nth comes with a chance proportional to 1 / n ** `skew`. */
function zipf(count, skew, random) {
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) sums[rank] = sum += (rank + 1) ** -skew
  return () => {
    const wanted = random() * sum
    let [low, high] = [0, count - 1]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sums[middle] < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

/**
 * `turns` keys, as their places among `keys`, of which the share `writes` is written.
 * @returns {{ keys: Uint32Array, isWrite: boolean[] }}
 */
function draws({ keys, turns, writes }) {
  const random = generator(SEED)
  const next = zipf(keys, SKEW, random)
  return {
    keys: Uint32Array.from({ length: turns }, next),
    isWrite: Array.from({ length: turns }, () => random() < writes),
  }
}

module.exports = { SEED, draws, zipf }
