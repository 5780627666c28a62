'use strict'

// The number of a ticket is one call's, whatever happens to that call: else it gets the value of another one.
//
// - A call whose key the native side refused left an error behind for its ticket; once the number came round again, that was the
//   end of somebody else's call.
// - Where the stack ended between the native call and the opening of its ticket, the next call got the number, and the value.

const assert = require('node:assert/strict')
const path = require('node:path')
const { test } = require('node:test')
const { cacheError, openCache } = require('../support/cache.js')
const { root, runProgram } = require('../support/child.js')
const { startRedis } = require('../support/redis.js')

/** More than a slot has numbers. */
const CALLS = 70
const REFUSED = 'a\ud800'

const calls = {
  get: (cache) => cache.get(REFUSED),
  has: (cache) => cache.has(REFUSED),
  set: (cache) => cache.set(REFUSED, 1),
  getOrSet: (cache) => cache.getOrSet(REFUSED, () => 1),
}

for (const [name, call] of Object.entries(calls)) {
  test(`a refused ${name} leaves nothing behind for the calls after it`, async (t) => {
    const cache = openCache(t, {})
    await cache.set('key', 1)
    const refused = Array.from({ length: CALLS }, () => call(cache))
    const pending = Array.from({ length: CALLS }, () => cache.deletePattern('other-*'))
    for (const each of refused) await assert.rejects(each, cacheError('ERR_CACHE_KEY'))
    assert.deepEqual(new Set(await Promise.all(pending)), new Set([0]))
  })
}

test('a get that fails for want of stack leaves its value to nobody', async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const program = path.join(root, '__test__', 'fixtures', 'overflow.js')
  const { code, stdout } = await runProgram(process.execPath, [program, server.url])
  const { answered, wrong } = JSON.parse(stdout)
  assert.deepEqual([code, wrong], [0, []])
  assert.ok(answered > 0)
})
