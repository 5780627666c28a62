'use strict'

// One contender through all phases, against a redis-server of its own.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { startRedis } = require('../redis.js')
const { now } = require('./settings.js')
const { summarize } = require('./summary.js')

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const POLL_MS = 20

/** What begins a phase, in their order; each gives the server that there is from now on. */
const PHASES = {
  healthy: (server) => server,
  frozen: (server) => {
    server.freeze()
    return server
  },
  thawed: (server) => {
    server.thaw()
    return server
  },
  killed: (server) => {
    server.stop()
    return server
  },
  restarted: ({ port }) => startRedis(port),
}

/** The next message of a child; rejects if it ends without one. */
async function messageOf(child) {
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`its process ended with ${signal ?? `code ${code}`}`)
  })
  ended.catch(() => {})
  const [message] = await Promise.race([once(child, 'message'), ended])
  if (message.type === 'failed') throw new Error(message.message)
  return message
}

/**
 * When an empty server saw its first read of a key, and when a read first found one: only then does a contender live on
 * it again, for a probe may read as well but finds nothing.
 */
async function watchUse(server, until) {
  const used = { command: null, hit: null }
  while (now() < until && used.hit === null) {
    if (used.command === null && (await server.reads()) > 0) used.command = now()
    if ((await server.hits()) > 0) used.hit = now()
    await pause(POLL_MS)
  }
  return used
}

/** Puts the server through all phases while the load runs. */
async function drive(hold, seconds) {
  const marks = []
  let used
  for (const [name, begin] of Object.entries(PHASES)) {
    const at = now()
    const end = at + seconds[name] * 1_000
    marks.push({ name, at })
    const server = await begin(hold.server)
    hold.server = server
    if (name === 'restarted') used = await watchUse(server, end)
    await pause(Math.max(0, end - now()))
  }
  marks.push({ name: 'end', at: now() })
  return { marks, used }
}

/**
 * @param {string} name of a contender
 * @param {{ seconds: Record<string, number>, rate: number }} options the length of each phase, requests a second
 */
async function runContender(name, { seconds, rate }) {
  const hold = { server: await startRedis() }
  const words = [name, String(rate), String(hold.server.port)]
  const child = fork(path.join(__dirname, 'load.js'), words, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  try {
    await messageOf(child)
    const { marks, used } = await drive(hold, seconds)
    const answer = messageOf(child)
    child.send({ type: 'end' })
    return summarize((await answer).notes, marks, used)
  } finally {
    child.kill('SIGKILL')
    hold.server.stop()
  }
}

module.exports = { PHASES: Object.keys(PHASES), runContender }
