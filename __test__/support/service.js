'use strict'

// The example service as processes of its own, asked over HTTP.

const assert = require('node:assert/strict')
const http = require('node:http')
const path = require('node:path')
const { root, runProgram } = require('./child.js')
const { parseExposition } = require('./exposition.js')
const { until } = require('./wait.js')

const service = path.join(root, 'examples', 'service', 'index.js')

/** One request, on a connection of its own unless `agent` keeps one; connections go to the workers in turn. */
function request(base, where, { method = 'GET', body, agent = false } = {}) {
  return new Promise((resolve, reject) => {
    const asked = http.request(base + where, { method, agent, timeout: 5_000 })
    asked.on('response', (res) => {
      const { 'x-worker': worker, 'x-cache': tier } = res.headers
      const answer = (chunks) => ({ status: res.statusCode, worker, tier, text: chunks.join('') })
      res.setEncoding('utf8').toArray().then(answer).then(resolve, reject)
    })
    asked.on('timeout', () => asked.destroy(new Error(`No answer to ${where}`)))
    asked.on('error', reject)
    asked.end(body)
  })
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Runs the service while `visit` is at work; then all of it has to end by one SIGTERM, and in order. */
async function serve({ words, env, children }, visit) {
  const running = { printed: '' }
  const ended = runProgram(process.execPath, [service, ...words], {
    env: { PORT: '0', ...env },
    onStart(child) {
      running.child = child
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk) => (running.printed += chunk))
    },
  })
  /** Of the first workers in their order, then of those that took the place of one. */
  const pids = () => {
    const lines = running.printed.match(/are the processes [\d, ]+|is process \d+ now/g) ?? []
    return lines.flatMap((line) => line.match(/\d+/g)).map(Number)
  }
  try {
    const [, base] = await until(() => /(http:\/\/localhost:\d+).*Try:/s.exec(running.printed))
    assert.equal(pids().length, children)
    await visit({
      pids,
      printed: () => running.printed,
      ask: (where, options) => request(base, where, options),
      scrape: async (options) => parseExposition((await request(base, '/metrics', options)).text),
    })
  } finally {
    running.child.kill('SIGTERM')
  }
  const { code, stderr } = await ended
  assert.equal(code, 0, stderr)
  assert.doesNotMatch(stderr, /^\s+at |Warning|Unhandled/m)
  assert.deepEqual(pids().filter(isAlive), [])
}

module.exports = { serve, service }
