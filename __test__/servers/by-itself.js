'use strict'

// What the second table of docs/servers.md is about: what evenkeel sends though nobody asked.

const { openCache, ownNamespace } = require('../support/cache.js')
const { monitor } = require('../support/monitor.js')
const { until } = require('../support/wait.js')

async function hears(cache, way) {
  await until(() => cache.health().cache.l2.invalidation.mode === way)
}

/** A cache that the judge watches from its first byte on. */
async function watched(t, server, options) {
  const judge = await monitor(server)
  t.after(() => judge.close())
  const cache = openCache(t, { redis: server.url, namespace: ownNamespace(), ...options })
  await cache.ready()
  return { cache, commands: () => judge.commands() }
}

/** What connecting takes; the counter began with it. */
async function connected(t, server, options) {
  const { cache, commands } = await watched(t, server, options)
  await hears(cache, options.invalidation)
  return { cache, sent: await commands(), before: 0 }
}

/** What connecting once more takes, after `meanwhile`. */
async function returned(t, server, options, meanwhile = () => {}) {
  const { cache, commands } = await watched(t, server, options)
  cache.setMemoryMode(true)
  await until(() => cache.state === 'idle')
  await meanwhile(cache)
  await commands()
  const before = cache.stats().l2Commands
  cache.setMemoryMode(false)
  await cache.ready()
  return { cache, sent: await commands(), before }
}

/** What is sent without anybody asking: from the first command on that `begins` holds for, or else what follows connecting. */
async function alone(t, server, { begins, reads = false, number = 1, ...options }) {
  const { cache, commands } = await watched(t, server, {
    health: { interval: 200 },
    invalidation: 'off',
    ...options,
  })
  const sent = await commands()
  const isEarlier = (line) => begins !== undefined && !begins(line)
  if (begins === undefined) sent.length = 0
  await until(async () => {
    if (reads) cache.health()
    sent.push(...(await commands()))
    while (sent.length > 0 && isEarlier(sent[0])) sent.shift()
    return sent.length >= number
  })
  // On a busy machine the next tick may have come, too.
  return { cache, sent: sent.slice(0, number) }
}

const OFF = { invalidation: 'off' }
const TRACKING = { invalidation: 'tracking' }

/**
 * What is done for each row: answers what was sent, and what the counter said before, where that can be told.
 * `silence` is what a subscriber sent that heard nothing.
 */
const BY_ITSELF = {
  'connecting, `off`': (t, server) => connected(t, server, OFF),
  'connecting, `off`, with a `db` other than 0': (t, server) =>
    connected(t, server, { ...OFF, redis: { port: server.port, db: 3 } }),
  'connecting, `off`, without a namespace': (t, server) => connected(t, server, { ...OFF, namespace: '' }),
  'connecting, `tracking`, for the first time': (t, server) => connected(t, server, TRACKING),
  'connecting, `tracking`, later': (t, server) => returned(t, server, TRACKING),
  'connecting, `pubsub`': (t, server) => connected(t, server, { invalidation: 'pubsub' }),
  'coming back, `off`, 2 keys were changed meanwhile': (t, server) =>
    returned(t, server, OFF, async (cache) => {
      await cache.delete('a')
      await cache.set('b', 1)
    }),
  'the tick': (t, server) => alone(t, server, {}),
  'the tick, when `health()` or `metrics()` was read': (t, server) => alone(t, server, { reads: true }),
  'the same, where `INFO` is refused': async (t, server) => {
    await server.command('ACL', 'SETUSER', 'app', 'on', '>pw', '~*', '&*', '+@all', '-info')
    const redis = { port: server.port, username: 'app', password: 'pw' }
    const isSize = (line) => line === 'DBSIZE'
    return alone(t, server, { reads: true, redis, begins: isSize, number: 2 })
  },
  'a subscriber that heard nothing for `health.interval`': (t, server, silence) => silence,
  '`quota`, when its count begins': (t, server) => {
    const quota = { commands: 500_000, window: 'month' }
    const isCount = (line) => line.startsWith('HINCRBY')
    return alone(t, server, { quota, health: { interval: 0 }, begins: isCount, number: 2 })
  },
}

module.exports = { BY_ITSELF, hears, watched }
