'use strict'

// Memory: a limit that holds, and no growth over a million operations.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { openCache } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

test('maxBytes holds, overhead included, and evictions are counted', async (t) => {
  const maxBytes = 4 * 1024 * 1024
  const cache = openCache(t, { l1: { maxBytes } })
  for (let n = 0; n < 40_000; n++) await cache.set(`key-${n}`, 'x'.repeat(100))
  await until(() => cache.health().cache.l1.bytes <= maxBytes)
  const { size, evictions } = cache.health().cache.l1
  assert.ok(size > 1_000 && size < maxBytes / 300, `${size} entries`)
  assert.ok(evictions > 0)
})

test('maxEntries holds', async (t) => {
  const cache = openCache(t, { l1: { maxEntries: 100 } })
  for (let n = 0; n < 5_000; n++) await cache.set(`key-${n}`, n)
  await until(() => cache.health().cache.l1.size <= 100)
})

test('resident memory after a million mixed operations is within 20 MB of what it was after the first hundred thousand', async () => {
  const script = `
    const { Cache } = require('evenkeel')
    const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'million', l1: { maxBytes: 8 * 1024 * 1024 } })
    const value = { id: 1, name: 'x'.repeat(80), tags: ['a', 'b'] }
    const kinds = [
      (key) => cache.get(key), (key) => cache.get(key), (key) => cache.get(key), (key) => cache.set(key, value),
      (key) => cache.getMany([key, key + 'x']), (key) => cache.getOrSet(key, async () => value), (key) => cache.delete(key),
      (key) => cache.has(key), (key) => cache.increment('n-' + key), (key) => cache.peek(key),
    ]
    async function operations(count) {
      for (let done = 0; done < count; done += 200) {
        const calls = []
        for (let n = 0; n < 200; n++) calls.push(kinds[(done + n) % kinds.length]('key-' + ((done * 7 + n * 13) % 5_000)))
        await Promise.all(calls)
      }
    }
    async function resident() {
      await cache.settled()
      let least = Infinity
      for (let n = 0; n < 10; n++) {
        globalThis.gc()
        await new Promise((resolve) => setTimeout(resolve, 20))
        least = Math.min(least, process.memoryUsage().rss)
      }
      return least
    }
    async function main() {
      await cache.ready()
      await operations(100_000)
      const early = await resident()
      await operations(900_000)
      console.log((await resident()) - early)
    }
    main()`
  // V8's young generation grows to its own limit under any load, which is 24 MB of resident memory and nobody's leak.
  const flags = ['--expose-gc', '--max-semi-space-size=2']
  const { code, stdout, stderr } = await runScript(script, { flags, timeout: 300_000 })
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const growth = Number(stdout) / 2 ** 20
  assert.ok(growth < 20, `it grew by ${growth.toFixed(1)} MB`)
})
