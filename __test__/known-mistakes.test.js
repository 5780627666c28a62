'use strict'

// Mistakes that other caches made, or make: one test each. Each was seen to fail on a code that makes the mistake.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { cacheError, openOn, ownNamespace } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { gated, origin } = require('./support/origin.js')
const { startRedis } = require('./support/redis.js')
const { timed, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** Two caches as two processes would have them that do not hear of each other. */
async function strangers(t, options = {}) {
  const shared = {
    namespace: ownNamespace(),
    invalidation: 'off',
    l1: { ttl: 600_000 },
    jitter: 0,
    ...options,
  }
  return Promise.all([openOn(t, server, shared), openOn(t, server, shared)])
}

/** The bytes of a key in Redis. */
function bytesOf(cache, key) {
  return server.buffers('GET', cache.prefix + key)
}

test('a falsy value is no miss: not in L1, not in L2, not past its TTL', async (t) => {
  const [a, b] = await strangers(t)
  const never = origin(() => 'made')
  const values = [0, '', false, null, NaN]
  for (const [n, value] of values.entries()) {
    await a.set(`key-${n}`, value)
    for (const cache of [a, b, b]) assert.equal(await cache.getOrSet(`key-${n}`, never.make), value)
    const brief = { ttl: 60, staleFor: 60_000 }
    await a.set(`stale-${n}`, value, brief)
  }
  await until(async () =>
    (await a.getMany(values.map((_, n) => `stale-${n}`))).every((value) => value === undefined),
  )
  assert.equal(never.calls, 0)
  const failing = origin(() => {
    throw new Error('origin is down')
  })
  for (const [n, value] of values.entries()) {
    for (const cache of [a, b])
      assert.equal(await cache.getOrSet(`stale-${n}`, failing.make, { factorySoftTimeout: 5_000 }), value)
  }
  assert.equal(failing.calls, 2 * values.length)
})

test('an entry that is about to expire in L2 does not begin a whole life in L1', async (t) => {
  const [a, b] = await strangers(t)
  await a.set('key', { n: 1 }, { ttl: 900 })
  await until(async () => (await a.ttl('key')) < 300)
  const left = await a.ttl('key')
  assert.deepEqual(await b.getOrSet('key', () => 'made'), { n: 1 })
  // In L1 it may end a ms before it does in Redis, which then gives it once more.
  const isMade = async () => (await b.getOrSet('key', () => 'made')) === 'made'
  const { ms } = await timed(() => until(isMade, { timeout: 3_000 }))
  assert.ok(ms < left + 100, `${ms} ms in L1, where ${left} ms were left`)
})

test('an eager refresh looks in L2 first: what another process has renewed is not made again', async (t) => {
  const [a, b] = await strangers(t)
  const life = { ttl: 1_000 }
  const never = origin(() => 'made by a')
  await a.set('key', 'old', life)
  assert.equal(await b.get('key'), 'old')
  await until(async () => (await a.ttl('key')) < 480)
  assert.equal(await b.getOrSet('key', () => 'made by b', { ...life, fresh: true }), 'made by b')
  await b.settled()
  assert.equal(await a.getOrSet('key', never.make, { ...life, eagerRefresh: 0.5 }), 'old')
  await until(() => a.peek('key') === 'made by b')
  await a.settled()
  assert.equal(never.calls, 0)
})

test('a soft timeout does not hide the hard one', { timeout: 10_000 }, async (t) => {
  const [cache] = await strangers(t)
  const stuck = gated()
  const options = {
    ttl: 60_000,
    staleFor: 60_000,
    factorySoftTimeout: 40,
    factoryTimeout: 150,
    retryAfter: 50,
  }
  const ask = (key) => cache.getOrSet(key, stuck.make, options)
  await assert.rejects(ask('none'), cacheError('ERR_CACHE_FACTORY_TIMEOUT'))
  await cache.set('key', 'old', { ttl: 60, staleFor: 60_000 })
  await until(async () => (await cache.get('key')) === undefined)
  assert.equal(await ask('key'), 'old')
  assert.equal(stuck.calls, 2)
  // The flight that nobody ends is over, and another begins.
  await until(async () => (assert.equal(await ask('key'), 'old'), stuck.calls === 3), { timeout: 2_000 })
  const [, first, second] = stuck.at
  assert.ok(second - first >= 190, `again after ${second - first} ms`)
})

test('the age of an entry counts from its creation, not from when this process read it', async (t) => {
  const [a, b] = await strangers(t)
  const life = { ttl: 1_000 }
  await a.set('key', 'old', { ...life, staleFor: 60_000 })
  await until(async () => (await a.ttl('key')) < 480)
  assert.equal(await b.get('key'), 'old')
  const renewing = gated()
  const ask = () => b.getOrSet('key', renewing.make, { ...life, eagerRefresh: 0.5, retryAfter: 1 })
  assert.equal(await ask(), 'old')
  await until(() => renewing.calls === 1, { timeout: 300 })
  renewing.fail(new Error('origin is down'))
  await b.settled()
  await until(async () => (await b.get('key')) === undefined)
  let age
  const make = ({ stale }) => ((age = stale.age), 'new')
  const options = { ...life, retryAfter: 1, factorySoftTimeout: 5_000, fresh: false }
  await until(async () => (await b.getOrSet('key', make, options)) === 'new')
  assert.ok(age >= 1_000 && age < 5_000, `${age} ms`)
})

test('a refresh that fails behind its callers is nobody’s unhandled rejection', async () => {
  const { code, stdout, stderr } = await runScript(`
    const { Cache } = require('evenkeel')
    const { until } = require('./__test__/support/wait.js')
    process.on('unhandledRejection', (error) => { throw error })
    async function main(options) {
      const cache = new Cache(options)
      await cache.ready()
      let calls = 0
      const fail = async () => { calls++; throw new Error('origin is down') }
      const throws = () => { calls++; throw new Error('origin is down') }
      const slow = () => { calls++; return new Promise((_, reject) => setTimeout(reject, 60, new Error('late'))) }
      const stale = { ttl: 40, staleFor: 60_000, jitter: 0 }
      const keys = ['fails', 'throws', 'times out', 'soft']
      for (const key of keys) await cache.set(key, 'old', stale)
      await cache.set('eager', 'old', { ttl: 20_000, jitter: 0 })
      await until(async () => (await cache.getMany(keys)).every((value) => value === undefined))
      const answers = [
        await cache.getOrSet('fails', fail, stale),
        await cache.getOrSet('throws', throws, stale),
        await cache.getOrSet('times out', slow, { ...stale, factoryTimeout: 20 }),
        await cache.getOrSet('soft', slow, { ...stale, factorySoftTimeout: 10 }),
        await cache.getOrSet('eager', fail, { eagerRefresh: 0.001 }),
      ]
      await until(() => calls === 5)
      await cache.settled()
      await new Promise((resolve) => setTimeout(resolve, 100))
      await cache.close()
      console.log(answers.join())
    }
    main({ namespace: 'a' }).then(() => main({ redis: '${server.url}', namespace: 'b' }))
  `)
  assert.equal(code, 0, stderr)
  assert.equal(stdout, 'old,old,old,old,old\n'.repeat(2))
  assert.equal(stderr, '')
})

test('a stale value that is served is not written back to L2, and lives no longer there', async (t) => {
  const [a, b] = await strangers(t)
  await a.set('key', { n: 1 }, { ttl: 60, staleFor: 60_000 })
  const written = await bytesOf(a, 'key')
  const failing = origin(() => {
    throw new Error('origin is down')
  })
  for (const cache of [a, b]) await until(async () => (await cache.get('key')) === undefined)
  const left = await server.command('PTTL', `${a.prefix}key`)
  for (const wait of [undefined, 5_000]) {
    for (const cache of [a, b]) {
      const options = { ttl: 60_000, staleFor: 60_000, retryAfter: 1, factorySoftTimeout: wait }
      const ask = () => cache.getOrSet('key', failing.make, options)
      const before = failing.calls
      await until(async () => (assert.deepEqual(await ask(), { n: 1 }), failing.calls > before))
      await cache.settled()
      assert.equal(await cache.get('key'), undefined)
    }
  }
  assert.deepEqual(await bytesOf(a, 'key'), written)
  assert.ok((await server.command('PTTL', `${a.prefix}key`)) <= left)
})
