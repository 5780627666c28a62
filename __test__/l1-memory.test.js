'use strict'

// What a full L1 takes of the memory of the process: `l1.maxBytes`, and a quarter of it at most for what nobody counts.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { runScript } = require('./support/child.js')

const MIB = 2 ** 20
const MOST = 1.25

/** Fills a cache with three times what it may keep, in a process of its own; prints by how much that grew, and what is kept. */
const script = ({ size, maxBytes, kind }) => `
  const { randomFillSync } = require('node:crypto')
  const { performance } = require('node:perf_hooks')
  const { Cache } = require('evenkeel')
  const { until } = require('./__test__/support/wait.js')

  // Filled anew for each value: what this script drops is not to be counted as what the cache keeps. Nor is a string that Node
  // allocates itself, as it does with those of a MiB: hence two halves.
  const random = Buffer.alloc(${size})
  const half = () => randomFillSync(random).toString('hex', 0, ${size / 4})
  const make = () => (${kind === 'string'} ? half() + half() : randomFillSync(random))

  async function fill(cache, bytes) {
    const count = Math.ceil(bytes / (${size} + 280))
    for (let n = 0; n < count; n++) {
      await cache.set('key-' + n, make())
      if (n % 16 === 0) await cache.get('key-' + n)
      if (n % 64 === 0) await new Promise(setImmediate)
    }
  }

  /** The least that is seen within a second. */
  async function resident() {
    let least = Infinity
    const end = performance.now() + 1_000
    await until(() => {
      globalThis.gc()
      least = Math.min(least, process.memoryUsage.rss())
      return performance.now() > end
    })
    return least
  }

  async function main() {
    await fill(new Cache({ l1: { maxBytes: ${maxBytes / 32} } }), ${maxBytes / 8})
    const before = await resident()
    const cache = new Cache({ l1: { maxBytes: ${maxBytes} } })
    await fill(cache, ${maxBytes * 3})
    await until(() => cache.health().cache.l1.bytes <= ${maxBytes})
    const growth = (await resident()) - before
    console.log(JSON.stringify({ growth, kept: cache.health().cache.l1.bytes }))
  }
  main()`

async function measured(t, what) {
  // V8's young generation grows to its own limit under any load, which is 24 MB of resident memory and nobody's leak.
  const flags = ['--expose-gc', '--max-semi-space-size=2']
  const { code, stdout, stderr } = await runScript(script(what), { flags, timeout: 120_000 })
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const { growth, kept } = JSON.parse(stdout)
  const shares = { growth: growth / what.maxBytes, kept: kept / what.maxBytes }
  t.diagnostic(`${shares.growth.toFixed(3)} of the limit, of which ${shares.kept.toFixed(3)} is counted`)
  return shares
}

for (const kind of ['string', 'Buffer']) {
  for (const [name, size] of Object.entries({ '100 bytes': 100, '10 KiB': 10 * 1024 })) {
    test(`a full L1 of ${kind}s of ${name} takes at most ${MOST} times its limit`, async (t) => {
      const { growth, kept } = await measured(t, { size, maxBytes: 64 * MIB, kind })
      assert.ok(kept > 0.9, `it is not full: ${kept.toFixed(3)}`)
      assert.ok(growth <= MOST, `it takes ${growth.toFixed(3)} times its limit`)
    })
  }
}

for (const kind of ['string', 'Buffer']) {
  // A value above a 64th of the limit is not kept, hence the larger limit.
  test(`a full L1 of ${kind}s of 1 MiB takes at most ${MOST} times its limit`, async (t) => {
    const { growth, kept } = await measured(t, { size: MIB, maxBytes: 128 * MIB, kind })
    assert.ok(kept > 0.9, `it is not full: ${kept.toFixed(3)}`)
    assert.ok(growth <= MOST, `it takes ${growth.toFixed(3)} times its limit`)
  })
}
