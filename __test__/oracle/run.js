'use strict'

// One run of the oracle: a world, the processes that share registers in it, one fault after the other, and in the end the judgement.

const fs = require('node:fs')
const path = require('node:path')
const { setTimeout: pause } = require('node:timers/promises')
const { temporaryFolder } = require('../support/child.js')
const { between, generator } = require('../support/random.js')
const { Member } = require('./fleet.js')
const { History } = require('./history.js')
const { figuresOf, judgeReads, lastLook, storyOf } = require('./judgement.js')
const { strikeProcess } = require('./process-faults.js')
const { allKeys, now } = require('./registers.js')
const { Timeline } = require('./timeline.js')

/** How long L1 keeps something, process by process: within a short run, within a long one, and longer. */
const L1_TTL = [2_000, 20_000, 600_000]
const L2_TTL = 3_600_000
const FIRST_MS = 1_500
const QUIET_MS = [300, 2_000]
const PROCESS_QUIET_MS = [1_500, 9_000]
/** How long a fault lasts, in runs of a minute and in longer ones. */
const FAULT_MS = { short: [100, 1_500], long: [200, 6_000] }
const LONG_S = 60
/** How long a process is cut off in a very long run: longer than it may serve what it held. */
const AWAY = { ms: 75_000, process: 2, least: 200 }

const shuffled = (random, list) =>
  list
    .map((each) => [random(), each])
    .toSorted(([a], [b]) => a - b)
    .map(([, each]) => each)

/** All faults in an order by chance, and again in another one. */
function* order(random, faults) {
  for (;;) yield* shuffled(random, faults)
}

/** Cuts off the process whose L1 keeps things for longest, while everything else goes on. */
async function cutOff({ world, timeline }) {
  const over = timeline.begin('faults', { name: `process ${AWAY.process} is cut off for long` })
  const end = await world.cutOff(AWAY.process)
  const passed = pause(AWAY.ms)
  return async () => {
    await passed
    await end()
    over()
  }
}

async function worldFaults(run, end) {
  const { world, timeline, random, seconds, start } = run
  const lengths = FAULT_MS[seconds >= LONG_S ? 'long' : 'short']
  const names = order(random, world.constructor.faults)
  const comesBack = seconds >= AWAY.least && world.cutOff ? (await cutOff(run))() : undefined
  while (now() < end) {
    const ms = between(random, ...lengths)
    const { value: name } = names.next()
    const over = timeline.begin('faults', { name })
    await world.strike(name, { random, timeline, start, ms, wait: () => pause(ms) })
    over()
    await pause(between(random, ...QUIET_MS))
  }
  await comesBack
}

async function processFaults(run, end) {
  const wait = () => pause(Math.max(0, Math.min(between(run.random, ...PROCESS_QUIET_MS), end - now())))
  for (await wait(); now() < end; await wait()) await strikeProcess(run)
}

/** Keeps the notes of a run for whoever asked for them: `ORACLE_KEEP` is a folder. */
function keep(folder, seed, more) {
  if (process.env.ORACLE_KEEP === undefined) return
  const kept = path.join(process.env.ORACLE_KEEP, `oracle-${seed}`)
  fs.cpSync(folder, kept, { recursive: true })
  fs.writeFileSync(path.join(kept, 'run.json'), JSON.stringify(more))
}

/** What a process is started with. */
function settingsOf({ world, folder, seed, start, way, ways, common }, process) {
  const cache = { ...common, invalidation: ways[process] ?? way, l1: { ttl: L1_TTL[process] } }
  return { process, folder, seed, start, cache: { ...cache, redis: world.redisOf(process) } }
}

async function prepare(t, { World, seed, ways = [], ...options }) {
  const namespace = `oracle-${seed}`
  const world = await World.start(t, `${namespace}:`)
  const run = {
    ...options,
    world,
    seed,
    ways,
    common: { namespace, name: 'oracle', l2: { ttl: L2_TTL } },
    folder: temporaryFolder('evenkeel-oracle'),
    timeline: new Timeline(),
    l1Ttl: L1_TTL,
    shardOf: (key) => world.shardOf(key),
    start: now(),
  }
  run.members = L1_TTL.map((_, process) => new Member(settingsOf(run, process)))
  t.after(() => Promise.all(run.members.map((member) => member.kill())))
  return run
}

/** Lets the processes work, and things happen to them and to their world; when that was over. */
async function happen(run) {
  const { members, seconds, seed, start } = run
  await Promise.all(members.map((member) => member.start()))
  await pause(FIRST_MS)
  const end = start + FIRST_MS + seconds * 1_000
  if (run.calm) await pause(end - now())
  // Each draws for itself, so that what happens is the same in the same order.
  else
    await Promise.all([
      worldFaults({ ...run, random: generator(seed) }, end),
      processFaults({ ...run, random: generator(seed + 1) }, end),
    ])
  const over = now()
  await Promise.all(members.map((member) => member.ask('finish')))
  return over
}

/** All that is wrong, in words, and figures of what was seen. */
async function judge(run, over) {
  const { members, folder, common, start } = run
  run.history = History.read(folder)
  const keys = allKeys(start, over).filter((key) => run.history.changes.has(key))
  const last = await lastLook(run, { ...common, invalidation: 'off' }, keys)
  await Promise.all(members.map((member) => member.ask('close')))
  run.history = History.read(folder)
  const { rules, complaints } = judgeReads(run)
  const printed = members.filter((member) => member.printed !== '')
  const wrong = run.history.wrong.map(
    ({ who, at, text }) => `${JSON.stringify(who)} at ${Math.round(at - start)} ms: ${text}`,
  )
  const all = [
    ...printed.map(({ index, printed }) => `process ${index} printed ${printed}`),
    ...wrong,
    ...last.map((text) => `in the end ${text}`),
    ...complaints,
  ]
  return { complaints: all, figures: figuresOf(run, rules, keys) }
}

/**
 * Runs for `seconds` in the world that `World.start` begins, with `way` as the processes' way to hear; `ways` are those of each process where
 * they differ, and `calm` is without faults. Answers `{ complaints, story, figures }`.
 */
async function runOracle(t, options) {
  const run = await prepare(t, options)
  const over = await happen(run)
  const { complaints, figures } = await judge(run, over)
  const { seed, start, timeline } = run
  if (complaints.length > 0) keep(run.folder, seed, { start, timeline, complaints })
  return { complaints, story: storyOf(run), figures }
}

module.exports = { runOracle }
