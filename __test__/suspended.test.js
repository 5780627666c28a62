'use strict'

// A process that does not run for a while, stopped or busy, does not take that for an outage of Redis.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { runScript } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')

const STOPPED_MS = 10_000
const BUSY_MS = 5_000

/** A cache under a light load, which tells at its end what it saw of Redis. */
const service = (url, body) => `
  const { Cache } = require('evenkeel')
  const cache = new Cache({ redis: ${JSON.stringify(url)}, namespace: 'suspended', l1: false })
  const modes = []
  let [failed, lost] = [0, 0]
  async function work(milliseconds) {
    for (const until = Date.now() + milliseconds; Date.now() < until; ) {
      const value = await cache.get('k', { strict: true }).catch(() => (failed += 1, 'v'))
      if (value !== 'v') lost += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  async function main() {
    await cache.ready()
    await cache.set('k', 'v', { ttl: 600_000 })
    await work(300)
    cache.on('mode', ({ to }) => modes.push(to))
    ${body}
    await work(1_000)
    const { l2Timeouts, l2Reconnects } = cache.stats()
    console.log(JSON.stringify({ modes, failed, lost, l2Timeouts, l2Reconnects, state: cache.state }))
    await cache.close()
  }
  main()
`
const UNMOVED = { modes: [], failed: 0, lost: 0, l2Timeouts: 0, l2Reconnects: 0, state: 'up' }

test('a process that was stopped for ten seconds goes on as if nothing had been', async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const body = `console.log('now'); await work(${STOPPED_MS} + 500)`
  const { code, stdout, stderr } = await runScript(service(server.url, body), {
    onStart: (child) =>
      child.stdout.once('data', async () => {
        await pause(100)
        child.kill('SIGSTOP')
        await pause(STOPPED_MS)
        child.kill('SIGCONT')
      }),
  })
  assert.deepEqual([code, stderr], [0, ''])
  assert.deepEqual(JSON.parse(stdout.split('\n')[1]), UNMOVED)
})

test('JavaScript that is busy for five seconds costs no deadline', async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const body = `
    const pending = Array.from({ length: 100 }, () => cache.get('k', { strict: true }))
    for (const until = Date.now() + ${BUSY_MS}; Date.now() < until; );
    const values = await Promise.all(pending)
    lost += values.filter((value) => value !== 'v').length
  `
  const { code, stdout, stderr } = await runScript(service(server.url, body))
  assert.deepEqual([code, stderr], [0, ''])
  assert.deepEqual(JSON.parse(stdout), UNMOVED)
})
