'use strict'

// Owns one redis-server for the length of a benchmark: a free port on loopback, nothing on disk.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const net = require('node:net')

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
    socket.on('data', (data) => {
      answer += data
      if (ended(answer)) end()
    })
  })
}

/** @returns {Promise<number>} how many reads of keys the server has seen */
async function reads(port) {
  const answer = await ask(port, 'INFO commandstats', (text) => text.endsWith('\r\n\r\n'))
  const calls = [...answer.matchAll(/^cmdstat_m?get:calls=(\d+)/gm)].map(([, count]) => Number(count))
  return calls.reduce((sum, count) => sum + count, 0)
}

/** Starts a redis-server and waits until it answers. */
async function startRedis() {
  const port = await freePort()
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const server = spawn('redis-server', options, { stdio: 'ignore' })
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
  return { port, reads: () => reads(port), stop: () => server.kill('SIGKILL') }
}

module.exports = { startRedis }
