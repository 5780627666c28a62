'use strict'

// What `npm run rates` runs once the peers are installed here: replays traces on L1 and on lru-cache, both with room for the
// same share of a trace's bytes, and prints who answered how many requests from memory. A run of everything writes
// results/rates.json and ../docs/hit-rates.svg. `--trace zipf-0.99` (may be repeated) and `--requests N` narrow it;
// `--markdown` prints the table of docs/performance.md instead. A cache that answers wrongly makes the exit code 1.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { dependencies } = require('./package.json')
const { contenders, costOf, fill } = require('./rates/contenders.js')
const { drawing } = require('./rates/drawing.js')
const { markdown, text } = require('./rates/table.js')
const { TRACES, tracesOf } = require('./rates/traces.js')
const { startRedis } = require('./redis.js')

/** Of the bytes of a trace's objects. */
const SHARES = [0.01, 0.05, 0.1, 0.25]
const REQUESTS = '200000'
const FILES = {
  json: path.join(__dirname, 'results', 'rates.json'),
  svg: path.join(__dirname, '..', 'docs', 'hit-rates.svg'),
}

const { values: options } = parseArgs({
  options: {
    markdown: { type: 'boolean', default: false },
    requests: { type: 'string', default: REQUESTS },
    trace: { type: 'string', multiple: true, default: TRACES },
  },
})

async function replay(trace, port) {
  const total = trace.keys.reduce((sum, _, object) => sum + costOf(trace, object), 0)
  await fill(trace, port)
  const cells = []
  for (const share of SHARES) {
    const maxBytes = Math.floor(total * share)
    const rates = {}
    for (const [name, contender] of Object.entries(contenders))
      rates[name] = await contender(trace, { maxBytes, port })
    cells.push({ share, maxBytes, rates })
  }
  const { id, title, keys, requests } = trace
  return { id, title, objects: keys.length, requests: requests.length, bytes: total, cells }
}

function write(run) {
  fs.mkdirSync(path.dirname(FILES.json), { recursive: true })
  fs.writeFileSync(FILES.json, `${JSON.stringify(run, undefined, 2)}\n`)
  fs.writeFileSync(FILES.svg, drawing(run))
}

async function main() {
  const unknown = options.trace.filter((id) => !TRACES.includes(id))
  if (unknown.length > 0) throw new Error(`No such trace: ${unknown}. There are: ${TRACES.join(', ')}`)
  const given = await tracesOf(options.trace, Number(options.requests))
  const redis = await startRedis()
  const traces = []
  try {
    for (const trace of given) {
      traces.push(await replay(trace, redis.port))
      if (!options.markdown) console.log(text(traces.at(-1)))
    }
  } finally {
    redis.stop()
  }
  if (options.markdown) console.log(markdown(traces))
  const machine = `${os.cpus().length} x ${os.cpus()[0].model.trim()}`
  const isWhole = options.trace.length === TRACES.length && options.requests === REQUESTS
  if (isWhole) write({ node: process.version, machine, peers: dependencies, traces })
}

main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
