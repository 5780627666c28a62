'use strict'

// What a process wrote while Redis was away is still there, even if L1 was full of what is read more often, and gives way
// to Redis' truth when it is back.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const MAX_BYTES = 16 * 1024 * 1024
/** About what an entry of these tests costs in L1. */
const ENTRY_BYTES = 300
/** More than fit into L1. */
const WARM = Math.ceil((1.2 * MAX_BYTES) / ENTRY_BYTES)
/** What the side table, 1/16 of L1, holds for certain. */
const NEW = 1_000
/** Keys in one call. */
const CHUNK = 1_000

function names(prefix, count) {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index}`)
}

function chunks(keys) {
  const count = Math.ceil(keys.length / CHUNK)
  return Array.from({ length: count }, (_, index) => keys.slice(index * CHUNK, (index + 1) * CHUNK))
}

/** How many of `keys` hold their own name. */
async function held(cache, keys) {
  let count = 0
  for (const chunk of chunks(keys)) {
    const values = await cache.getMany(chunk)
    count += values.filter((value, index) => value === chunk[index]).length
  }
  return count
}

/** Sets each of `keys` to its own name. */
async function fill(cache, keys) {
  for (const chunk of chunks(keys)) await cache.setMany(chunk.map((key) => [key, key]))
}

/** A cache whose L1 is full of what was read several times, after Redis was killed. */
async function warmAndAlone(t) {
  const server = await startRedis()
  t.after(() => server.stop())
  const cache = await openOn(t, server, { l1: { maxBytes: MAX_BYTES } })
  const old = names('old', WARM)
  await fill(cache, old)
  for (let round = 0; round < 3; round++) assert.equal(await held(cache, old), WARM)
  assert.ok(cache.health().cache.l1.bytes > 0.95 * MAX_BYTES, 'L1 is full')
  await server.kill()
  await until(() => cache.state !== 'up')
  return { server, cache, old }
}

async function back(server, cache) {
  await server.restart()
  await until(() => cache.state === 'up')
}

describe('while Redis is away and L1 is full of what is read more often', () => {
  test('a thousand new keys are all read back, in any way of writing them', async (t) => {
    const { cache } = await warmAndAlone(t)
    const [set, many, made] = [names('set', 300), names('many', 300), names('made', 400)]
    await Promise.all(set.map((key) => cache.set(key, key)))
    await fill(cache, many)
    for (const key of made) await cache.getOrSet(key, () => key)
    const all = [...set, ...many, ...made]
    assert.equal(await held(cache, all), NEW)
    assert.equal(await cache.get(set[0]), set[0])
    const answers = await Promise.all(made.map((key) => cache.getOrSet(key, () => 'made again')))
    assert.deepEqual(answers, made)
  })

  test('what was deleted, overwritten or cleared meanwhile is', async (t) => {
    const { cache } = await warmAndAlone(t)
    const keys = names('new', NEW)
    await fill(cache, keys)
    assert.equal(await cache.delete(keys[0]), true)
    assert.equal(await cache.delete(keys[0]), false)
    assert.equal(await cache.get(keys[0]), undefined)
    await cache.set(keys[1], 'another')
    assert.equal(await cache.get(keys[1]), 'another')
    assert.equal(await cache.touch(keys[2], 60_000), true)
    assert.equal(await cache.get(keys[2]), keys[2])
    assert.equal(await cache.deletePattern('new-99*'), 11)
    assert.equal(await held(cache, keys), NEW - 1 - 1 - 11)
    await cache.clear()
    assert.equal(await held(cache, keys), 0)
  })

  test('a new key lives as long as it would in L1', async (t) => {
    const { cache } = await warmAndAlone(t)
    const keys = names('short', NEW)
    await Promise.all(keys.map((key) => cache.set(key, key, { ttl: 1_000 })))
    await until(async () => (await held(cache, keys)) === 0, { timeout: 5_000 })
  })

  test('a hundred thousand new keys are held in bounds, the newest for certain', async (t) => {
    const { cache } = await warmAndAlone(t)
    const keys = names('flood', 100_000)
    await fill(cache, keys)
    assert.equal(await held(cache, keys.slice(-NEW)), NEW)
    assert.ok(cache.health().cache.l1.bytes <= MAX_BYTES)
  })
})

test("when Redis is back, its truth is served and not the outage's", async (t) => {
  const { server, cache } = await warmAndAlone(t)
  const keys = names('new', NEW)
  await fill(cache, keys)
  assert.equal(await held(cache, keys), NEW)
  await back(server, cache)
  assert.equal(await held(cache, keys), 0, 'what was set meanwhile is deleted in Redis')
  await server.command('SET', `${cache.prefix}${keys[0]}`, '"of another process"')
  assert.equal(await cache.get(keys[0]), 'of another process')
  await fill(cache, keys)
  assert.equal(await held(cache, keys), NEW)
})
