'use strict'

// What a server is asked for each call and by evenkeel itself, with MONITOR as the judge: the tables of docs/servers.md are
// read from there, so that a row without a test fails as a test without a row does. And that the server under test is the
// one that is meant.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { isDeepStrictEqual } = require('node:util')
const { Cache } = require('evenkeel')
const { BY_ITSELF, hears, watched } = require('./servers/by-itself.js')
const { CALLS } = require('./servers/calls.js')
const { namesOf, rowsFor } = require('./servers/tables.js')
const { openCache, openOn } = require('./support/cache.js')
const { runProgram } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { monitor } = require('./support/monitor.js')
const { PROGRAM, startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

/** What no operation needs: a transaction, a second command for an expiry or for a life, the library's name. */
const NEVER =
  /^(MULTI|EXEC|WATCH|P?EXPIRE|P?TTL|SELECT|EVALSHA|CLIENT (SETINFO|ID|CACHING|NO-TOUCH)|KEYS|DEL)( |$)/

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

test('the server is the one that is meant', async (t) => {
  const { stdout } = await runProgram(PROGRAM, ['--version'])
  const [, kind, version] = /^(Redis|Valkey) server v=(\S+)/.exec(stdout)
  const [redis, valkey] = [await server.info('redis_version'), await server.info('valkey_version')]
  assert.equal(kind === 'Valkey' ? valkey : redis, version)
  assert.equal(valkey !== undefined, kind === 'Valkey')
  t.diagnostic(`${kind} ${version}`)
})

const calls = rowsFor('What a call costs', CALLS)

for (const invalidation of ['off', 'tracking', 'pubsub']) {
  describe(`what a call costs, invalidation: '${invalidation}'`, () => {
    for (const { what, commands, published } of calls) {
      test(what, async (t) => {
        await server.command('FLUSHALL')
        const cache = await openOn(t, server, { invalidation })
        await hears(cache, invalidation)
        const { first, call, attempts = 1 } = CALLS[what]
        await first?.(cache, server)
        const judge = await monitor(server)
        t.after(() => judge.close())
        const isTold = (line) => /^PUBLISH |^SET \S+:~gone:/.test(line)
        let before, sent, names
        for (let left = attempts; left > 0 && !isDeepStrictEqual(names, commands); left--) {
          before = cache.stats().l2Commands
          await call(cache)
          // What nobody waits for is sent, too.
          await cache.settled()
          sent = await judge.commands()
          const own = sent.filter((line) => !isTold(line))
          names = namesOf(own, commands)
        }
        assert.deepEqual(names, commands)
        const marks = what.includes('deletePattern') ? 1 : 0
        const told = { off: 0, tracking: marks, pubsub: published }[invalidation]
        assert.equal(sent.filter(isTold).length, told, sent)
        assert.equal(cache.stats().l2Commands - before, sent.length, 'what the counter says')
        const needless = sent.filter((line) => NEVER.test(line))
        // A life that nothing but the key in Redis knows.
        const asked = what.startsWith('`ttl`') || what.includes('that others made') ? ['PTTL'] : []
        assert.deepEqual(namesOf(needless, asked), asked)
      })
    }
  })
}

test('a call costs the same under its other names, and with other options', async (t) => {
  const cache = await openOn(t, server, { invalidation: 'off' })
  const judge = await monitor(server)
  t.after(() => judge.close())
  const variants = [
    ['GET', () => cache.has('has')],
    ['SET', () => cache.set('k', 1)],
    ['SET', () => cache.set('k', 2, { ttl: null })],
    ['SET', () => cache.set('k', 3, { onlyIf: 'present', strict: true })],
    ['EVAL', () => cache.markStale('k')],
    ['INCRBY', () => cache.decrement('n')],
    ['UNLINK', () => cache.del('k')],
    ['SCAN', () => cache.clear()],
  ]
  for (const [name, call] of variants) {
    await call()
    assert.equal((await judge.commands())[0].split(' ')[0], name)
  }
})

test('a pattern over many pages: each is a SCAN, and an UNLINK if there are matches on it', async (t) => {
  await server.command('FLUSHALL')
  const cache = await openOn(t, server, { invalidation: 'off' })
  const script = "for n = 1, 3000 do redis.call('SET', ARGV[1] .. n, 1) end"
  await server.command('EVAL', script, 0, cache.prefix)
  const judge = await monitor(server)
  t.after(() => judge.close())
  assert.equal(await cache.deletePattern('299?'), 10)
  const sent = await judge.commands()
  assert.match(sent.map((line) => `${line.split(' ')[0]} `).join(''), /^(SCAN (UNLINK )?){5,9}$/)
  for (const line of sent) assert.match(line, /^UNLINK|COUNT 500$/)
})

test('the whole database is one command', async (t) => {
  const cache = openCache(t, { redis: server.url, invalidation: 'off' })
  await cache.ready()
  const judge = await monitor(server)
  t.after(() => judge.close())
  await cache.clear({ wholeDatabase: true })
  assert.deepEqual(await judge.commands(), ['FLUSHDB ASYNC'])
})

/** What a subscriber sends that hears nothing, on a server of its own while the other tests run. */
let silence
before(async () => {
  const quiet = await startRedis()
  const health = { interval: 5_000 }
  const cache = new Cache({ redis: quiet.url, namespace: 'quiet', invalidation: 'pubsub', health })
  await hears(cache, 'pubsub')
  const judge = await monitor(quiet)
  const sent = []
  // The data connection's tick comes about then too. It is an INFO, since health() was read.
  const isOther = (line) => line !== 'INFO'
  const isThere = async () => sent.push(...(await judge.commands()).filter(isOther)) > 0
  silence = until(isThere, { timeout: 15_000 }).then(() => ({ cache, sent, quiet, judge }))
})
after(async () => {
  const { cache, quiet, judge } = await silence
  await cache.close()
  judge.close()
  await quiet.stop()
})

describe('what evenkeel sends by itself', () => {
  for (const { what, commands } of rowsFor('What it sends by itself', BY_ITSELF)) {
    test(what, async (t) => {
      const { cache, sent, before } = await BY_ITSELF[what](t, server, silence)
      assert.deepEqual(namesOf(sent, commands), commands)
      if (before !== undefined) assert.equal(cache.stats().l2Commands - before, sent.length)
    })
  }
})

test('where CLIENT TRACKING is refused, connecting is 7 commands, with the one that MONITOR does not show', async (t) => {
  await server.command('ACL', 'SETUSER', 'deaf', 'on', '>pw', '~*', '&*', '+@all', '-client|tracking')
  const redis = { port: server.port, username: 'deaf', password: 'pw' }
  const { cache, commands } = await watched(t, server, { redis })
  await hears(cache, 'pubsub')
  const wanted = ['HELLO', 'CLIENT SETNAME', 'INFO', 'SET', 'HELLO', 'SUBSCRIBE']
  assert.deepEqual(namesOf(await commands(), wanted), wanted)
  assert.equal(cache.stats().l2Commands, 7)
})

test('a server that knows no HELLO is spoken to in RESP2, and others are told by the channel', async (t) => {
  const old = await startRedis({ args: ['--rename-command', 'HELLO', ''] })
  t.after(() => old.stop())
  const { cache, commands } = await watched(t, old, {})
  await hears(cache, 'pubsub')
  const wanted = ['CLIENT SETNAME', 'INFO', 'SUBSCRIBE']
  assert.deepEqual(namesOf(await commands(), wanted), wanted)
  await cache.set('k', 1)
  assert.deepEqual(namesOf(await commands(), ['SET', 'PUBLISH']), ['SET', 'PUBLISH'])
})

test('a push of a kind that nobody asked for, as of maintenance, is ignored', async (t) => {
  const proxy = await startProxy(server)
  t.after(() => proxy.close())
  const cache = await openOn(t, server, {
    redis: { host: '127.0.0.1', port: proxy.port },
    invalidation: 'tracking',
  })
  await cache.set('k', 1)
  proxy.inject('>3\r\n$6\r\nMOVING\r\n:1\r\n$14\r\n127.0.0.1:6379\r\n>2\r\n$9\r\nMIGRATING\r\n:2\r\n')
  assert.deepEqual(await cache.getMany(['k', 'other']), [1, undefined])
  assert.equal(await cache.command('PING'), 'PONG')
  const { l2Reconnects } = cache.stats()
  const { mode, losses } = cache.health().cache.l2.invalidation
  assert.deepEqual([l2Reconnects, mode, losses], [0, 'tracking', 0])
})
