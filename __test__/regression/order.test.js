'use strict'

// What one process does to a key reaches Redis in the order of the calls, and nothing of its own undoes it afterwards.

const assert = require('node:assert/strict')
const { performance } = require('node:perf_hooks')
const { after, before, describe, test } = require('node:test')
const { openOn } = require('../support/cache.js')
const { startRedis } = require('../support/redis.js')
const { timed, until } = require('../support/wait.js')

const PADDING = 'x'.repeat(20_000)
/** Longer than any deadline of a test that is not about it. */
const PATIENT = { l2: { timeout: 5_000 } }
/** What the envelope of a value begins with, followed by what no codec has written. */
const CORRUPT = Buffer.concat([Buffer.from([0xf5, 0xec, 1, 1]), Buffer.alloc(30, 7)])

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const exists = (cache, key) => server.command('EXISTS', cache.prefix + key)

describe('calls of one tick, more than one batch holds', () => {
  test('a delete after many sets of a key is the last that Redis sees', async (t) => {
    const cache = await openOn(t, server, PATIENT)
    for (let round = 0; round < 5; round++) {
      const calls = Array.from({ length: 600 }, (_, n) => cache.set('key', { n, PADDING }))
      await Promise.all([...calls, cache.delete('key')])
      assert.equal(await exists(cache, 'key'), 0)
      assert.equal(await cache.get('key'), undefined)
    }
  })

  for (const count of [100, 130, 200, 600]) {
    test(`the last of ${count} sets of a key is what Redis holds`, async (t) => {
      const cache = await openOn(t, server, PATIENT)
      await Promise.all(Array.from({ length: count }, (_, n) => cache.set('key', { n, PADDING })))
      const held = await server.command('GET', `${cache.prefix}key`)
      assert.equal(/"n":(\d+)/.exec(held)?.[1], String(count - 1))
    })
  }
})

describe('a write that nobody waits for', () => {
  test('reaches Redis without another call', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('key', { a: 1 }, { wait: false })
    await until(async () => (await exists(cache, 'key')) === 1, { timeout: 3_000 })
  })

  test('resolves while Redis does not answer, for many keys too', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own, PATIENT)
    own.freeze()
    const { ms } = await timed(() => cache.setMany({ a: 1, b: 2 }, { wait: false }))
    own.thaw()
    assert.ok(ms < PATIENT.l2.timeout / 2, `${ms} ms`)
    await until(() => own.command('EXISTS', `${cache.prefix}a`))
  })
})

test('a write that is acknowledged is not undone for an earlier one that was not', async (t) => {
  const own = await startRedis()
  t.after(() => own.stop())
  const cache = await openOn(t, own)
  await cache.set('key', 0)
  own.freeze()
  const started = performance.now()
  const first = cache.set('key', 1)
  // The second one has time left when that of the first is over.
  await until(() => performance.now() - started > 200)
  const second = cache.set('key', 2, { strict: true }).then(
    () => true,
    () => false,
  )
  await first
  own.thaw()
  const acknowledged = await second
  await cache.settled({ timeout: 5_000 })
  await until(() => cache.state === 'up')
  const held = await own.command('GET', `${cache.prefix}key`)
  assert.ok(acknowledged ? held === '2' : held !== '0', `${acknowledged} ${held}`)
  assert.notEqual(await cache.get('key'), 0)
})

test('a read that finds rubbish does not remove what was written after it', async (t) => {
  const cache = await openOn(t, server)
  await server.command('SET', `${cache.prefix}key`, CORRUPT)
  const [found] = await Promise.all([cache.get('key'), cache.set('key', { good: 1 }, { strict: true })])
  await cache.settled({ timeout: 5_000 })
  await cache.ping()
  assert.ok(found === undefined || found.good === 1)
  assert.equal(await exists(cache, 'key'), 1)
  assert.deepEqual(await cache.get('key'), { good: 1 })
})

test('a value that is too large and only wanted where there is none leaves alone what is there', async (t) => {
  const cache = await openOn(t, server)
  await cache.set('key', { precious: 1 })
  const large = 'x'.repeat(2 << 20)
  assert.equal(await cache.set('key', large, { onlyIf: 'absent' }), false)
  assert.equal(await exists(cache, 'key'), 1)
  assert.deepEqual(await cache.get('key'), { precious: 1 })
})

test('a raw command that writes to another key than its first is seen by the next get', async (t) => {
  const cache = await openOn(t, server)
  await cache.set('written', 'aaa')
  const [written, from] = [`${cache.prefix}written`, `${cache.prefix}from`]
  await server.command('SET', from, 'zzz')
  await cache.command('BITOP', ['AND', written, from, from])
  assert.equal(await cache.get('written'), 'zzz')
})
