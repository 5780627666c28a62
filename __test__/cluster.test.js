'use strict'

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { setImmediate: turn } = require('node:timers/promises')
const { openCache, ownNamespace } = require('./support/cache.js')
const { startCluster } = require('./support/cluster.js')
const { until } = require('./support/wait.js')

const names = (count) => Array.from({ length: count }, (_, number) => `k${number}`)

async function open(t, cluster, options = {}) {
  const namespace = options.namespace ?? ownNamespace()
  const { redis, ...more } = options
  const cache = openCache(t, { redis: { ...cluster.redis, ...redis }, namespace, ...more })
  await cache.ready({ timeout: 20_000 })
  return Object.assign(cache, { prefix: `${namespace}:` })
}

/** The keys of all masters, but for those of our own. */
async function keysIn(cluster, prefix) {
  const lists = cluster.shards.map(({ master }) => master.command('KEYS', `${prefix}[^~]*`))
  return (await Promise.all(lists)).flat().sort()
}

describe('a cluster of three masters', () => {
  test('is used as one Redis is: every key at its master, several keys with one command for each slot', async (t) => {
    const cluster = await startCluster(t)
    const cache = await open(t, cluster)
    const keys = names(60)
    await cache.setMany(
      keys.map((key) => [key, key.toUpperCase()]),
      { strict: true },
    )
    const prefixed = keys.map((key) => cache.prefix + key).sort()
    assert.deepEqual(await keysIn(cluster, cache.prefix), prefixed)
    const other = await open(t, cluster, { namespace: cache.prefix.slice(0, -1) })
    assert.deepEqual(
      await other.getMany(keys, { strict: true }),
      keys.map((key) => key.toUpperCase()),
    )
    assert.equal(await other.deleteMany(keys.slice(0, 20), { strict: true }), 20)
    assert.equal(await cache.increment('{k}n'), 1)
    assert.equal((await cache.ttl('k30', { strict: true })) > 0, true)
    assert.equal(await cache.touch('k30', 5_000, { strict: true }), true)
    const seen = []
    for await (const key of cache.keys('k*')) seen.push(key)
    assert.deepEqual(seen.sort(), keys.slice(20).sort())
    assert.equal(await cache.deletePattern('k3*', { strict: true }), 10)
    assert.equal((await keysIn(cluster, cache.prefix)).length, 31)
    await cache.clear({ strict: true })
    assert.deepEqual(await keysIn(cluster, cache.prefix), [])
    assert.equal(cache.health().cache.l2.shards.length, 3)
    assert.equal(cache.health().status, 'healthy')
  })

  test('is found by one address, whichever node that is', async (t) => {
    const cluster = await startCluster(t, { replicas: true })
    for (const { port } of cluster.nodes) {
      const cache = await open(t, { redis: { host: '127.0.0.1', port } })
      await cache.setMany(
        names(30).map((key) => [key, 1]),
        { strict: true },
      )
      assert.equal((await keysIn(cluster, cache.prefix)).length, 30)
      await cache.close()
    }
  })

  test('answers raw commands wherever their keys are', async (t) => {
    const cluster = await startCluster(t)
    const cache = await open(t, cluster)
    for (const key of names(20)) {
      await cache.command('HSET', [key, 'field', key])
      assert.equal(await cache.command('HGET', [key, 'field']), key)
      assert.equal(
        await cache.command('EVAL', ['return redis.call("HGET", KEYS[1], "field")', '1', key]),
        key,
      )
    }
    assert.equal((await cache.ping()) >= 0, true)
  })

  for (const invalidation of ['tracking', 'pubsub']) {
    test(`tells every L1 of every change, with ${invalidation}`, async (t) => {
      const cluster = await startCluster(t)
      const namespace = ownNamespace()
      const [writer, reader] = [
        await open(t, cluster, { namespace, invalidation }),
        await open(t, cluster, { namespace, invalidation }),
      ]
      const hears = (cache) => until(() => cache.health().cache.l2.invalidation.mode === invalidation)
      await Promise.all([writer, reader].map(hears))
      const keys = names(40)
      await writer.setMany(keys.map((key) => [key, 1]))
      assert.deepEqual(
        await reader.getMany(keys),
        keys.map(() => 1),
      )
      // What was told of the writes may come a moment after they were read.
      await until(async () => {
        await reader.getMany(keys)
        return keys.every((key) => reader.peek(key) === 1)
      })
      await writer.setMany(keys.map((key) => [key, 2]))
      await until(() => keys.every((key) => reader.peek(key) === undefined))
      assert.deepEqual(
        await reader.getMany(keys),
        keys.map(() => 2),
      )
      await writer.deletePattern('k*')
      await until(() => keys.every((key) => reader.peek(key) === undefined))
    })
  }

  test('has slots moved under load: no failure, no wrong value', async (t) => {
    const cluster = await startCluster(t)
    const cache = await open(t, cluster, { l1: false, invalidation: 'off' })
    const tags = ['a', 'b', 'c', 'd']
    const slots = await Promise.all(tags.map((tag) => cluster.slotOf(tag)))
    const registers = tags.flatMap((tag) => names(10).map((name) => `{${tag}}${name}`))
    const written = new Map(registers.map((key) => [key, 0]))
    await cache.setMany([...written], { strict: true })
    const end = new AbortController()
    const problems = []
    const work = registers.map(async (key) => {
      while (!end.signal.aborted) {
        try {
          const next = written.get(key) + 1
          // The second is sent while the first is on its way, wherever that leads.
          const first = cache.set(key, -next, { strict: true })
          for (let turns = next % 4; turns > 0; turns--) await turn()
          await Promise.all([first, cache.set(key, next, { strict: true })])
          written.set(key, next)
          const read = await cache.get(key, { strict: true })
          if (read !== next) problems.push(`${key} is ${read} instead of ${next}`)
          if (next % 20 === 0) {
            const several = registers.slice(0, 10)
            const values = await cache.getMany(several, { strict: true })
            if (values.some((value) => value === undefined)) problems.push('getMany misses')
          }
        } catch (error) {
          problems.push(`${key}: ${error.message}`)
        }
      }
    })
    for (let round = 0; round < 6; round++) {
      for (const slot of slots) {
        const owner = cluster.shards.find(({ slots: [from, to] }) => slot >= from && slot <= to)
        const home = cluster.shards.indexOf(owner)
        const [from, to] = round % 2 === 0 ? [home, (home + 1) % 3] : [(home + 1) % 3, home]
        await cluster.move(slot, cluster.shards[from], cluster.shards[to], { pause: 5 })
      }
    }
    end.abort()
    await Promise.all(work)
    const total = [...written.values()].reduce((sum, value) => sum + value, 0)
    t.diagnostic(`${total} rounds of writes and reads, ${problems.length} problems`)
    assert.deepEqual(problems.slice(0, 5), [])
    assert.ok(total > 1_000)
    assert.equal(cache.health().cache.pending_invalidations, 0)
  })
})
