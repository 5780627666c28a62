'use strict'

// That the oracle complains when something is wrong: of histories that never were, and of a run in which processes are deaf.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { lastWordOn, verdictOn } = require('./oracle/fixture.js')
const { runOracle } = require('./oracle/run.js')
const { Single } = require('./oracle/single.js')
const { Timeline } = require('./oracle/timeline.js')
const { ownSeed } = require('./support/random.js')

const own = { by: 'get', who: 0 }
const other = { by: 'get', who: 1 }
const deaf = { ...other, healthy: false }
const last = { by: 'get', who: 2, healthy: false, lastHeard: 1_500 }
const later = { ...other, epoch: 2 }
const weak = { strict: false }
const failed = { ok: false }

/** What was done to the servers, where something was. */
const timelineOf = (loss) => Object.assign(new Timeline(), { losses: [loss] })
const flushed = timelineOf({ from: 1_050, to: 1_060, older: false })
const failedOver = timelineOf({ from: 1_050, to: 1_060, older: true })
const killed = Object.assign(new Timeline(), { killed: [{ process: 0, incarnation: 1 }] })
const stalled = Object.assign(new Timeline(), { stalls: [{ from: 1_050, to: 1_900 }] })

function check(complaints, expected) {
  if (expected === undefined) assert.deepEqual(complaints, [])
  else assert.match(complaints.join(), expected)
}

describe('of a read', () => {
  const two = [
    ['set', 1],
    ['set', 2],
  ]
  const deleted = [
    ['set', 1],
    ['delete', 2],
  ]
  const cases = [
    ['that is right', { changes: two, reads: [[2, 2_000, other]] }],
    ['of what nobody wrote', { changes: two, reads: [[9, 2_000, other]] }, /nobody has written that/],
    ['of a delete', { changes: deleted, reads: [[2, 2_000, other]] }, /nobody has written that/],
    ['from before the write', { changes: two, reads: [[2, 900, other]] }, /nobody has written that/],
    ['that goes backwards', { changes: two, reads: [[2, 1_010, other], [1, 1_020, other]] }, /backwards/], // prettier-ignore
    [
      'that goes back over another link',
      {
        changes: two,
        reads: [
          [2, 1_010, other],
          [1, 1_020, later],
        ],
      },
    ],
    ['of what was replaced just now', { changes: two, reads: [[1, 1_040, other]] }],
    ['of what was replaced', { changes: two, reads: [[1, 2_000, other]] }, /stale by 99\d ms/],
    ['of what was deleted', { changes: deleted, reads: [[1, 2_000, other]] }, /stale by 99\d ms/],
    ['by a process that is deaf', { changes: two, reads: [[1, 2_000, deaf]] }],
    ['by a process that was deaf for too long', { changes: two, reads: [[1, 40_000, deaf]] }, /older by/],
    ['by a process that was deaf for a minute', { changes: two, reads: [[1, 60_000, last]] }],
    ['by one that was deaf for longer', { changes: two, reads: [[1, 70_000, last]] }, /after it heard last/],
    ['of what was replaced after that', { changes: [['set', 1], ['set', 2, { at: 80_000 }]], reads: [[1, 70_000, last]] }], // prettier-ignore
    ['that a stall held up', { changes: two, reads: [[1, 2_000, other]], timeline: stalled }],
    ['long after a stall', { changes: two, reads: [[1, 4_000, other]], timeline: stalled }, /stale by 1100/],
    ['of what a failover brought back', { changes: two, reads: [[1, 9_000, own]], timeline: failedOver }],
    ['of what a flush cannot bring back', { changes: two, reads: [[1, 9_000, other]], timeline: flushed }, /stale/], // prettier-ignore
    ['of an own value', { changes: [two[0], ['set', 2, weak]], reads: [[1, 1_200, own]] }, /its own process/],
    ['of an own value whose change rejected', { changes: [two[0], ['set', 2, failed]], reads: [[1, 1_200, own]] }], // prettier-ignore
  ]
  for (const [what, history, complaint] of cases)
    test(`${what}: ${complaint ?? 'nothing'}`, () => check(verdictOn(history), complaint))
})

describe('of what is there in the end', () => {
  const set = [['set', 1]]
  const weaklySet = [...set, ['set', 2, weak]]
  const weaklyDeleted = [...set, ['delete', 2, weak]]
  const cases = [
    ['the last value everywhere', { changes: set, versions: [1, 1, 1] }],
    ['a value that was lost', { changes: set, versions: [0, 0, 0] }, /not 1, which was acknowledged/],
    ['a value that was lost by a flush', { changes: set, versions: [0, 0, 0], timeline: flushed }],
    ['a value that one process lacks', { changes: set, versions: [1, 0, 1] }, /process 1 has nothing/],
    ['a deleted value', { changes: [...set, ['delete', 2]], versions: [0, 1, 0] }, /deleted by 2/],
    ['a deleted value in Redis', { changes: weaklyDeleted, versions: [0, 0, 1] }, /deleted by 2/],
    [
      'one whose delete died with its process',
      { changes: weaklyDeleted, versions: [1, 1, 1], timeline: killed },
    ],
    ['one that a failover brought back', { changes: weaklyDeleted, versions: [1, 1, 1], timeline: failedOver }], // prettier-ignore
    ['a value that was never sent', { changes: weaklySet, versions: [2, 0, 0] }],
    ['such a value in another process', { changes: weaklySet, versions: [0, 2, 0] }, /Redis nothing/],
    ['the value from before it', { changes: weaklySet, versions: [1, 1, 1] }, /replaced by 2/],
    ['what nobody wrote', { changes: set, versions: [7, 7, 7] }, /a value that nobody wrote/],
  ]
  for (const [what, history, complaint] of cases)
    test(`${what}: ${complaint ?? 'nothing'}`, () => check(lastWordOn(history), complaint))
})

test('of processes that do not hear what another one writes', async (t) => {
  // Whoever tracks does not publish.
  const ways = ['tracking', 'pubsub', 'pubsub']
  const options = { World: Single, way: 'pubsub', ways, seconds: 3, seed: ownSeed(), calm: true }
  const { complaints } = await runOracle(t, options)
  const stale = complaints.filter((text) => text.includes('stale by'))
  assert.ok(stale.length > 10, complaints.slice(0, 20).join('\n'))
  assert.ok(stale.every((text) => text.includes(' of r:0:')))
})
