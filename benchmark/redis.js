'use strict'

// Owns the redis-servers of a benchmark: a free port on loopback, nothing on disk, killed at the latest when this process
// ends.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const net = require('node:net')

const running = new Set()
process.once('exit', () => {
  for (const server of running) server.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))

/** @returns {Promise<number>} a TCP port that was free a moment ago */
async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = /** @type {net.AddressInfo} */ (probe.address())
  probe.close()
  await once(probe, 'close')
  return port
}

/** @returns {Promise<string>} what the server answers to one inline command, '' when there is no server yet */
function ask(port, command, ended) {
  return new Promise((resolve) => {
    let answer = ''
    const socket = net.connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`))
    const end = () => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(2_000, end)
    socket.on('error', end)
    socket.on('close', end)
    socket.on('data', (data) => {
      answer += data
      if (ended(answer)) end()
    })
  })
}

/** The sum of all figures that `pattern` finds in a section of INFO; 0 when there is no server. */
async function sumOf(port, section, pattern) {
  const answer = await ask(port, `INFO ${section}`, (text) => text.endsWith('\r\n\r\n'))
  return [...answer.matchAll(pattern)].reduce((sum, [, count]) => sum + Number(count), 0)
}

/** How many commands a server has carried out, but for those that ask for it. */
const commandsOf = (port) => sumOf(port, 'commandstats', /^cmdstat_(?!info)[^:]+:calls=(\d+)/gm)

/** The length of a string in Redis; 0 when there is none. */
async function lengthOf(port, key) {
  return Number((await ask(port, `STRLEN ${key}`, (text) => text.endsWith('\r\n'))).slice(1))
}

/** Waits until the process `server` answers on `port`. */
async function answering(server, port) {
  const failed = new Promise((_, reject) => {
    server.once('error', (error) => reject(new Error('redis-server cannot be started', { cause: error })))
    server.once('exit', (code) => reject(new Error(`redis-server ended with code ${code}`)))
  })
  failed.catch(() => {})
  const deadline = Date.now() + 5_000
  const pong = () => ask(port, 'PING', (text) => text.length > 0)
  while ((await Promise.race([pong(), failed])) !== '+PONG\r\n') {
    if (Date.now() > deadline) throw new Error('redis-server did not answer within 5 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Starts a redis-server, on a free port unless one is given, and waits until it answers. */
async function startRedis(wanted = undefined) {
  const port = wanted ?? (await freePort())
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const server = spawn('redis-server', options, { stdio: 'ignore' })
  running.add(server)
  server.once('exit', () => running.delete(server))
  await answering(server, port)
  return {
    port,
    /** @returns {Promise<string>} as the server says it */
    version: async () => {
      const answer = await ask(port, 'INFO server', (text) => text.endsWith('\r\n\r\n'))
      return /^redis_version:(.+)\r$/m.exec(answer)?.[1] ?? 'unknown'
    },
    /** How many reads of keys the server has seen. */
    reads: () => sumOf(port, 'commandstats', /^cmdstat_m?get:calls=(\d+)/gm),
    /** How many of them found their key. */
    hits: () => sumOf(port, 'stats', /^keyspace_hits:(\d+)/gm),
    /** The connections stay open, the port accepts, nothing is answered. */
    freeze: () => server.kill('SIGSTOP'),
    thaw: () => server.kill('SIGCONT'),
    stop: () => server.kill('SIGKILL'),
  }
}

module.exports = { commandsOf, freePort, lengthOf, startRedis }
