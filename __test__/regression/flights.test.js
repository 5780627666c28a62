'use strict'

// Loads whose callers leave, or whose factories fail, at the worst moment: everybody else is answered, nothing is left.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { cacheError, openCache, openOn } = require('../support/cache.js')
const { runScript } = require('../support/child.js')
const { startRedis } = require('../support/redis.js')
const { hold } = require('../support/wait.js')

const ABORTED = cacheError('ERR_CACHE_ABORTED')
/** So that a load that nobody would end fails a test, and does not hang it. */
const BOUND = { factoryTimeout: 3_000 }

describe('a caller who leaves between being chosen to run its factory and hearing of it', () => {
  let server
  before(async () => {
    server = await startRedis()
  })
  after(() => server.stop())

  /** Lets the calls of this tick out, and Redis answer them, before this thread can hear of it. */
  async function chosenUnheard() {
    await null
    await null
    hold(60)
  }

  test('passes the load on to the next caller', async (t) => {
    const cache = await openOn(t, server)
    const leaving = new AbortController()
    const left = cache.getOrSet('key', () => 1, { ...BOUND, signal: leaving.signal })
    const stays = cache.getOrSet('key', () => 2, BOUND)
    await chosenUnheard()
    leaving.abort()
    await assert.rejects(left, ABORTED)
    assert.equal(await stays, 2)
  })

  test('leaves nothing behind that settled() would wait for, or that the next caller would join', async (t) => {
    const cache = await openOn(t, server)
    const leaving = new AbortController()
    const left = cache.getOrSet('key', () => 1, { ...BOUND, signal: leaving.signal })
    await chosenUnheard()
    leaving.abort()
    await assert.rejects(left, ABORTED)
    await cache.settled({ timeout: 2_000 })
    assert.equal(await cache.getOrSet('key', () => 2, BOUND), 2)
  })
})

test('a factory that aborts its own caller rejects it at once', async (t) => {
  const cache = openCache(t, {})
  const own = new AbortController()
  const factory = () => {
    own.abort()
    return new Promise(() => {})
  }
  await assert.rejects(cache.getOrSet('key', factory, { ...BOUND, signal: own.signal }), ABORTED)
})

test('a factory that throws what has neither a text nor a clone rejects with it', async (t) => {
  const cache = openCache(t, {})
  const thrown = Object.assign(Object.create(null), { uncloneable() {} })
  const load = cache.getOrSet('key', () => Promise.reject(thrown), BOUND)
  await assert.rejects(load, (error) => error === thrown)
})

test('loads that skip storing leave nothing in memory', async () => {
  const script = `
    const { Cache } = require('evenkeel')
    const cache = new Cache({ l1: { maxBytes: 1 << 20 } })
    const load = (n) => cache.getOrSet('key-' + n + '-'.repeat(80), ({ skip }) => (skip(), 1))
    async function rssAfter(from, to) {
      for (let n = from; n < to; n += 500) await Promise.all(Array.from({ length: 500 }, (_, i) => load(n + i)))
      gc()
      return process.memoryUsage.rss()
    }
    async function main() {
      const before = await rssAfter(0, 20_000)
      console.log((await rssAfter(20_000, 120_000)) - before)
    }
    main()`
  const { code, stdout, stderr } = await runScript(script, {
    flags: ['--expose-gc', '--max-semi-space-size=2'],
  })
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  const growth = Number(stdout) / 2 ** 20
  assert.ok(growth < 20, `it grew by ${growth.toFixed(1)} MB in 100,000 loads`)
})
