'use strict'

// What happens to the processes of a run themselves.

const { setTimeout: pause } = require('node:timers/promises')
const { between, oneOf } = require('../support/random.js')

const FROZEN_MS = [200, 3_000]
const GONE_MS = [0, 1_500]

/** `(run, member)` each; begun and ended. */
const FAULTS = {
  async 'is killed'({ timeline, random }, member) {
    await member.kill()
    timeline.killed.push({ process: member.index, incarnation: member.incarnation })
    await pause(between(random, ...GONE_MS))
    await member.start()
  },
  async 'is frozen'({ timeline, random }, member) {
    const end = timeline.begin('stalls', { processes: [member.index] })
    member.freeze()
    await pause(between(random, ...FROZEN_MS))
    member.thaw()
    end()
  },
}

/** Lets one thing happen to one process. */
async function strikeProcess(run) {
  const members = run.members.filter(({ index }) => index !== run.world.away)
  const [name, member] = [oneOf(run.random, Object.keys(FAULTS)), oneOf(run.random, members)]
  const end = run.timeline.begin('faults', { name: `process ${member.index} ${name}` })
  await FAULTS[name](run, member)
  end()
}

module.exports = { strikeProcess }
