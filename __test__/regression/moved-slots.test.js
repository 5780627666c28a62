'use strict'

// Slots that another master takes over while theirs is away bring along what is journaled of them, and nothing of what that
// master holds is deleted for it.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openCache, ownNamespace } = require('../support/cache.js')
const { startCluster } = require('../support/cluster.js')
const { until } = require('../support/wait.js')

const NAMES = Array.from({ length: 60 }, (_, number) => `k${number}`)
/** Of the first master's. */
const SLOT = 5

const journaled = (cache) => cache.health().cache.l2.shards.map((shard) => shard.pending_invalidations)

for (const [what, remove] of [
  ['a pattern', (cache) => cache.deletePattern('k*')],
  ['a clear()', (cache) => cache.clear()],
]) {
  test(`${what} that waits for one master deletes nothing that another one acknowledged since`, async (t) => {
    const cluster = await startCluster(t, { timeout: 60_000 })
    const [lost, heir, third] = cluster.shards.map(({ master }) => master)
    const cache = openCache(t, { redis: cluster.redis, namespace: ownNamespace(), l1: false })
    await cache.ready({ timeout: 20_000 })
    await lost.kill()
    await until(() => cache.health().cache.l2.shards.some(({ state }) => state === 'down'))
    await remove(cache)
    // What the masters that are there had of it is gone, and values are taken again.
    await until(() => journaled(cache).filter((count) => count > 0).length === 1)
    const written = []
    for (const name of NAMES) {
      const sent = cache.set(name, 'new', { strict: true })
      await sent.then(
        () => written.push(name),
        () => {},
      )
    }
    assert.ok(written.length > NAMES.length / 2, `${written.length} were acknowledged`)
    const id = await heir.command('CLUSTER', 'MYID')
    for (const node of [heir, third]) await node.command('CLUSTER', 'SETSLOT', SLOT, 'NODE', id)
    await until(() => journaled(cache)[1] > 0, { timeout: 3_000 }).catch(() => {})
    await until(() => journaled(cache)[1] === 0)
    const found = await cache.getMany(written, { strict: true })
    const gone = found.filter((value) => value !== 'new')
    assert.equal(gone.length, 0, `${gone.length} of ${written.length} are gone`)
  })
}
