'use strict'

// Which keys a service asks for: few of them often, most of them seldom. The same for every contender and in every run.

/** As in YCSB, "Benchmarking Cloud Serving Systems with YCSB", 2010. */
const SKEW = 0.99
const SEED = 20_240_229

/** Mulberry32, by Tommy Ettinger: small, quick, and good enough to draw keys with. */
function random(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How often one of the first `n` of `keys` is asked for, for each n. */
function shares(keys) {
  const weights = Array.from({ length: keys }, (_, rank) => 1 / (rank + 1) ** SKEW)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  let sum = 0
  return weights.map((weight) => (sum += weight) / total)
}

/** The first place in an ascending list whose number is above `value`. */
function placeOf(list, value) {
  let [low, high] = [0, list.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (list[middle] > value) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * `turns` keys, as their places among `keys`, of which the share `writes` is written.
 * @returns {{ keys: Uint32Array, isWrite: boolean[] }}
 */
function draws({ keys, turns, writes }) {
  const next = random(SEED)
  const cumulated = shares(keys)
  return {
    keys: Uint32Array.from({ length: turns }, () => placeOf(cumulated, next())),
    isWrite: Array.from({ length: turns }, () => next() < writes),
  }
}

module.exports = { draws }
