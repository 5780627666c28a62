'use strict'

// The log: silent without a logger, and with one the whole story of an outage in a dozen lines that begin with Redis. And
// over every output: no secret.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { inspect } = require('node:util')
const { openCache, openOn, ownNamespace } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

const CANARY = 'canary-5ecret-pa55word'

async function redisFor(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

/** A logger like console that keeps its lines. */
function recorder() {
  const lines = []
  const logger = {}
  for (const level of ['error', 'warn', 'info', 'debug']) {
    logger[level] = (message, fields) => lines.push({ level, message, fields })
  }
  return { lines, logger }
}

test('an outage is told in a dozen lines that begin with Redis, at the right levels', async (t) => {
  const server = await redisFor(t)
  const { lines, logger } = recorder()
  const cache = await openOn(t, server, { logger })
  const load = steadily(100, () => cache.get('none'))
  await server.kill()
  await until(() => lines.some(({ message }) => /memory/.test(message)))
  await until(() => lines.some(({ message }) => /reconnect/i.test(message)))
  await server.restart()
  await until(() => cache.state === 'up')
  await load.stop()
  await cache.close()
  const story = lines.filter(({ level }) => level !== 'debug')
  assert.ok(story.length >= 4 && story.length <= 12, inspect(story))
  for (const { message, fields } of story) {
    assert.match(message, /^Redis/)
    assert.equal(typeof fields.event, 'string')
    assert.equal(fields.endpoint, `127.0.0.1:${server.port}`)
  }
  const levels = Object.fromEntries(story.map(({ level, fields }) => [fields.event, level]))
  assert.ok(
    Object.values(levels).includes('error') && Object.values(levels).includes('info'),
    inspect(levels),
  )
})

test('a failed tick is told as what it is', async (t) => {
  const server = await redisFor(t)
  const { lines, logger } = recorder()
  await openOn(t, server, { logger, health: { interval: 100, timeout: 200 } })
  server.freeze()
  const line = await until(() =>
    lines.find(({ message }) => message.includes('Redis ping failed, switched to memory')),
  )
  assert.equal(line.level, 'error')
})

test('pino gets its fields first, and a logger of Nest its log', async (t) => {
  const server = await redisFor(t)
  const calls = []
  const record = (...args) => calls.push(args)
  const pino = { info: record, warn: record, error: record, debug: record, bindings: () => ({}) }
  await openOn(t, server, { logger: pino })
  const [fields, message] = await until(() => calls.find((args) => /^Redis/.test(args[1])))
  assert.equal(typeof fields.event, 'string')
  assert.match(message, /^Redis/)
  const nested = []
  const nest = { log: (text) => nested.push(text), warn: () => {}, error: () => {}, debug: () => {} }
  await openOn(t, server, { logger: nest })
  await until(() => nested.some((text) => /^Redis/.test(text)))
})

test('EVENKEEL_LOG prints to stderr, and without it nothing is printed', async (t) => {
  const server = await redisFor(t)
  const script = `
    const { Cache } = require('evenkeel')
    const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'log' })
    cache.ready().then(() => cache.close())`
  const silent = await runScript(script)
  assert.deepEqual([silent.code, silent.stdout, silent.stderr], [0, '', ''])
  const loud = await runScript(script, { env: { EVENKEEL_LOG: 'debug' } })
  assert.equal(loud.stdout, '')
  assert.match(loud.stderr, /Redis/)
})

test('the password is in no output: not in logs, events, errors, health, metrics, stats or util.inspect', async (t) => {
  const server = await redisFor(t, { password: CANARY })
  const { lines, logger } = recorder()
  const seen = []
  const names = ['ready', 'mode', 'reconnecting', 'warning', 'closed']
  const options = { namespace: ownNamespace(), logger }
  const caches = [
    openCache(t, { ...options, redis: server.url }),
    openCache(t, { ...options, redis: { port: server.port, password: `${CANARY}-wrong` } }),
    openCache(t, {
      ...options,
      redis: { port: server.port, credentials: async () => ({ password: CANARY }) },
    }),
    openCache(t, {
      ...options,
      redis: { url: `rediss://user:${CANARY}@127.0.0.1:${server.port}/1`, connectTimeout: 500 },
    }),
  ]
  for (const cache of caches)
    for (const name of names) cache.on(name, (event) => seen.push(inspect(event, { depth: 9 })))
  await caches[0].ready()
  await until(() => [caches[1], caches[3]].every((cache) => cache.health().cache.l2.last_error))
  await server.kill()
  await until(() => caches[0].state !== 'up')
  for (const cache of caches) {
    const failures = [cache.get('key', { strict: true }), cache.command('PING'), cache.ready({ timeout: 50 })]
    for (const { reason } of await Promise.allSettled(failures))
      seen.push(inspect(reason, { depth: 9 }), JSON.stringify(reason))
    seen.push(JSON.stringify(cache.health({ verbose: true })), cache.metrics(), JSON.stringify(cache.stats()))
    seen.push(inspect(cache, { depth: 9, showHidden: true }))
  }
  seen.push(inspect(lines, { depth: 9, maxArrayLength: null }))
  const malformed = [
    { redis: `redis://:${CANARY}@:x` },
    { redis: { url: `http://${CANARY}@host` } },
    { redis: { password: [CANARY] } },
  ]
  for (const wrong of malformed) {
    try {
      openCache(t, wrong)
    } catch (error) {
      seen.push(inspect(error, { depth: 9 }))
    }
  }
  for (const text of seen) assert.ok(!String(text).includes(CANARY), text)
})

test('with EVENKEEL_LOG=debug the password is not printed either', async (t) => {
  const server = await redisFor(t, { password: CANARY })
  const script = `
    const { Cache } = require('evenkeel')
    async function main() {
      const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'log' })
      const wrong = new Cache({ redis: { port: ${server.port}, password: '${CANARY}x' } })
      await cache.ready()
      await cache.set('key', 1)
      await wrong.ready({ timeout: 200 }).catch(() => {})
    }
    main()`
  const { code, stdout, stderr } = await runScript(script, { env: { EVENKEEL_LOG: 'debug' } })
  assert.equal(code, 0)
  assert.ok(!(stdout + stderr).includes(CANARY))
})

test('keys are in the log only with logKeys', async (t) => {
  const server = await redisFor(t)
  const { lines, logger } = recorder()
  const cache = await openOn(t, server, { logger })
  await cache.set('secret-customer-7', 'x'.repeat(2 * 1024 * 1024))
  await server.command('SET', `${cache.prefix}secret-customer-8`, Buffer.from([0xff, 0x00]))
  await cache.get('secret-customer-8')
  await cache.settled()
  assert.ok(!inspect(lines, { depth: 9 }).includes('secret-customer'))
})
