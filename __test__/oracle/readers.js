'use strict'

// The reading half of a thread: readers that ask for one thing after the other, and note each version that they are given
// with the epoch, if the same one was before and after.

const { setTimeout: pause } = require('node:timers/promises')
const { between, oneOf } = require('../support/random.js')
const { OFTEN, PAIRS, PROCESSES, THREADS, now, numberAt, pairOf } = require('./registers.js')

const READERS = 2
const PAUSE_MS = [1, 8]
/** The share of reads that ask for registers which are written often, and for those that are not written any more. */
const SHARES = { often: 0.4, old: 0.15 }

/** A factory that makes nothing: whoever loads a register writes nothing to it. */
const nothing = ({ skip }) => {
  skip()
  return null
}
const ifUp = (error) => {
  if (error.code === 'ERR_CACHE_L2_UNAVAILABLE' || error.code === 'ERR_CACHE_TIMEOUT') return undefined
  if (error.code === 'ERR_CACHE_REDIS_REPLY') return undefined
  throw error
}

/** Ways to read `keys`, all but one of the first only; each answers values. */
const WAYS = {
  peek: async (cache, [key]) => [cache.peek(key)],
  get: async (cache, [key]) => [await cache.get(key)],
  'strict get': async (cache, [key]) => [await cache.get(key, { strict: true }).catch(ifUp)],
  getMany: (cache, keys) => cache.getMany(keys),
  getOrSet: async (cache, [key]) => [await cache.getOrSet(key, nothing)],
}
const NAMES = ['peek', 'peek', 'get', 'get', 'strict get', 'getMany', 'getOrSet']

function anyKey({ random, settings }) {
  const owner = { process: between(random, 0, PROCESSES), thread: between(random, 0, THREADS) }
  const drawn = random()
  const place = drawn < SHARES.often ? OFTEN : between(random, 0, PAIRS)
  const newest = numberAt(place, settings.start, now())
  const number = drawn > 1 - SHARES.old ? between(random, 0, newest + 1) : newest
  return oneOf(random, pairOf(owner, place, number))
}

async function read(self, reader) {
  const { cache, ear, log, random, wrong } = self
  const by = oneOf(random, NAMES)
  const keys = Array.from({ length: by === 'getMany' ? 4 : 1 }, () => anyKey(self))
  const [before, from] = [ear.look(), now()]
  const values = await WAYS[by](cache, keys)
  const to = now()
  const epoch = ear.look() === before ? before.number : null
  for (const [at, value] of values.entries()) {
    if (!value) continue
    const key = keys[at]
    if (value.key === key) log.note({ is: 'read', reader, key, version: value.version, by, from, to, epoch })
    else wrong(`${by} of ${key} gave ${JSON.stringify(value)}`)
  }
}

async function readOn(self, reader) {
  while (!self.signal.aborted) {
    await read(self, reader).catch((error) => self.wrong(`a read rejected: ${error.stack}`))
    await pause(between(self.random, ...PAUSE_MS))
  }
}

/** Begins to read; promises that resolve once `self.signal` has ended it. */
const readers = (self) => Array.from({ length: READERS }, (_, reader) => readOn(self, reader))

module.exports = { readers }
