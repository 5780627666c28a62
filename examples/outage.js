'use strict'

// `node examples/outage.js`: 300 requests a second go through getOrSet while a real redis-server is
// killed with SIGKILL, started again, frozen with SIGSTOP and thawed. Prints what the requests saw and
// exits non-zero unless all of these hold: no rejection, no unhandled error or warning, nothing on
// stderr, no call slower than 2 x l2.timeout + the origin's time, no wrong or outdated value, Redis used
// again within 6 s of each return, the process ends by itself. It needs `redis-server` in the PATH and
// takes half a minute.

const { fork, spawn } = require('node:child_process')
const { once } = require('node:events')
const { mkdtempSync, rmSync } = require('node:fs')
const net = require('node:net')
const { tmpdir } = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')

const L2_TIMEOUT_MS = 500
const USED_AGAIN_MS = 6_000
const ENDS_MS = 3_000
const ALL_MS = 40_000

async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

/** A server that keeps its data over a kill: what was deleted meanwhile is still in it when it returns. */
function startRedis(port, directory) {
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--appendonly', 'yes']
  const server = spawn('redis-server', options, { stdio: 'ignore' })
  server.once('error', () => {
    console.error('redis-server is needed in the PATH: apt-get install redis-server, or brew install redis')
    process.exit(1)
  })
  return server
}

/** How many reads and writes of keys the server has seen since it was started; undefined if it does not answer. */
function keyCommands(port) {
  return new Promise((resolve) => {
    let answer = ''
    const socket = net.connect(port, '127.0.0.1', () => socket.write('INFO commandstats\r\n'))
    const end = (value) => {
      socket.destroy()
      resolve(value)
    }
    socket.setTimeout(500, () => end(undefined))
    socket.on('error', () => end(undefined))
    socket.on('data', (data) => {
      answer += data
      if (!answer.endsWith('\r\n\r\n')) return
      const calls = [...answer.matchAll(/^cmdstat_(?:get|mget|set):calls=(\d+)/gm)]
      end(calls.reduce((sum, [, count]) => sum + Number(count), 0))
    })
  })
}

async function until(condition, limit) {
  const start = performance.now()
  while (performance.now() - start < limit) {
    if (await condition()) return performance.now() - start
    await sleep(20)
  }
  return undefined
}

/** Ms from now until the service says that its link is up and the server sees new reads and writes of keys. */
async function usedAgain(service, port) {
  let before
  return until(async () => {
    const now = await keyCommands(port)
    before ??= now
    if (now === undefined || now === before) return false
    service.send({ type: 'state' })
    const [{ state }] = await once(service, 'message')
    return state === 'up'
  }, USED_AGAIN_MS)
}

const SCHEDULE = [
  { name: 'healthy', act: () => {}, lasts: 3_000 },
  { name: 'killed', act: (redis) => redis.kill('SIGKILL'), lasts: 6_000 },
  { name: 'restarted', act: (redis) => redis.start(), lasts: 3_000, returns: true },
  { name: 'frozen', act: (redis) => redis.kill('SIGSTOP'), lasts: 6_000 },
  { name: 'thawed', act: (redis) => redis.kill('SIGCONT'), lasts: 3_000, returns: true },
]

async function conduct(service, redis, port) {
  const returns = []
  if ((await usedAgain(service, port)) === undefined) throw new Error('Redis was never used')
  for (const { name, act, lasts, returns: back } of SCHEDULE) {
    service.send({ type: 'phase', name })
    act(redis)
    if (back) returns.push({ name, after: await usedAgain(service, port) })
    await sleep(lasts)
  }
  service.send({ type: 'stop' })
  const [{ report }] = await once(service, 'message')
  return { ...report, returns }
}

const quantile = (sorted, share) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
const milliseconds = (value) => value.toFixed(1).padStart(8)

function printTable(phases) {
  console.log('phase        calls  rejected  wrong  origin  p50 (ms)  p99 (ms)  max (ms)')
  for (const { name, calls, rejected, wrong, origin, times } of phases) {
    const sorted = times.toSorted((a, b) => a - b)
    const counts = [[calls, 6], [rejected.length, 9], [wrong.length, 6], [origin, 7]] // prettier-ignore
    const cells = counts.map(([count, width]) => String(count).padStart(width))
    const figures = [quantile(sorted, 0.5), quantile(sorted, 0.99), sorted.at(-1) ?? 0]
    console.log([name.padEnd(11), ...cells, ...figures.map((figure) => ` ${milliseconds(figure)}`)].join(' '))
  }
}

/** Prints each promise and whether it was kept. */
function judge({ phases, slowestOrigin, unhandled, returns }, stderr, ended) {
  const rejected = phases.flatMap((phase) => phase.rejected)
  const wrong = phases.flatMap((phase) => phase.wrong)
  const slowest = phases.reduce((most, { times }) => Math.max(most, ...times), 0)
  const bound = 2 * L2_TIMEOUT_MS + slowestOrigin
  const took = (after) =>
    after === undefined ? `not within ${USED_AGAIN_MS} ms` : `after ${after.toFixed(0)} ms`
  const checks = [
    ['no rejection', rejected.length === 0, rejected[0]],
    ['nothing unhandled', unhandled.length === 0, unhandled[0]],
    ['nothing on stderr', stderr === '', stderr],
    ['every value right', wrong.length === 0, wrong[0]],
    [`no call slower than ${bound.toFixed(0)} ms`, slowest <= bound, `slowest ${slowest.toFixed(0)} ms`],
    ...returns.map(({ name, after }) => [`${name}: Redis used again`, after !== undefined, took(after)]),
    ['the process ended by itself', ended, ''],
  ]
  for (const [promise, kept, detail] of checks) {
    console.log(`${kept ? 'kept  ' : 'BROKEN'}  ${promise}${detail ? ` (${detail.trim()})` : ''}`)
  }
  return checks.every(([, kept]) => kept)
}

async function main() {
  const port = await freePort()
  const directory = mkdtempSync(path.join(tmpdir(), 'evenkeel-outage-'))
  let server = startRedis(port, directory)
  const redis = {
    kill: (signal) => server.kill(signal),
    start: () => (server = startRedis(port, directory)),
  }
  const file = path.join(__dirname, 'outage-service.js')
  const stdio = ['ignore', 'inherit', 'pipe', 'ipc']
  const service = fork(file, [String(port), String(L2_TIMEOUT_MS)], { stdio })
  let stderr = ''
  service.stderr.on('data', (data) => (stderr += data))
  const exited = once(service, 'exit')
  process.once('exit', () => {
    service.kill('SIGKILL')
    server.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  })
  setTimeout(() => {
    console.error(`BROKEN  not done after ${ALL_MS} ms`)
    process.exit(1)
  }, ALL_MS).unref()

  const early = exited.then(([code]) => {
    throw new Error(`the service ended with code ${code}\n${stderr}`)
  })
  early.catch(() => {})
  await Promise.race([once(service, 'message'), early])
  const report = await Promise.race([conduct(service, redis, port), early])
  const ended = await Promise.race([exited.then(([code]) => code === 0), sleep(ENDS_MS, false)])
  printTable(report.phases)
  process.exit(judge(report, stderr, ended) ? 0 : 1)
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
main().catch((error) => {
  console.error(error.message)
  process.exit(1)
})
