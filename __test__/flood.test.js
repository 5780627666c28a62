'use strict'

// A hundred thousand reads a second, offered while Redis is a blackhole. `FLOOD_SECONDS` makes it longer.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { runScript } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')

const SECONDS = Number(process.env.FLOOD_SECONDS ?? 8)
const PER_S = 100_000
const DEADLINE_MS = 500
const SLACK_MS = 50
const RSS_MB = 50

/** Offers reads for some seconds before and after its server vanishes; prints what came of those after. */
const script = (url) => `
  const { Cache } = require('evenkeel')
  const cache = new Cache({ redis: ${JSON.stringify(url)}, namespace: 'flood', l2: { timeout: ${DEADLINE_MS} } })
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  const seen = { offered: 0, settled: 0, rejected: 0, slowest: 0, grown: 0 }
  function read() {
    const from = performance.now()
    const settle = () => {
      seen.settled += 1
      seen.slowest = Math.max(seen.slowest, performance.now() - from)
    }
    cache.get('key-' + (seen.offered++ % 50_000)).then(settle, () => (seen.rejected += 1))
  }
  /** An open loop: what is due is offered whatever becomes of it, in small parts, so that the event loop goes round. */
  async function flood(seconds) {
    const from = performance.now()
    let offered = 0
    while (performance.now() - from < seconds * 1_000) {
      const due = Math.floor(((performance.now() - from) * ${PER_S}) / 1_000)
      for (const end = Math.min(due, offered + 500); offered < end; offered++) read()
      await new Promise(setImmediate)
    }
  }
  async function main() {
    await cache.ready()
    await flood(3)
    globalThis.gc()
    await pause(200)
    globalThis.gc()
    Object.assign(seen, { offered: 0, settled: 0, slowest: 0 })
    const before = process.memoryUsage.rss()
    setInterval(() => (seen.grown = Math.max(seen.grown, process.memoryUsage.rss() - before)), 50).unref()
    console.log('vanish')
    await new Promise((resolve) => process.stdin.once('data', resolve))
    await flood(${SECONDS})
    for (const end = performance.now() + 5_000; seen.settled + seen.rejected < seen.offered && performance.now() < end; ) await pause(10)
    console.log(JSON.stringify(seen))
    process.exit()
  }
  main()`

test(`${PER_S} reads a second into a blackhole settle within their deadline and cost less than ${RSS_MB} MB`, async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const { code, stdout, stderr } = await runScript(script(server.url), {
    flags: ['--expose-gc'],
    timeout: (SECONDS + 60) * 1_000,
    async onStart(child) {
      await once(child.stdout, 'data')
      server.freeze()
      child.stdin.write('vanished')
    },
  })
  assert.deepEqual([code, stderr], [0, ''])
  const seen = JSON.parse(stdout.split('\n')[1])
  t.diagnostic(JSON.stringify(seen))
  assert.ok(seen.offered > 0.8 * PER_S * SECONDS, `${seen.offered} offered`)
  assert.deepEqual([seen.settled, seen.rejected], [seen.offered, 0])
  assert.ok(seen.slowest <= DEADLINE_MS + SLACK_MS, `${seen.slowest} ms`)
  assert.ok(seen.grown < RSS_MB * 1e6, `${seen.grown} bytes`)
})
