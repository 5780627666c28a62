'use strict'

// The oracle of coherence: three processes with two threads each share registers, whose versions only grow, under random faults. No
// reader goes backwards, nothing is older than the stated bounds, and once the faults are over no deleted key is back and all that was
// acknowledged is there. `ORACLE_SECONDS` makes it longer, `SEED` repeats its faults, `ORACLE_KEEP` is a folder for
// what was noted in a run that has complaints.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { runOracle } = require('./oracle/run.js')
const { Shards } = require('./oracle/shards.js')
const { Single } = require('./oracle/single.js')
const { ownSeed } = require('./support/random.js')

const SECONDS = Number(process.env.ORACLE_SECONDS ?? 12)
const MODES = {
  tracking: { World: Single, way: 'tracking' },
  pubsub: { World: Single, way: 'pubsub' },
  cluster: { World: Shards, way: 'tracking' },
}
/** Complaints that are printed; more of the same help nobody. */
const PRINTED = 20

for (const [mode, options] of Object.entries(MODES)) {
  test(`${mode}: nothing goes backwards, is older than stated, comes back or is lost`, async (t) => {
    const seed = ownSeed()
    t.diagnostic(`seed ${seed}`)
    const { complaints, story, figures } = await runOracle(t, { ...options, seconds: SECONDS, seed })
    t.diagnostic(JSON.stringify(figures))
    if (complaints.length > 0) t.diagnostic(story.join('\n'))
    assert.deepEqual(complaints.slice(0, PRINTED), [], `${complaints.length} complaints, seed ${seed}`)
    assert.ok(figures.judged > SECONDS * 10 && figures.acknowledged > SECONDS * 10, 'too little was seen')
  })
}
