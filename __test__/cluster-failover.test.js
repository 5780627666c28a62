'use strict'

// Three masters and three replicas: what the loss of one master costs the keys of all.

const assert = require('node:assert/strict')
const { performance } = require('node:perf_hooks')
const { describe, test } = require('node:test')
const { openCache, ownNamespace } = require('./support/cache.js')
const { startCluster } = require('./support/cluster.js')
const { steadily, timed, until } = require('./support/wait.js')

const TIMEOUT = 500
const keys = Array.from({ length: 300 }, (_, number) => `k${number}`)

function quantile(list, share) {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

/** Reads of keys at random, for `ms`: how long those of the lost shard took, and those of the others. */
async function load(cache, isLost, ms) {
  const times = { lost: [], others: [] }
  const work = steadily(500, async () => {
    const key = keys[Math.floor(Math.random() * keys.length)]
    const { ms } = await timed(() => cache.getOrSet(key, async () => 'made'))
    times[isLost(key) ? 'lost' : 'others'].push(ms)
  })
  await new Promise((resolve) => setTimeout(resolve, ms))
  const calls = await work.stop()
  return { ...times, failed: calls.filter(({ error }) => error !== undefined).length }
}

async function isPromoted(replica) {
  return (await replica.info('role')) === 'master'
}

describe('a master of a cluster that is lost', () => {
  for (const [how, stop] of [
    ['killed', (master) => master.kill()],
    ['frozen', (master) => master.freeze()],
  ]) {
    test(`is ${how}: the other shards do not notice, and its own keys are back with its replica`, async (t) => {
      const cluster = await startCluster(t, { replicas: true })
      const namespace = ownNamespace()
      const l2 = { timeout: TIMEOUT, softTimeout: false }
      // Each read goes to Redis.
      const cache = openCache(t, { redis: cluster.redis, namespace, l1: false, l2 })
      await cache.ready({ timeout: 20_000 })
      await cache.setMany(
        keys.map((key) => [key, 'made']),
        { strict: true },
      )
      const [{ master, replica, slots }] = cluster.shards
      const slotOf = new Map()
      for (const key of keys)
        slotOf.set(key, await cluster.shards[1].master.command('CLUSTER', 'KEYSLOT', `${namespace}:${key}`))
      const isLost = (key) => slotOf.get(key) >= slots[0] && slotOf.get(key) <= slots[1]
      const own = keys.find(isLost)
      const before = await load(cache, isLost, 2_000)
      const running = load(cache, isLost, 6_000)
      await stop(master)
      await until(() => isPromoted(replica), { timeout: 20_000 })
      const promoted = performance.now()
      await until(() => cache.set(own, 'made', { strict: true }).then(() => true))
      const back = performance.now() - promoted
      const during = await running
      const p99 = [quantile(before.others, 0.99), quantile(during.others, 0.99)]
      t.diagnostic(
        `others: p99 ${p99[0].toFixed(1)} ms before, ${p99[1].toFixed(1)} ms while a master was ${how}`,
      )
      t.diagnostic(
        `its own: p50 ${quantile(during.lost, 0.5).toFixed(1)}, most ${Math.max(...during.lost).toFixed(1)} ms; in use ${back.toFixed(0)} ms after the promotion`,
      )
      assert.equal(during.failed, 0)
      assert.ok(p99[1] <= Math.max(2 * p99[0], 10), `p99 of the others went from ${p99[0]} to ${p99[1]} ms`)
      assert.ok(Math.max(...during.lost) <= TIMEOUT + 200, `${Math.max(...during.lost)} ms`)
      assert.ok(back <= 3_000, `${back} ms`)
      if (how === 'frozen') master.thaw()
      await until(() => cache.health().status === 'healthy', { timeout: 20_000 })
    })
  }
})
