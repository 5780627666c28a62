'use strict'

// Histories that never were, for tests of the rules.

const { History } = require('./history.js')
const { Rules } = require('./rules.js')
const { Timeline } = require('./timeline.js')
const { disagreements, expectationOf, problemsOf } = require('./truth.js')

/** A register of process 0. */
const KEY = 'r:0:0:0:0:a'
/** How long a change of these takes, and when the first one is sent; each is sent a ms after the one before. */
const TOOK_MS = 1
const FIRST_AT = 1_000

/** `[change, version, { strict, ok, at }]`, in their order. */
function recordsOf(changes) {
  return changes.flatMap(([change, version, options], index) => {
    const { strict = true, ok = true, at = FIRST_AT + index * TOOK_MS } = options ?? {}
    const sent = { is: 'sent', key: KEY, version, change, by: change, strict, at, healthy: true }
    return [sent, { is: 'done', keys: [KEY], version, at: at + TOOK_MS / 2, ok, healthy: true }]
  })
}

const ROUND = { start: 0, way: 'tracking', shardOf: () => 0, l1Ttl: [2_000, 20_000, 600_000] }

function historyOf(changes) {
  const history = new History()
  history.take(recordsOf(changes), { process: 0, incarnation: 1, thread: 0 })
  return history
}

/** What the rules say of reads `[version, at, { who, by, epoch, healthy, lastHeard }]`. */
function verdictOn({ changes, reads, timeline = new Timeline() }) {
  const history = historyOf(changes)
  const rules = new Rules({ ...ROUND, history, timeline })
  return reads.flatMap(([version, at, { who, by, epoch = 1, healthy = true, lastHeard = Infinity }]) =>
    rules.judge({
      key: KEY,
      version,
      by,
      reader: 0,
      from: at,
      to: at + 1,
      who: { process: who, incarnation: 1, thread: 0 },
      epoch: { number: epoch, at: 0, healthy, lastHeard, token: '' },
    }),
  )
}

/** What is said of `versions` that the processes and last Redis have in the end. */
function lastWordOn({ changes, versions, timeline = new Timeline(), way = 'tracking' }) {
  const list = historyOf(changes).changes.get(KEY)
  const found = versions.map((version, process) => ({ where: `process ${process}`, process, version }))
  return [
    ...problemsOf(KEY, list, expectationOf(list, 0, timeline), found),
    ...disagreements(KEY, list, found.at(-1).version, found.slice(0, -1), { way, timeline }),
  ]
}

module.exports = { lastWordOn, verdictOn }
