'use strict'

// What `npm run bench` runs once the peers are installed here: starts a redis-server, measures the contenders of each work in
// turn, prints medians, ratios and goals. A run of everything writes results/node<line>.json and ../docs/speed-node<line>.svg,
// a narrowed one only where `--json FILE` and `--svg FILE` say. A contender that fails or answers wrongly makes the exit code
// 1; with `--assert` so does a goal that is missed. `--rounds N`, `--work hit-object` and `--without NAME` narrow a run.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { chart } = require('./chart.js')
const { measure } = require('./measure.js')
const { dependencies } = require('./package.json')
const { startRedis } = require('./redis.js')
const { goalsText, record, standings, workText } = require('./report.js')
const works = require('./works.js')

const { values: options } = parseArgs({
  options: {
    assert: { type: 'boolean', default: false },
    json: { type: 'string' },
    rounds: { type: 'string', default: '9' },
    svg: { type: 'string' },
    work: { type: 'string', multiple: true, default: Object.keys(works) },
    without: { type: 'string', multiple: true, default: [] },
  },
})
const LINE = Number(process.versions.node.split('.')[0])
const FILES = {
  json: path.join(__dirname, 'results', `node${LINE}.json`),
  svg: path.join(__dirname, '..', 'docs', `speed-node${LINE}.svg`),
}

function write(file, content) {
  if (file === undefined) return
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true })
  fs.writeFileSync(file, content)
}

/** What a run is of. */
async function describe(redis) {
  return {
    date: new Date().toISOString(),
    node: process.version,
    machine: `${os.cpus().length} x ${os.cpus()[0].model.trim()}`,
    redis: await redis.version(),
    rounds: Number(options.rounds),
    peers: dependencies,
  }
}

async function measureAll(redis) {
  const all = {}
  for (const id of options.work) {
    all[id] = await measure(id, redis, { rounds: Number(options.rounds), without: options.without })
    console.log(workText(id, all[id]))
  }
  return all
}

async function main() {
  const unknown = options.work.filter((id) => works[id] === undefined)
  if (unknown.length > 0) throw new Error(`No such work: ${unknown}. There are: ${Object.keys(works)}`)
  const server = await startRedis()
  const about = await describe(server)
  console.log(`Node ${about.node}, Redis ${about.redis}, ${about.machine}, ${about.rounds} rounds`)
  const all = await measureAll(server).finally(() => server.stop())
  const goals = standings(all, LINE)
  console.log(goalsText(goals))
  const isWhole = Object.keys(works).every((id) => options.work.includes(id)) && options.without.length === 0
  const run = record(all, goals, about)
  write(options.json ?? (isWhole ? FILES.json : undefined), `${JSON.stringify(run, undefined, 2)}\n`)
  write(options.svg ?? (isWhole ? FILES.svg : undefined), chart(run))
  const failed = Object.values(all).some((results) => results.some(({ failure }) => failure))
  if (failed || (options.assert && goals.some(({ reached }) => !reached))) process.exitCode = 1
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
