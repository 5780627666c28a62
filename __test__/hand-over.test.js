'use strict'

// Linearizable within the process: a get that begins after a change has resolved, in whatever thread, never finds what was there
// before. Two threads hand a turn to each other without the event loop, and what each holds near is what it must not believe.

const assert = require('node:assert/strict')
const path = require('node:path')
const { test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { ownNamespace } = require('./support/cache.js')
const { eventOf } = require('./support/wait.js')

/** Some millions of them by `EVENKEEL_ROUNDS`. */
const ROUNDS = Number(process.env.EVENKEEL_ROUNDS ?? 100_000)

for (const [name, l1] of Object.entries({ copies: {}, 'shared objects': { shareObjects: true } })) {
  test(`no thread finds what another one has changed: ${name}`, async (t) => {
    // Whose turn it is, how many there were, and the version that is to be found.
    const memory = new SharedArrayBuffer(12)
    const options = { name: ownNamespace(), l1 }
    const fixture = path.join(__dirname, 'fixtures', 'hand-over.js')
    const workers = [0, 1].map(
      (own) => new Worker(fixture, { workerData: { own, rounds: ROUNDS, options, memory } }),
    )
    t.after(() => Promise.all(workers.map((worker) => worker.terminate())))
    const seen = await Promise.all(workers.map((worker) => eventOf(worker, 'message', { timeout: 600_000 })))
    assert.deepEqual(
      seen.flatMap(({ stale }) => stale),
      [],
    )
    // Each turn is six reads at least, and nearly all of them find something.
    const hits = Math.max(...seen.map((each) => each.hits))
    assert.ok(hits > ROUNDS, `${hits} hits`)
    t.diagnostic(`${ROUNDS} turns, ${hits} hits`)
  })
}
