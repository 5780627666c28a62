'use strict'

// A million entries in memory, and what they cost a process: how long it stands still while all of its JavaScript heap is
// collected, as `gc()` does it, and by how much it grows for each of them beside the key and the text of the value. What V8
// collects step by step in a service stands still for less, and oftener.

const assert = require('node:assert/strict')
const { setTimeout: pause } = require('node:timers/promises')
const { median } = require('../figures.js')
const works = require('../works.js')
const { serve } = require('./child.js')

const [id, name] = process.argv.slice(2)
const COLLECTIONS = 5
/** Written again and again before anything is measured: what the filling itself makes V8 keep is no entry's. */
const WARM = { keys: 1_000, writes: 300_000 }
/** As long as V8 and moka may take to put aside what they are done with. */
const SETTLED_MS = 500

const idOf = (index) => `p${String(index).padStart(6, '0')}`
const keyOf = (index) => `product:${String(index).padStart(11, '0')}`

function collection() {
  const started = performance.now()
  globalThis.gc()
  return performance.now() - started
}
const collections = () => median(Array.from({ length: COLLECTIONS }, collection))

async function settled() {
  globalThis.gc()
  await pause(SETTLED_MS)
  globalThis.gc()
  return process.memoryUsage.rss()
}

serve(async () => {
  const work = works[id]
  const cache = await work.contenders[name]()
  const set = (index) => cache.set(keyOf(index), work.value(idOf(index)))
  for (let write = 0; write < WARM.writes; write++) await set(write % WARM.keys)
  const before = await settled()
  const empty = collections()
  for (let index = WARM.keys; index < work.keys; index++) await set(index)
  const grown = (await settled()) - before
  const text = keyOf(0).length + JSON.stringify(work.value(idOf(0))).length
  const bytes = grown / (work.keys - WARM.keys) - text
  return {
    round: () => ({ pause: collections(), empty, bytes }),
    async close() {
      for (let index = 0; index < work.keys; index++)
        assert.deepEqual(await cache.get(keyOf(index)), work.value(idOf(index)))
      await cache.close()
    },
  }
})
