'use strict'

// A trial: sequences on caches of their kinds, one cache for all of a kind, each sequence in a view of its own, all of them on one
// clock. What was not calm, since the machine was busy, is tried again, in the end on a slower clock.

const { ROUND_SHARE, Run, lockstep } = require('./lockstep.js')
const { DEFAULT_TTL, Model } = require('./model.js')

const FIRST_TICK_MS = 400
const SLOWER = 1.5
const ATTEMPTS = 7

/** Entries leave L1 sooner than Redis, so that both tiers take part. */
const L1_TTL = 1.5
/**
 * An integer that comes from Redis has no envelope, and L1 may keep it for so long after its end. So short, nobody sees it in the
 * next round.
 */
const L1_PLAIN_TTL = 0.1
/** No room is ever lacking. */
const L1_BYTES = 256 * 1024 * 1024
/** Longer than any round: nothing is given up. */
const L2_TIMEOUT_MS = 60_000

/** The clock of all trials of a test: as fast as the machine allows, and no faster than it began. */
class Clock {
  /** What a round took at most, in ms. */
  longest = 0
  /** Attempts that proved nothing. */
  again = 0

  constructor(tick = FIRST_TICK_MS) {
    this.least = tick
    this.tick = tick
  }

  slower() {
    this.tick *= SLOWER
  }

  /** Goes faster again if what took this long would still have been in time. */
  note(longest) {
    this.longest = Math.max(this.longest, longest)
    const faster = Math.max(this.tick / SLOWER, this.least)
    if (longest < (faster * ROUND_SHARE) / 2) this.tick = faster
  }
}

function optionsFor({ l1 }, tick) {
  return {
    jitter: 0,
    ...(l1 && { l1: { ttl: L1_TTL * tick, plainTtl: L1_PLAIN_TTL * tick, maxBytes: L1_BYTES } }),
    l2: { ttl: DEFAULT_TTL * tick, timeout: L2_TIMEOUT_MS, softTimeout: false },
    health: { interval: 0 },
  }
}

/** Whether a cache was left alone by its machine: nothing timed out or was cut. */
function wasCalm(cache) {
  const { l2Timeouts, l2Reconnects, pendingInvalidations } = cache.stats()
  return l2Timeouts + l2Reconnects + pendingInvalidations === 0
}

/** The runs of one part, and their cache. */
async function prepare(t, { kind, sequences, model: OwnModel = Model, spread = false }, tick) {
  const cache = await kind.open(t, optionsFor(kind, tick))
  const most = Math.max(...sequences.map(({ length }) => length))
  const runs = sequences.map((sequence, n) => {
    const begin = spread ? n % (most - sequence.length + 1) : 0
    return new Run({ view: cache.namespaced(`s${n}`), model: new OwnModel(kind), sequence, tick, begin })
  })
  return { cache, runs }
}

/** One attempt: the runs of each part, or nothing if it proves nothing. */
async function attempt(t, parts, clock) {
  const prepared = await Promise.all(parts.map((part) => prepare(t, part, clock.tick)))
  const { late, stuck, longest } = await lockstep(
    prepared.flatMap(({ runs }) => runs),
    clock.tick,
  )
  clock.note(longest)
  const calm = stuck || (!late && prepared.every(({ cache }) => wasCalm(cache)))
  for (const { cache } of prepared) {
    if (!stuck) await cache.clear()
    await cache.close()
  }
  return calm ? prepared.map(({ runs }) => runs) : undefined
}

/**
 * The runs of each part, as far as they went.
 * @param {{ kind: object, sequences: object[][][], model?: typeof Model, spread?: boolean }[]} parts with `spread` short sequences
 * begin later, so that rounds are alike
 * @param {Clock} clock
 */
async function trial(t, parts, clock) {
  for (let n = 0; n < ATTEMPTS; n++) {
    const runs = await attempt(t, parts, clock)
    if (runs) return runs
    clock.again += 1
    // Once may have been a hiccup.
    if (n > 0) clock.slower()
  }
  throw new Error(`This machine is too busy: a round still took up to ${Math.round(clock.longest)} ms`)
}

/** Has everything compiled before time is measured. */
async function warmUp(t, parts) {
  await trial(t, parts, new Clock())
}

module.exports = { Clock, trial, warmUp }
