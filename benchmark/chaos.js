'use strict'

// What `npm run chaos` runs once the peers are installed here: a service's load on each contender in turn while its
// redis-server is frozen, thawed, killed and restarted. Prints the figures of each phase; a run of everything writes
// results/chaos.json and ../docs/chaos.svg, a narrowed one only where `--json FILE` and `--svg FILE` say.
// `--only NAME` (may be repeated) or `--contenders a,b` narrow it, `--rate N` is requests a second, `--frozen 6` and so
// on the seconds of a phase. `--markdown` prints the table of the README instead, `--check` makes the exit code 1 if
// evenkeel misses a bar.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { missed } = require('./chaos/bars.js')
const { chart } = require('./chaos/chart.js')
const contenders = require('./chaos/contenders.js')
const { PHASES, runContender } = require('./chaos/run.js')
const { KEYS, L1_ENTRIES, ORIGIN_MS, TTL_MS } = require('./chaos/settings.js')
const { BUCKET_MS } = require('./chaos/summary.js')
const { markdown, text } = require('./chaos/table.js')

const SECONDS = { healthy: 2, frozen: 6, thawed: 3, killed: 3, restarted: 5 }
const FILES = {
  json: path.join(__dirname, 'results', 'chaos.json'),
  svg: path.join(__dirname, '..', 'docs', 'chaos.svg'),
}

const { values: options } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    contenders: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    rate: { type: 'string', default: '500' },
    svg: { type: 'string' },
    ...Object.fromEntries(PHASES.map((name) => [name, { type: 'string', default: String(SECONDS[name]) }])),
  },
})

/** The contenders that are asked for, all without a word about it. */
function chosen() {
  const names = Object.keys(contenders)
  const wanted = [...options.only, ...(options.contenders?.split(',') ?? [])]
  const unknown = wanted.filter((name) => !names.includes(name))
  if (unknown.length > 0) throw new Error(`No such contender: ${unknown}. There are: ${names.join(', ')}`)
  return wanted.length === 0 ? names : wanted
}

function lengths() {
  const seconds = Object.fromEntries(PHASES.map((name) => [name, Number(options[name])]))
  for (const [name, value] of Object.entries(seconds)) {
    if (!(value > 0)) throw new Error(`--${name} takes seconds, not ${options[name]}`)
  }
  return seconds
}

function write(file, content) {
  if (file === undefined) return
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true })
  fs.writeFileSync(file, content)
}

/** What was measured, and on what. */
function describe(seconds, results) {
  return {
    date: new Date().toISOString(),
    node: process.version,
    cpu: `${os.cpus().length} x ${os.cpus()[0].model.trim()}`,
    load: {
      perSecond: Number(options.rate),
      keys: KEYS,
      originMs: ORIGIN_MS,
      l1Entries: L1_ENTRIES,
      ttlMs: TTL_MS,
    },
    seconds,
    bucketMs: BUCKET_MS,
    contenders: results,
  }
}

async function main() {
  const names = chosen()
  const seconds = lengths()
  const results = {}
  for (const name of names) {
    const result = await runContender(name, { seconds, rate: Number(options.rate) }).catch((error) => {
      process.exitCode = 1
      return { failure: error.message }
    })
    results[name] = result
    if (!options.markdown) console.log(text({ [name]: result }))
  }
  const report = describe(seconds, results)
  if (options.markdown) console.log(markdown(results))
  const isWhole =
    names.length === Object.keys(contenders).length && PHASES.every((name) => seconds[name] === SECONDS[name])
  write(options.json ?? (isWhole ? FILES.json : undefined), `${JSON.stringify(report, null, 2)}\n`)
  write(options.svg ?? (isWhole ? FILES.svg : undefined), chart(report))
  if (!options.check) return
  if (!results.evenkeel) throw new Error('--check is about evenkeel, which did not run')
  const lines = missed(results.evenkeel)
  for (const line of lines) console.error(`evenkeel misses a bar: ${line}`)
  if (lines.length > 0) process.exitCode = 1
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
