'use strict'

// A process of cold.js: requires one cache, makes one in memory, prints how many ms both took, and that it works.

const { starts } = require('../starts.js')

const started = performance.now()
starts[process.argv[2]]().then(async (cache) => {
  const ms = performance.now() - started
  // Only now, since what these load would be there already for the cache.
  const assert = require('node:assert/strict')
  const fs = require('node:fs')
  await cache.set('key', 'value')
  assert.equal(await cache.get('key'), 'value')
  fs.writeSync(1, String(ms))
  process.exit()
})
