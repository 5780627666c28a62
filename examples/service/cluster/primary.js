'use strict'

// The first process of the cluster. It serves nothing itself: it keeps the workers running, plays the
// database that they share, and collects their figures for whichever of them is asked for `/metrics`.

const cluster = require('node:cluster')
const path = require('node:path')
const origin = require('../origin.js')
const { Slot } = require('./slot.js')

/** How long a scrape waits for a worker that hangs. */
const PAGE_MS = 1_000

function welcome(port, slots) {
  const base = `http://localhost:${port}`
  const isShared = Boolean(process.env.REDIS_URL)
  const tiers = isShared ? 'memory and Redis' : 'memory'
  console.log(`evenkeel example on ${base}, ${slots.length} processes, each with a cache in ${tiers}`)
  if (!isShared)
    console.log('Without REDIS_URL no process hears of what another one changed: old answers for up to 60 s')
  console.log(`The workers are the processes ${slots.map(({ pid }) => pid).join(', ')}. Try:`)
  console.log(`  curl -i ${base}/products/42   some times: x-worker says who answered`)
  console.log(`  curl ${base}/metrics          the figures of all, whoever answers`)
  console.log(`  kill -9 ${slots[0].pid}   another process takes its place`)
}

/**
 * Runs the service in `count` processes until SIGTERM or SIGINT.
 * @param {number} count
 */
function startCluster(count) {
  /** @type {Slot[]} */
  const slots = []
  let listening = 0
  let isStopping = false
  const answers = { ...origin, pages }

  /** The metrics of every worker by its number; null for one that does not answer. */
  function pages() {
    const page = (slot) => slot.ask('page', [], PAGE_MS).catch(() => null)
    return Promise.all(slots.map(async (slot) => [slot.number, await page(slot)]))
  }

  async function stop(signal) {
    if (isStopping) return
    isStopping = true
    console.log(`${signal}: shutting down`)
    const ends = await Promise.all(slots.map((slot) => slot.stop(signal)))
    if (ends.includes(false)) process.exitCode = 1
    console.log('closed')
  }

  /** The first worker starts alone: it tells whether the service can start, and warms Redis for the others. */
  function fork() {
    slots.push(new Slot(slots.length + 1, { answers, isWorthIt }))
  }

  /** What has never served will not by trying again. */
  function isWorthIt() {
    if (listening === 0) process.exitCode = 1
    return listening > 0
  }

  function onListening(worker, { port }) {
    if (isStopping) return
    listening += 1
    while (slots.length < count) fork()
    if (listening === count) welcome(port, slots)
    if (listening > count) {
      const { pid } = worker.process
      console.log(`worker ${slots.find((slot) => slot.pid === pid)?.number} is process ${pid} now`)
    }
  }

  cluster.setupPrimary({ exec: path.join(__dirname, 'worker.js'), args: [] })
  cluster.on('listening', onListening)
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, stop)
  fork()
}

module.exports = { startCluster }
