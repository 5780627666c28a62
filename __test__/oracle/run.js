'use strict'

// One run of the oracle: a world, the processes that share registers in it, one fault after the other, and in the end the judgement.

const { setTimeout: pause } = require('node:timers/promises')
const { Cache } = require('evenkeel')
const { temporaryFolder } = require('../support/child.js')
const { between, generator } = require('../support/random.js')
const { until } = require('../support/wait.js')
const { Member } = require('./fleet.js')
const { History } = require('./history.js')
const { strikeProcess } = require('./process-faults.js')
const { PROCESSES, THREADS, allKeys, now } = require('./registers.js')
const { Rules } = require('./rules.js')
const { Timeline } = require('./timeline.js')
const { disagreements, expectationOf, problemsOf } = require('./truth.js')

/** How long L1 keeps something, process by process: within a short run, within a long one, and longer. */
const L1_TTL = [2_000, 20_000, 600_000]
const L2_TTL = 3_600_000
const FIRST_MS = 1_500
const QUIET_MS = [300, 2_000]
const PROCESS_QUIET_MS = [1_500, 9_000]
/** How long a fault lasts, in runs of a minute and in longer ones. */
const FAULT_MS = { short: [100, 1_500], long: [200, 6_000] }
const LONG_S = 60
/** How soon all that must be readable is, once every cache has settled. */
const AGREE_MS = 5_000

const shuffled = (random, list) =>
  list
    .map((each) => [random(), each])
    .toSorted(([a], [b]) => a - b)
    .map(([, each]) => each)

/** All faults in an order by chance, and again in another one. */
function* order(random, faults) {
  for (;;) yield* shuffled(random, faults)
}

async function worldFaults(run, end) {
  const { world, timeline, random, seconds, start } = run
  const lengths = FAULT_MS[seconds >= LONG_S ? 'long' : 'short']
  const names = order(random, run.faults ?? world.constructor.faults)
  while (now() < end) {
    const ms = between(random, ...lengths)
    const { value: name } = names.next()
    const over = timeline.begin('faults', { name })
    await world.strike(name, { random, timeline, start, ms, wait: () => pause(ms) })
    over()
    await pause(between(random, ...QUIET_MS))
  }
}

async function processFaults(run, end) {
  const wait = () => pause(Math.max(0, Math.min(between(run.random, ...PROCESS_QUIET_MS), end - now())))
  for (await wait(); now() < end; await wait()) await strikeProcess(run)
}

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
  const words = changes.slice(-3).map(({ version, change, strict, ok, at, end, who }) => {
    const how = `${strict ? 'strict ' : ''}${change} ${version} of ${who.process}.${who.incarnation}.${who.thread}`
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

/**
 * Runs for `seconds` in the world that `World.start` begins, with `way` as the processes' way to hear; `faults` are the names of those that
 * happen (all by default), `ways` the way of each process where they differ. Answers
 * `{ complaints, story, figures }`.
 */
async function runOracle(t, { World, way, seconds, seed, ways = [], faults, calm = false }) {
  const namespace = `oracle-${process.pid}-${seed}`
  const world = await World.start(t, `${namespace}:`)
  const folder = temporaryFolder('evenkeel-oracle')
  const [random, start, timeline] = [generator(seed), now(), new Timeline()]
  const common = { namespace, name: 'oracle', l2: { ttl: L2_TTL } }
  const settingsOf = (process) => ({
    process,
    folder,
    seed,
    start,
    cache: {
      ...common,
      redis: world.redisOf(process),
      invalidation: ways[process] ?? way,
      l1: { ttl: L1_TTL[process] },
    },
  })
  const members = Array.from({ length: PROCESSES }, (_, process) => new Member(settingsOf(process)))
  t.after(() => Promise.all(members.map((member) => member.kill())))
  const run = { world, members, timeline, random, seconds, start, way, faults, l1Ttl: L1_TTL }
  run.shardOf = (key) => world.shardOf(key)
  await Promise.all(members.map((member) => member.start()))
  await pause(FIRST_MS)
  const end = start + FIRST_MS + seconds * 1_000
  if (calm) await pause(seconds * 1_000)
  else await Promise.all([worldFaults(run, end), processFaults(run, end)])
  const over = now()
  await Promise.all(members.map((member) => member.ask('finish')))
  run.history = History.read(folder)
  const keys = allKeys(start, over).filter((key) => run.history.changes.has(key))
  const last = await lastLook(run, { ...common, invalidation: 'off' }, keys)
  await Promise.all(members.map((member) => member.ask('close')))
  run.history = History.read(folder)
  const { rules, complaints } = judgeReads(run)
  const wrong = run.history.wrong.map(
    ({ who, at, text }) => `${JSON.stringify(who)} at ${Math.round(at - start)} ms: ${text}`,
  )
  const printed = members
    .filter((member) => member.printed !== '')
    .map(({ index, printed }) => `process ${index} printed ${printed}`)
  return {
    complaints: [...printed, ...wrong, ...last.map((text) => `in the end ${text}`), ...complaints],
    story: storyOf(run),
    figures: figuresOf(run, rules, keys),
  }
}

/** What was done to the world, in words, for whoever has to explain a complaint. */
function storyOf({ timeline, start }) {
  const seconds = (at) => ((at - start) / 1_000).toFixed(2)
  return timeline.faults.map(({ name, from, to }) => `${seconds(from)} to ${seconds(to)} s: ${name}`)
}

function figuresOf({ history, timeline }, { judged, ages }, keys) {
  const changes = [...history.changes.values()].flat()
  const sorted = ages.toSorted((a, b) => a - b)
  return {
    registers: keys.length,
    changes: changes.length,
    acknowledged: changes.filter(({ ok, strict }) => ok && strict).length,
    reads: history.reads.length,
    judged,
    /** How old the oldest reads were that came while all was well, in ms. */
    oldest: sorted.at(-1) ?? 0,
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    faults: timeline.faults.length,
    killed: timeline.killed.length,
    threads: PROCESSES * THREADS,
  }
}

module.exports = { runOracle }
