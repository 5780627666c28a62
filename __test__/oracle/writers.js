'use strict'

// The writing half of a thread. Each of its pairs is changed by one call at a time, with a version that is greater than
// any before: the microseconds of the clock, so that this holds across a kill of the process too.

const { setTimeout: pause } = require('node:timers/promises')
const { between, oneOf } = require('../support/random.js')
const { OFTEN, PAIRS, now, numberAt, pairOf } = require('./registers.js')

/** Between two changes of a pair. */
const PAUSE_MS = { often: [10, 50], usual: [20, 200] }
/** How often the last change of a pair is tried. */
const LAST_TRIES = 3

let last = 0
function nextVersion() {
  last = Math.max(last + 1, Math.floor(now() * 1_000))
  return last
}

const valueOf = (key, version, random) => ({ key, version, text: 'x'.repeat(between(random, 0, 300)) })

/** What may be done to a pair; `many` ways change both keys of it. */
const WAYS = {
  set: { change: 'set', call: (cache, [key], make, options) => cache.set(key, make(key), options) },
  setMany: {
    change: 'set',
    many: true,
    call: (cache, keys, make, options) =>
      cache.setMany(
        keys.map((key) => [key, make(key)]),
        options,
      ),
  },
  delete: { change: 'delete', call: (cache, [key], _, options) => cache.delete(key, options) },
  deleteMany: {
    change: 'delete',
    many: true,
    call: (cache, keys, _, options) => cache.deleteMany(keys, options),
  },
  deletePattern: {
    change: 'delete',
    many: true,
    call: (cache, keys, _, options) => cache.deletePattern(`${keys[0].slice(0, -1)}*`, options),
  },
}
const DRAWN = [
  'set',
  'set',
  'set',
  'set',
  'set',
  'set',
  'setMany',
  'setMany',
  'delete',
  'delete',
  'deleteMany',
]
/** One in so many changes is by pattern. */
const PATTERNS = 40

/** Changes `keys` and notes it; whether that resolved. */
async function change({ cache, ear, log, random, wrong }, name, keys, strict) {
  const { change, call } = WAYS[name]
  const version = nextVersion()
  const { healthy } = ear.look()
  for (const key of keys) log.note({ is: 'sent', key, version, change, by: name, strict, at: now(), healthy })
  log.flush()
  let ok = true
  try {
    await call(cache, keys, (key) => valueOf(key, version, random), { strict })
  } catch (error) {
    ok = false
    if (!strict) wrong(`${name} of ${keys} rejected: ${error.stack}`)
  }
  log.noteNow({ is: 'done', keys, version, at: now(), ok, healthy: ear.look().healthy })
  return ok
}

function draw(random) {
  const name = between(random, 0, PATTERNS) === 0 ? 'deletePattern' : oneOf(random, DRAWN)
  return { name, many: WAYS[name].many }
}

async function once(self, pair) {
  const { name, many } = draw(self.random)
  await change(self, name, many ? pair : [oneOf(self.random, pair)], self.random() < 0.6)
}

/** The change after which a pair is left as it is; what it says must hold until the end. */
async function leave(self, pair) {
  for (const key of pair) {
    const name = self.random() < 0.7 ? 'set' : 'delete'
    for (let tries = 0; tries < LAST_TRIES && !self.signal.aborted; tries++)
      if (await change(self, name, [key], true)) break
  }
}

async function writer(self, place) {
  const { settings, random, signal } = self
  const pauses = place === OFTEN ? PAUSE_MS.often : PAUSE_MS.usual
  let number
  while (!signal.aborted) {
    const next = numberAt(place, settings.start, now())
    if (number !== undefined && next !== number) await leave(self, pairOf(settings, place, number))
    number = next
    await once(self, pairOf(settings, place, number))
    await pause(between(random, ...pauses))
  }
}

/** Begins to write; promises that resolve once `self.signal` has ended it. */
const writers = (self) => Array.from({ length: PAIRS }, (_, place) => writer(self, place))

module.exports = { writers }
