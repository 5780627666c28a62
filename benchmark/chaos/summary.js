'use strict'

// From what a load noted to the figures: pure functions of the notes and of the times at which the phases began.

const BUCKET_MS = 200

/** The smallest value that at least the share `p` of a sorted list does not exceed. */
const percentile = (sorted, p) => sorted[Math.max(0, Math.ceil(sorted.length * p) - 1)] ?? null
const rounded = (value) => (value === null ? null : Math.round(value * 100) / 100)

/** Failed calls count as long as they took, pending ones as long as they have waited: neither is a way to look fast. */
function latency(calls) {
  const sorted = calls.map(({ ms }) => ms).toSorted((a, b) => a - b)
  const [p50, p99, max] = [0.5, 0.99, 1].map((p) => rounded(percentile(sorted, p)))
  return { p50, p99, max }
}

/** The largest number of origin calls that any one key had. */
function mostPerKey(origin) {
  const counts = new Map()
  for (const [, key] of origin) counts.set(key, (counts.get(key) ?? 0) + 1)
  return Math.max(0, ...counts.values())
}

const between = (from, to) => (at) => at >= from && at < to

/** The figures of one phase; a call belongs to the phase in which it was made. */
function figuresOf(notes, from, to) {
  const within = between(from, to)
  const calls = notes.calls.filter(({ at }) => within(at))
  const origin = notes.origin.filter(([at]) => within(at))
  const count = (wanted) => calls.filter(({ outcome }) => outcome === wanted).length
  return {
    calls: calls.length,
    done: count('done'),
    failed: count('failed'),
    wrong: count('wrong'),
    pending: count('pending'),
    ...latency(calls),
    origin: origin.length,
    originPerKey: mostPerKey(origin),
    unhandled: notes.unhandled.filter(([at]) => within(at)).length,
  }
}

/** p99 of the calls of each full bucket from the start to the end, null where there was none. */
function timeline(calls, from, to) {
  const buckets = Array.from({ length: Math.floor((to - from) / BUCKET_MS) }, () => [])
  for (const call of calls) buckets[Math.floor((call.at - from) / BUCKET_MS)]?.push(call)
  return buckets.map((bucket) => latency(bucket).p99)
}

/**
 * @param {object} notes of a load
 * @param {{ name: string, at: number }[]} marks when each phase began; the last, `end`, is none
 * @param {{ command: number | null, hit: number | null }} used when the restarted Redis saw its first read, and the first
 *   that found its key
 */
function summarize(notes, marks, used) {
  const phases = {}
  for (const [index, { name, at }] of marks.slice(0, -1).entries()) {
    phases[name] = figuresOf(notes, at, marks[index + 1].at)
  }
  const begin = Object.fromEntries(marks.map(({ name, at }) => [name, at]))
  const late = between(begin.frozen + 1_000, begin.thawed)
  phases.frozen.afterFirstSecond = latency(notes.calls.filter(({ at }) => late(at)))
  const since = (at) => rounded(at === null ? null : at - begin.restarted)
  const inUse = between(used.hit ?? begin.end, begin.end)
  Object.assign(phases.restarted, {
    firstReadMs: since(used.command),
    inUseMs: since(used.hit),
    originPerKeyInUse: mostPerKey(notes.origin.filter(([at]) => inUse(at))),
  })
  const errors = [...new Set(notes.unhandled.map(([, message]) => message.split('\n')[0]))].slice(0, 5)
  return { phases, errors, timeline: timeline(notes.calls, begin.healthy, begin.end) }
}

module.exports = { BUCKET_MS, summarize }
