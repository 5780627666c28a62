'use strict'

// What `npm run bench` runs once the peers are installed here: starts a redis-server, measures the
// contenders in turn, prints medians and ratios.
// A contender that fails or answers wrongly makes the exit code 1; with `--assert` so does a ratio below its bar.
// `--rounds N`, `--suite l1|redis` and `--without NAME` narrow a run.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { startRedis } = require('./redis.js')

const SUITES = {
  l1: {
    title: 'get of an object that is in L1, awaited, one at a time',
    unit: (rate) => `${(1e9 / rate).toFixed(0)} ns`,
    inFlight: 1,
    milliseconds: 200,
    bars: { bentocache: 3, cacheable: 3 },
  },
  redis: {
    title: 'get of an object from Redis, 100 in flight',
    unit: (rate) => `${(rate / 1000).toFixed(1)} k/s`,
    inFlight: 100,
    milliseconds: 500,
    bars: { ioredis: 1.5 },
  },
}

const { values: options } = parseArgs({
  options: {
    assert: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '9' },
    suite: { type: 'string', multiple: true, default: Object.keys(SUITES) },
    without: { type: 'string', multiple: true, default: [] },
  },
})

/** Starts one contender's process and waits until it has filled and checked its keys. */
async function start(suite, name, port) {
  const args = [suite, name, String(port), String(SUITES[suite].inFlight)]
  const child = fork(path.join(__dirname, 'contender.js'), args, { execArgv: ['--expose-gc'] })
  const [message] = await once(child, 'message')
  return { name, child, rates: [], failure: message.type === 'failed' ? message.message : undefined }
}

/** One round of one contender, while all others are idle. */
async function round(contender, milliseconds) {
  contender.child.send({ type: 'round', milliseconds })
  const [message] = await once(contender.child, 'message')
  if (message.type === 'failed') contender.failure = message.message
  else contender.rates.push(message.rate)
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]

/** How many times faster evenkeel was, round by round: neighbours in time are compared with each other. */
function ratios(own, other) {
  const all = own.rates.map((rate, index) => rate / other.rates[index])
  return { middle: median(all), low: Math.min(...all), high: Math.max(...all) }
}

/** Prints one suite; false when a contender failed or a bar was missed. */
function print(suite, contenders) {
  const { title, unit, bars } = SUITES[suite]
  const own = contenders.find(({ name }) => name === 'evenkeel')
  let passed = contenders.every(({ failure }) => !failure)
  if (!passed) process.exitCode = 1
  console.log(`\n${title}`)
  for (const contender of contenders) {
    const cells = [contender.name.padEnd(30)]
    if (contender.failure) {
      cells.push(`failed: ${contender.failure}`)
    } else {
      cells.push(unit(median(contender.rates)).padStart(11))
      if (own && own !== contender && !own.failure) {
        const { middle, low, high } = ratios(own, contender)
        const bar = bars[contender.name]
        cells.push(`evenkeel x ${middle.toFixed(2).padStart(6)}`, `(${low.toFixed(2)} to ${high.toFixed(2)})`)
        if (bar) cells.push(`bar ${bar}: ${middle >= bar ? 'passed' : 'MISSED'}`)
        if (bar && middle < bar) passed = false
      }
    }
    console.log(`  ${cells.join('  ')}`)
  }
  return passed
}

async function measure(suite, redis) {
  const { milliseconds } = SUITES[suite]
  const names = Object.keys(require('./contenders.js')[suite])
  const wanted = names.filter((name) => !options.without.some((word) => name.startsWith(word)))
  const contenders = []
  for (const name of wanted) contenders.push(await start(suite, name, redis.port))
  const running = () => contenders.filter(({ failure }) => !failure)
  for (const contender of running()) await round(contender, milliseconds) // warm-up, not counted
  for (const contender of running()) contender.rates.length = 0
  const reads = await redis.reads()
  for (let turn = 0; turn < Number(options.rounds); turn += 1) {
    const order = running()
    order.push(...order.splice(0, turn % order.length)) // nobody always runs after the same neighbour
    for (const contender of order) await round(contender, milliseconds)
  }
  const sent = (await redis.reads()) - reads
  if (suite === 'l1' && sent > 0)
    throw new Error(`${sent} gets went to Redis that were to be answered from memory`)
  for (const { child } of running()) {
    child.send({ type: 'close' })
    await once(child, 'exit')
  }
  return print(suite, contenders)
}

async function main() {
  const redis = await startRedis()
  console.log(
    `Node ${process.version}, ${os.cpus().length} x ${os.cpus()[0].model.trim()}, ${options.rounds} rounds`,
  )
  try {
    let passed = true
    for (const suite of options.suite) passed = (await measure(suite, redis)) && passed
    if (options.assert && !passed) process.exitCode = 1
  } finally {
    redis.stop()
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
