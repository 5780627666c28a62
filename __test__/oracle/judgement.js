'use strict'

// The judgement on a run: what its processes and Redis hold in the end, all reads against the rules, and what was seen in figures.

const { Cache } = require('evenkeel')
const { until } = require('../support/wait.js')
const { PROCESSES, THREADS } = require('./registers.js')
const { Rules } = require('./rules.js')
const { disagreements, expectationOf, problemsOf } = require('./truth.js')

/** How soon all that must be readable is, once every cache has settled. */
const AGREE_MS = 5_000
/** How many changes of a register are told with a complaint about it. */
const LAST = 5

/** What each process finds under `keys`: `{ where, process, versions }`. */
async function found(members, keys) {
  const answers = await Promise.all(members.map((member) => member.ask('audit', { keys })))
  return answers.flatMap((threads, process) =>
    threads.map((versions, thread) => ({ where: `process ${process} thread ${thread}`, process, versions })),
  )
}

/** The last changes of a register in words. */
function lastOf(changes, start) {
  const seconds = (at) => ((at - start) / 1_000).toFixed(3)
  const words = changes.slice(-LAST).map(({ version, by, strict, ok, at, end, who }) => {
    const how = `${strict ? 'strict ' : ''}${by} ${version} of ${who.process}.${who.incarnation}.${who.thread}`
    return `${how} ${seconds(at)} to ${seconds(end)} s ${ok ? 'resolved' : 'rejected'}`
  })
  return `the last changes: ${words.join(', ')}`
}

/** All that is not as it must be, by the processes and by Redis itself, in the words of a cache without an L1. */
async function truths(run, fresh, keys) {
  const { members, history, timeline, shardOf } = run
  const inRedis = (await fresh.getMany(keys, { strict: true })).map((value) => value?.version ?? 0)
  const views = await found(members, keys)
  return keys.flatMap((key, at) => {
    const changes = history.changes.get(key)
    const l1s = views.map(({ where, process, versions }) => ({
      where,
      process,
      version: versions?.[at] ?? 0,
    }))
    const all = [...l1s, { where: 'Redis', version: inRedis[at] }]
    const expectation = expectationOf(changes, shardOf(key), timeline)
    const problems = [
      ...problemsOf(key, changes, expectation, all),
      ...disagreements(key, changes, inRedis[at], l1s, run),
    ]
    return problems.map((text) => `${text}; ${lastOf(changes, run.start)}`)
  })
}

/** Rule (c): what is wrong with the registers once nothing goes wrong any more and every cache has settled. */
async function lastLook(run, cacheOptions, keys) {
  const fresh = new Cache({ ...cacheOptions, redis: run.world.redis, name: undefined, l1: false })
  let problems = []
  try {
    await fresh.ready()
    const areNone = async () => (problems = await truths(run, fresh, keys)).length === 0
    await until(areNone, { timeout: AGREE_MS }).catch((error) => {
      if (problems.length === 0) throw error
    })
  } finally {
    await fresh.close()
  }
  return problems
}

function judgeReads(run) {
  const rules = new Rules(run)
  const complaints = run.history.reads.flatMap((read) => rules.judge(read))
  return { rules, complaints }
}

/** What was done to the world, in words, for whoever has to explain a complaint. */
function storyOf({ timeline, start }) {
  const seconds = (at) => ((at - start) / 1_000).toFixed(2)
  return timeline.faults.map(({ name, from, to }) => `${seconds(from)} to ${seconds(to)} s: ${name}`)
}

function figuresOf({ history, timeline }, { judged, ages, oldest }, keys) {
  const changes = [...history.changes.values()].flat()
  const sorted = ages.toSorted((a, b) => a - b)
  return {
    registers: keys.length,
    changes: changes.length,
    acknowledged: changes.filter(({ ok, strict }) => ok && strict).length,
    reads: history.reads.length,
    peeks: history.reads.filter(({ by }) => by === 'peek').length,
    judged,
    /** Of those that were judged: how many were old, and for how many ms they had been. */
    old: { count: ages.length, p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0, most: sorted.at(-1) ?? 0 },
    /** Of all, through outages too. */
    oldest,
    faults: timeline.faults.length,
    killed: timeline.killed.length,
    threads: PROCESSES * THREADS,
  }
}

module.exports = { figuresOf, judgeReads, lastLook, storyOf }
