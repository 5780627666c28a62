'use strict'

// What `npm run bench` runs once the peers are installed here: starts a redis-server, measures the contenders of each work in
// turn, prints medians, ratios and goals. A run of everything writes results/node<line>.json and ../docs/speed-node<line>.svg.
// A contender that fails or answers wrongly makes the exit code 1; with `--assert` so does a goal that is missed.
// `--rounds N`, `--work hit-object` and `--without NAME` narrow a run.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { chart } = require('./chart.js')
const { dependencies } = require('./package.json')
const { startRedis } = require('./redis.js')
const { goalsText, record, standings, workText } = require('./report.js')
const works = require('./works.js')

const { values: options } = parseArgs({
  options: {
    assert: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '9' },
    work: { type: 'string', multiple: true, default: Object.keys(works) },
    without: { type: 'string', multiple: true, default: [] },
  },
})
const LINE = Number(process.versions.node.split('.')[0])
const FILES = {
  json: path.join(__dirname, 'results', `node${LINE}.json`),
  svg: path.join(__dirname, '..', 'docs', `speed-node${LINE}.svg`),
}

/** Starts one contender's process and waits until it has filled and checked its keys. */
async function start(id, name, port) {
  const args = [id, name, String(port)]
  const child = fork(path.join(__dirname, 'contender.js'), args, { execArgv: ['--expose-gc'] })
  const [message] = await once(child, 'message')
  return { name, child, rounds: [], failure: message.type === 'failed' ? message.message : undefined }
}

/** One round of one contender, while all others are idle. */
async function round(contender) {
  contender.child.send({ type: 'round' })
  const [message] = await once(contender.child, 'message')
  if (message.type === 'failed') contender.failure = message.message
  else contender.rounds.push(message)
}

async function measure(id, redis) {
  const contenders = []
  for (const name of Object.keys(works[id].contenders)) {
    if (!options.without.some((word) => name.startsWith(word)))
      contenders.push(await start(id, name, redis.port))
  }
  const running = () => contenders.filter(({ failure }) => !failure)
  for (const contender of running()) await round(contender) // warm-up, not counted
  for (const contender of running()) contender.rounds.length = 0
  const reads = await redis.reads()
  for (let turn = 0; turn < Number(options.rounds); turn++) {
    const order = running()
    order.push(...order.splice(0, turn % order.length)) // nobody always runs after the same neighbour
    for (const contender of order) await round(contender)
  }
  const sent = (await redis.reads()) - reads
  if (works[id].isLocal && sent > 0)
    throw new Error(`${sent} gets went to Redis that were to be answered from memory`)
  for (const { child } of running()) {
    child.send({ type: 'close' })
    await once(child, 'exit')
  }
  return contenders
}

function write(run) {
  for (const [file, content] of [
    [FILES.json, `${JSON.stringify(run, undefined, 2)}\n`],
    [FILES.svg, chart(run)],
  ]) {
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, content)
  }
}

async function main() {
  const unknown = options.work.filter((id) => works[id] === undefined)
  if (unknown.length > 0) throw new Error(`No such work: ${unknown}. There are: ${Object.keys(works)}`)
  const machine = `${os.cpus().length} x ${os.cpus()[0].model.trim()}`
  const about = { node: process.version, machine, rounds: Number(options.rounds), peers: dependencies }
  console.log(`Node ${process.version}, ${machine}, ${options.rounds} rounds`)
  const redis = await startRedis()
  const all = {}
  try {
    for (const id of options.work) {
      all[id] = await measure(id, redis)
      console.log(workText(id, all[id]))
    }
  } finally {
    redis.stop()
  }
  const goals = standings(all, LINE)
  console.log(goalsText(goals))
  const narrowed = options.work.length < Object.keys(works).length || options.without.length > 0
  if (!narrowed) write(record(all, goals, about))
  const failed = Object.values(all).some((results) => results.some(({ failure }) => failure))
  if (failed || (options.assert && goals.some(({ reached }) => !reached))) process.exitCode = 1
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
