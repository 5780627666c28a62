'use strict'

// What is removed by pattern while a cluster is being found is removed at all of its masters.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { setImmediate: turn } = require('node:timers/promises')
const { openCache, ownNamespace } = require('../support/cache.js')
const { startCluster } = require('../support/cluster.js')

const ROUNDS = 40
const entries = Array.from({ length: 60 }, (_, number) => [`k${number}`, 'old'])

for (const [what, remove] of [
  ['deletePattern()', (cache) => cache.deletePattern('k*', { strict: true })],
  ['clear()', (cache) => cache.clear({ strict: true })],
]) {
  test(`${what} right after a cache was made removes the keys of every master, or rejects`, async (t) => {
    const cluster = await startCluster(t)
    const namespace = ownNamespace()
    const writer = openCache(t, { redis: cluster.redis, namespace, l1: false, l2: { timeout: 10_000 } })
    await writer.ready({ timeout: 20_000 })
    const left = []
    let carriedOut = 0
    for (let round = 0; round < ROUNDS; round++) {
      await writer.setMany(entries, { strict: true })
      const cache = openCache(t, { redis: cluster.redis, namespace })
      for (let turns = round % 4; turns > 0; turns--) await turn()
      const refused = await remove(cache).then(
        () => false,
        ({ code }) => ['ERR_CACHE_L2_UNAVAILABLE', 'ERR_CACHE_TIMEOUT'].includes(code),
      )
      const found = await writer.getMany(entries.map(([key]) => key))
      const count = found.filter((value) => value !== undefined).length
      if (!refused && count > 0) left.push(count)
      if (!refused) carriedOut++
      await cache.close()
    }
    assert.deepEqual(left, [])
    assert.ok(carriedOut > 0, 'it was always refused')
  })
}
