'use strict'

// Random numbers that can be had again: whoever draws them prints the seed when something fails.

/** The seed of this run: `SEED` of the environment, else another one each time. */
function ownSeed() {
  return Number(process.env.SEED ?? Date.now() % 2 ** 31)
}

/** mulberry32: a function that gives numbers from 0 to below 1, always the same ones for a seed. */
function generator(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** A whole number from `least` to below `most`. */
const between = (random, least, most) => least + Math.floor(random() * (most - least))

/** One of `list`. */
const oneOf = (random, list) => list[between(random, 0, list.length)]

module.exports = { between, generator, oneOf, ownSeed }
