'use strict'

// Once clear() of a whole database has resolved, nothing from before it is served.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openOn } = require('../support/cache.js')
const { startRedis } = require('../support/redis.js')

test('a get that runs beside clear() of the whole database brings nothing back', async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const cache = await openOn(t, server, { namespace: undefined })
  for (let round = 0; round < 50; round++) {
    await server.command('SET', 'key', '{"old":1}')
    await Promise.all([cache.clear({ wholeDatabase: true }), cache.get('key')])
    assert.equal(await cache.get('key'), undefined)
    await cache.delete('key')
  }
})

test('nor does one for keys that L1 held before', async (t) => {
  const server = await startRedis()
  t.after(() => server.stop())
  const cache = await openOn(t, server, { namespace: undefined })
  const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`)
  for (let round = 0; round < 10; round++) {
    await cache.setMany(keys.map((key) => [key, { old: round }]))
    await Promise.all([cache.clear({ wholeDatabase: true }), ...keys.map((key) => cache.get(key))])
    assert.deepEqual(new Set(await cache.getMany(keys)), new Set([undefined]))
  }
  await cache.set('key-0', 'new')
  assert.equal(await cache.get('key-0'), 'new')
})
