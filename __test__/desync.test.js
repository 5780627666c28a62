'use strict'

// The oracle for answers that go to the wrong question: many readers of values that name their keys, while deadlines are
// missed, links die and replies are lost and doubled on the way. `ORACLE_SECONDS` makes it longer, `SEED` repeats its faults.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { openCache, ownNamespace } = require('./support/cache.js')
const { startProxy } = require('./support/fault-proxy.js')
const { between, generator, oneOf, ownSeed } = require('./support/random.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const SECONDS = Number(process.env.ORACLE_SECONDS ?? 15)
const READERS = 64
const KEYS = 200
const DEADLINE_MS = 100

const keys = Array.from({ length: KEYS }, (_, index) => `key-${index}`)
/** Names its key, and is of a length of its own. */
const valueOf = (key) => ({ key, text: 'x'.repeat(key.length * Number(key.slice(4))) })

/** Lets one of `chances` replies come to nothing, and one come twice. */
function misdeliver(random, chances) {
  return (reply) => {
    const drawn = between(random, 0, chances)
    if (drawn === 0) return Buffer.alloc(0)
    return drawn === 1 ? Buffer.concat([reply, reply]) : reply
  }
}

const FAULTS = {
  async freeze({ server, random }) {
    server.freeze()
    await pause(between(random, 0, 3 * DEADLINE_MS))
    server.thaw()
  },
  kill: ({ server }) => server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'),
  async misdeliver({ proxy, random }) {
    proxy.onReply = misdeliver(random, 50)
    await pause(between(random, 50, 500))
    proxy.onReply = undefined
  },
}

test(`${READERS} readers never get another key's value, whatever becomes of replies`, async (t) => {
  const seed = ownSeed()
  t.diagnostic(`seed ${seed}`)
  const random = generator(seed)
  const server = await startRedis()
  t.after(() => server.stop())
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = openCache(t, {
    redis: { host: '127.0.0.1', port: proxy.port },
    namespace: ownNamespace(),
    l1: false,
    l2: { timeout: DEADLINE_MS },
  })
  await cache.ready()
  const fill = () => cache.setMany(keys.map((key) => [key, valueOf(key)]))
  await fill()

  const seen = { right: 0, missed: 0, wrong: [], rejected: [] }
  const note = (key, value) => {
    if (value === undefined) seen.missed += 1
    else if (value.key === key && value.text.length === valueOf(key).text.length) seen.right += 1
    else seen.wrong.push(`${key}: ${value.key}`)
  }
  const reads = [
    async (key) => note(key, await cache.get(key)),
    async (key) => note(key, await cache.getOrSet(key, () => valueOf(key))),
    async (key) => {
      const some = [key, oneOf(random, keys), oneOf(random, keys)]
      for (const [at, value] of (await cache.getMany(some)).entries()) note(some[at], value)
    },
    async (key) => void (await cache.set(key, valueOf(key))),
  ]
  const over = new AbortController()
  const reader = async () => {
    while (!over.signal.aborted) {
      await oneOf(random, reads)(oneOf(random, keys)).catch((error) => seen.rejected.push(error.message))
      await pause(between(random, 0, 10))
    }
  }
  const readers = Array.from({ length: READERS }, reader)
  for (const end = Date.now() + SECONDS * 1_000; Date.now() < end;) {
    await FAULTS[oneOf(random, Object.keys(FAULTS))]({ server, proxy, random })
    await pause(between(random, 0, 500))
  }
  over.abort()
  await Promise.all(readers)
  t.diagnostic(`${seen.right} right, ${seen.missed} missed, ${cache.stats().l2Reconnects} links`)
  assert.deepEqual([seen.wrong, seen.rejected], [[], []])
  assert.ok(seen.right > SECONDS * 100, `${seen.right} right`)
  await until(() => cache.state === 'up', { timeout: 20_000 })
  await fill()
  assert.deepEqual(await cache.getMany(keys), keys.map(valueOf))
})
