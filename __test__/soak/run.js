'use strict'

// `npm run soak -- --minutes N`: processes that share keys, while one fault after the other happens to their Redis and the
// network before it. Fails on anything that a process finds wrong, prints or leaves behind; see service.js for what it
// looks for. `--seed S` repeats the order of the faults.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { performance } = require('node:perf_hooks')
const { setTimeout: pause } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const { startProxy } = require('../support/fault-proxy.js')
const { FAULTS, strike } = require('../support/nemesis.js')
const { between, generator, oneOf, ownSeed } = require('../support/random.js')
const { startRedis } = require('../support/redis.js')
const { until } = require('../support/wait.js')
const { judge } = require('./slopes.js')

const PROCESSES = 3
const KEYS_EACH = 100
/** Complaints that are printed; more of the same help nobody. */
const PRINTED = 50
const FAULT_MS = [100, 4_000]
const QUIET_MS = [1_000, 10_000]

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(ownSeed()) },
  },
})

/** One process of the soak, with what it said so far. */
class Service {
  samples = []
  complaints = []
  ledger = undefined
  isAudited = false

  constructor(index, port, namespace, seed) {
    this.index = index
    const settings = { index, count: PROCESSES, keysEach: KEYS_EACH, port, namespace, seed: seed + index }
    this.child = fork(path.join(__dirname, 'service.js'), [JSON.stringify(settings)], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on('data', (text) => this.#complain(`printed: ${text}`))
    this.child.on('message', (message) => this.#hear(message))
    this.ended = once(this.child, 'exit')
  }

  #complain(text) {
    this.complaints.push(text)
    if (this.complaints.length <= PRINTED) console.error(`${elapsed()} process ${this.index}: ${text}`)
  }

  #hear(message) {
    if (message.type === 'wrong') this.#complain(message.text)
    if (message.type === 'sample') this.samples.push(message)
    if (message.type === 'ledger') [this.ledger, this.stats] = [message.ledger, message.stats]
    if (message.type === 'audited') this.isAudited = true
  }
}

const started = performance.now()
const elapsed = () => `${((performance.now() - started) / 1_000).toFixed(1)} s`

async function faults(world, until) {
  const struck = {}
  while (performance.now() < until) {
    const name = oneOf(world.random, FAULTS)
    const ms = between(world.random, ...FAULT_MS)
    console.log(`${elapsed()} ${name} for ${ms} ms`)
    struck[name] = (struck[name] ?? 0) + 1
    await strike(world, name, ms)
    await pause(between(world.random, ...QUIET_MS))
  }
  return struck
}

/** What Redis holds at the end, in the words of a cache without an L1, against what the owners know. */
async function finalTruth(services) {
  for (const { child } of services) child.send({ type: 'finish' })
  await until(() => services.every(({ ledger }) => ledger), {
    timeout: 90_000,
    message: 'all processes settle',
  })
  const ledgers = services.flatMap(({ ledger }) => ledger)
  for (const { child } of services) child.send({ type: 'audit', ledgers })
  await until(() => services.every(({ isAudited }) => isAudited), {
    timeout: 90_000,
    message: 'all processes have looked at all keys',
  })
  return Promise.all(services.map(({ ended }) => ended))
}

function report({ index, samples, complaints, stats }) {
  const { complaints: grown, perMinute, last } = judge(samples)
  const { l2Commands, l2Reconnects, l2Timeouts } = stats
  const rss = `${(last.rss / 2 ** 20).toFixed(0)} MiB, ${(perMinute / 2 ** 20).toFixed(2)} more a minute`
  console.log(
    `process ${index}: ${l2Commands} commands, ${l2Reconnects} links, ${l2Timeouts} deadlines missed; RSS ${rss}, ${last.descriptors} descriptors, ${last.threads} threads`,
  )
  for (const text of grown) console.error(`process ${index}: ${text}`)
  return complaints.length + grown.length
}

async function main() {
  const seed = Number(options.seed)
  const server = await startRedis({ persist: true })
  const proxies = await Promise.all(Array.from({ length: PROCESSES }, () => startProxy(server)))
  const services = proxies.map(({ port }, index) => new Service(index, port, 'soak', seed))
  console.log(`seed ${seed}, ${options.minutes} minutes`)
  const world = { server, proxies, random: generator(seed) }
  const struck = await faults(world, started + Number(options.minutes) * 60_000)
  const ends = await finalTruth(services)
  console.log(struck)
  const found = services.reduce((sum, service) => sum + report(service), 0)
  const died = ends.filter(([code, signal]) => code !== 0 || signal !== null)
  if (died.length > 0) console.error(`processes ended with ${JSON.stringify(died)}`)
  await Promise.all(proxies.map((proxy) => proxy.close()))
  await server.stop()
  console.log(
    found + died.length === 0 ? 'Nothing was lost.' : `${found + died.length} complaints, seed ${seed}`,
  )
  process.exit(found + died.length === 0 ? 0 : 1)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
