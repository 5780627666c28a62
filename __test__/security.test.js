'use strict'

// What docs/security.md promises of rights: the whole API works for a user who has exactly the commands that it lists.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { openCache, openOn } = require('./support/cache.js')
const { root } = require('./support/child.js')
const { startCluster } = require('./support/cluster.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const document = fs.readFileSync(path.join(root, 'docs', 'security.md'), 'utf8')

const wordsOf = (rule) => rule.split(' ').map((word) => word.replaceAll("'", ''))

/** The rule as the document has it, for the namespace `app`. */
function documentedRule() {
  const [, rule] = /ACL SETUSER app on '>secret' (.*)/.exec(document)
  return wordsOf(rule)
}

/** What hearing of other processes' changes needs beside it, as the document has it: by tracking, and by a channel. */
function documentedRights() {
  const rules = document.matchAll(/^ACL SETUSER app (\+.*)$/gm)
  const [tracking, pubsub] = Array.from(rules, ([, rule]) => wordsOf(rule))
  return { tracking, pubsub }
}

/** Every documented operation, as a list of what was answered. */
async function everything(cache) {
  await cache.set('k', { v: 1 })
  await cache.setMany({ a: { v: 2 }, b: 3 })
  const seen = [
    await cache.command('GET', ['app:b']),
    await cache.getMany(['k', 'a', 'b', 'none']),
    await cache.has('k'),
    await cache.set('new', 1, { onlyIf: 'absent' }),
    await cache.touch('k', 60_000),
    await cache.touch('a', null),
    (await cache.ttl('k')) > 0,
    await cache.markStale('a'),
    await cache.increment('n', 2, { ttl: 60_000 }),
    await cache.increment('n'),
    await cache.markStale('n'),
    await cache.getOrSet('made', () => 'made', { lock: true, ttl: 60_000, staleFor: 60_000 }),
    await tagged(cache),
    await cache.withLock('job', { ttl: 60_000 }, (lock) => lock.extend(90_000)),
    await cache.delete('b'),
    await cache.deleteMany(['new', 'none']),
    (await cache.ping()) >= 0,
  ]
  const keys = []
  for await (const key of cache.keys('*')) keys.push(key)
  seen.push(keys.toSorted(), await cache.deletePattern('m*'))
  await cache.clear()
  return [...seen, await cache.get('k')]
}

/** A tag, its version kept for longer and longer, and its end. */
async function tagged(cache) {
  for (const ttl of [60_000, 7 * 24 * 3_600_000, null]) await cache.set('t', { v: 4 }, { ttl, tags: ['tag'] })
  await cache.invalidateTags('tag', 'none')
  return cache.get('t')
}

async function withRule(t, rule, options = { l1: false, invalidation: 'off' }) {
  const server = await startRedis()
  t.after(() => server.stop())
  await server.command('ACL', 'SETUSER', 'app', 'on', '>secret', ...rule)
  const redis = { host: '127.0.0.1', port: server.port, username: 'app', password: 'secret' }
  const cache = openCache(t, { redis, namespace: 'app', strict: true, ...options })
  return { server, cache }
}

const ANSWERS = [
  '3',
  [{ v: 1 }, { v: 2 }, 3, undefined],
  true,
  true,
  true,
  true,
  true,
  true,
  2,
  3,
  true,
  'made',
  undefined,
  true,
  true,
  1,
  true,
  ['a', 'k', 'made', 't'],
  1,
  undefined,
]

test('the whole API works under exactly the documented rule, and nothing is refused', async (t) => {
  const { server, cache } = await withRule(t, documentedRule())
  await cache.ready()
  assert.deepEqual(await everything(cache), ANSWERS)
  const log = await server.command('ACL', 'LOG')
  assert.deepEqual(log, [])
})

test('in a cluster it works with what topologies.md adds', async (t) => {
  const page = fs.readFileSync(path.join(root, 'docs', 'topologies.md'), 'utf8')
  const [, added] = /^needs beside those in .*: `(.*?)`/m.exec(page)
  const cluster = await startCluster(t)
  const rule = [...documentedRule(), ...documentedRights().tracking, ...wordsOf(added)]
  for (const { master } of cluster.shards)
    await master.command('ACL', 'SETUSER', 'app', 'on', '>secret', ...rule)
  const redis = { ...cluster.redis, username: 'app', password: 'secret' }
  const cache = openCache(t, { redis, namespace: 'app', strict: true })
  await cache.ready({ timeout: 20_000 })
  await everything(cache)
  const { mode, reason } = cache.health().cache.l2.invalidation
  assert.deepEqual({ mode, reason }, { mode: 'tracking', reason: null })
  for (const { master } of cluster.shards) assert.deepEqual(await master.command('ACL', 'LOG'), [])
})

test('no command of the rule is superfluous', async (t) => {
  const rule = documentedRule()
  for (const dropped of rule.filter((word) => word.startsWith('+'))) {
    const { server, cache } = await withRule(
      t,
      rule.filter((word) => word !== dropped),
    )
    await cache.ready({ timeout: 2_000 }).catch(() => 'not ready without it')
    await everything(cache).catch(() => 'refused without it')
    const log = await server.command('ACL', 'LOG')
    assert.notDeepEqual(log, [], `${dropped} is never missed`)
    await cache.close()
  }
})

for (const [invalidation, rights] of Object.entries(documentedRights())) {
  test(`${invalidation} works under exactly the documented rule, and nothing is refused`, async (t) => {
    const rule = [...documentedRule(), ...rights]
    const { server, cache } = await withRule(t, rule, { invalidation })
    await cache.ready()
    const stream = () => cache.health().cache.l2.invalidation
    await until(() => stream().mode === invalidation)
    assert.deepEqual(await everything(cache), ANSWERS)
    const other = await openOn(t, server, { namespace: 'app', invalidation })
    await cache.set('k', 1)
    await other.set('k', 2)
    await until(() => cache.peek('k') === undefined)
    assert.equal(stream().reason, null)
    assert.deepEqual(await server.command('ACL', 'LOG'), [])
  })

  test(`no right of the rule for ${invalidation} is superfluous`, async (t) => {
    for (const dropped of rights) {
      const rule = [...documentedRule(), ...rights.filter((word) => word !== dropped)]
      const { server, cache } = await withRule(t, rule, { invalidation, l1: {} })
      await cache.ready()
      await cache.set('k', 1)
      await until(async () => (await server.command('ACL', 'LOG')).length > 0, {
        message: `${dropped} is missed`,
      })
      await until(() => /NOPERM/.test(cache.health().cache.l2.invalidation.reason))
      await cache.close()
    }
  })
}
