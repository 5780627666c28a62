'use strict'

// What an error of the package is, and that bad input is answered with one that says what to do.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { Cache, CacheError } = require('evenkeel')
const { openCache, openOn } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { freePort, startRedis } = require('./support/redis.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** The reason with which `promise` rejects. */
async function reasonOf(promise) {
  return promise.then(
    () => assert.fail('it resolved'),
    (reason) => reason,
  )
}

test('every rejection is a CacheError with code, message, retryable and a stack of the caller', async (t) => {
  const cache = openCache(t, {})
  async function callerInTheService() {
    await cache.set('', 1)
  }
  const error = await reasonOf(callerInTheService())
  assert.ok(error instanceof CacheError && error instanceof Error)
  assert.equal(error.name, 'CacheError')
  assert.equal(error.code, 'ERR_CACHE_KEY')
  assert.equal(error.retryable, false)
  assert.match(error.stack, /callerInTheService/)
  assert.match(inspect(error), /ERR_CACHE_KEY/)
})

test('an error that is about a key names it', async (t) => {
  const cache = openCache(t, {})
  const error = await reasonOf(cache.set('user:1', () => {}))
  assert.equal(error.key, 'user:1')
})

test('an error that Redis caused says that a later try may help, and why it failed', async (t) => {
  const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}` })
  const error = await reasonOf(cache.get('key', { strict: true }))
  assert.equal(error.code, 'ERR_CACHE_L2_UNAVAILABLE')
  assert.equal(error.retryable, true)
})

test('a reply of Redis that is an error is passed on in its words', async (t) => {
  const cache = await openOn(t, server)
  await server.command('RPUSH', `${cache.prefix}list`, 'x')
  const error = await reasonOf(cache.command('INCR', [`${cache.prefix}list`]))
  assert.equal(error.code, 'ERR_CACHE_REDIS_REPLY')
  assert.match(`${error.message} ${inspect(error.cause)}`, /WRONGTYPE/)
})

for (const name of ['SELECT', 'MULTI', 'SUBSCRIBE', 'BLPOP', 'AUTH', 'MONITOR', 'client', 'RESET', 'QUIT']) {
  test(`the command ${name}, which would change the shared connection, is refused`, async (t) => {
    const cache = await openOn(t, server)
    const args = name === 'client' ? ['REPLY', 'OFF'] : ['1']
    const error = await reasonOf(cache.command(name, args))
    assert.equal(error.code, 'ERR_CACHE_OPTIONS')
    await cache.set('key', 1, { strict: true })
    const [[refused]] = [await cache.commands([[name, ...args]]).catch((reason) => [[reason]])]
    assert.equal(refused[0].code, 'ERR_CACHE_OPTIONS')
  })
}

const OPTIONS = [
  [{ redsi: 'redis://localhost' }, /`redsi`.*`redis`/],
  [{ l1: { maxByte: 1 } }, /`l1\.maxByte`.*`(l1\.)?maxBytes`/],
  [{ l1: { ttl: '60' } }, /Expected `l1\.ttl` to be .*, got/],
  [{ l2: { timeout: -1 } }, /Expected `l2\.timeout` to be .*, got -1/],
  [{ redis: 42 }, /Expected `redis` to be .*, got a number/],
  [{ redis: 'http://localhost' }, /Expected `redis(\.url)?` to be .*redis:\/\//],
  [{ redis: { port: 70_000 } }, /Expected `redis\.port` to be .*, got 70000/],
  [{ jitter: 2 }, /Expected `jitter` to be .*, got 2/],
  [{ invalidation: 'push' }, /Expected `invalidation` to be/],
  [{ redis: { sentinels: [{ host: 'a', port: 1 }] } }, /redis\.name/],
  [{ redis: { stringNumbers: true } }, /stringNumbers/],
  ['redis://localhost', /Expected `options` to be an object/],
  [{ namespace: 7 }, /Expected `namespace` to be a string, got 7/],
]
for (const [options, message] of OPTIONS) {
  test(`the options ${inspect(options, { breakLength: Infinity })} are refused`, () => {
    assert.throws(() => new Cache(options), { name: 'CacheError', code: 'ERR_CACHE_OPTIONS', message })
  })
}

test('bad input leaves the process and the cache alive', async () => {
  const script = `
    const { Cache } = require('evenkeel')
    const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'bad' })
    const circle = {}
    circle.self = circle
    const calls = [
      () => cache.set('', 1), () => cache.set('k'.repeat(33 * 1024), 1), () => cache.set('k', () => {}), () => cache.set('k', circle),
      () => cache.set('k', 1, { ttl: -1 }), () => cache.set('k', 1, { ttl: NaN }), () => cache.set('k', 1, { tll: 1 }),
      () => cache.get(Symbol('k')), () => cache.getMany(null), () => cache.setMany(7), () => cache.deleteMany([{}]),
      () => cache.command(), () => cache.command('GET', 'key'), () => cache.commands([[]]), () => cache.increment('k', 'x'),
      () => cache.getOrSet('k', 'no function'), () => cache.set('k', { get a() { throw new Error('getter') } }),
    ]
    async function main() {
      for (const call of calls) {
        const codes = await call().then(() => 'resolved', (error) => error.code ?? error.message)
        console.log(codes)
      }
      await cache.set('good', 1)
      console.log(await cache.get('good'))
    }
    main()`
  const { code, stdout, stderr } = await runScript(script)
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const lines = stdout.trim().split('\n')
  assert.equal(lines.pop(), '1')
  for (const line of lines) assert.match(line, /^(ERR_CACHE_(OPTIONS|KEY|VALUE)|getter)$/)
})
