'use strict'

// What the Redis plan allows: counted over all processes, told of in time, and never a reason to fail.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, until } = require('./support/wait.js')

async function opened(t, quota, options = {}) {
  const server = await startRedis()
  t.after(() => server.stop())
  const cache = await openOn(t, server, { l1: false, quota, ...options })
  return { server, cache }
}

test('each share of warnAt is told of once, in an event, in the log, and as advice', async (t) => {
  const lines = []
  const logger = { error() {}, info() {}, debug() {}, warn: (line) => lines.push(line) }
  const quota = { commands: 200, window: 'month', warnAt: [0.5, 0.75] }
  const { cache } = await opened(t, quota, { logger })
  const events = []
  cache.on('quota', (event) => events.push(event))
  for (let index = 0; index < 180; index++) await cache.get(`k${index}`)
  await until(() => events.length === 2)
  assert.deepEqual(
    events.map(({ limit }) => limit),
    [200, 200],
  )
  assert.ok(events[0].ratio >= 0.5 && events[0].ratio < 0.6, `${events[0].ratio}`)
  assert.ok(events[1].ratio >= 0.75 && events[1].used >= 150)
  const { quota: seen, advice } = cache.health().cache
  assert.deepEqual([seen.limit, seen.window], [200, 'month'])
  assert.ok(seen.used >= 180 && seen.ratio >= 0.9)
  assert.match(seen.resets_at, /-01T00:00:00\.000Z$/)
  assert.ok(Date.parse(seen.forecast_at) <= Date.parse(seen.resets_at))
  assert.ok(advice.some(({ code }) => code === 'quota-nearly-used'))
  assert.match(cache.metrics(), /cache_quota_used_ratio\{cache="[^"]*"\} 0\.9/)
  assert.equal(lines.filter((line) => line.includes("plan's commands")).length, 2)
})

test('what one process counted the next one knows', async (t) => {
  const quota = { commands: 1_000, window: 'day' }
  const { server, cache } = await opened(t, quota, { namespace: 'plan' })
  await until(() => cache.health().cache.quota.source === 'server')
  for (let index = 0; index < 150; index++) await cache.get(`k${index}`)
  const counted = async () => {
    await cache.get('one more')
    const [, total] = await server.command('HGETALL', 'plan:~quota')
    return Number(total) >= 100
  }
  await until(counted, { timeout: 20_000 })
  const next = await openOn(t, server, { quota, namespace: 'plan' })
  await until(() => next.health().cache.quota.used >= 100)
  assert.equal(next.health().cache.quota.source, 'server')
  assert.ok((await server.command('PTTL', 'plan:~quota')) > 0)
})

test('without a quota nothing is counted and nothing is written', async (t) => {
  const { server, cache } = await opened(t, undefined)
  await cache.get('k')
  assert.equal(cache.health().cache.quota, null)
  assert.equal(await server.calls('hincrby'), 0)
})

test('connections near the limit are warned of', async (t) => {
  const quota = { commands: 1_000_000, window: 'day', connections: 2 }
  const { cache } = await opened(t, quota, { health: { interval: 100 } })
  const { message } = await eventOf(cache, 'warning', {
    matches: ({ code }) => code === 'connections-nearly-used',
  })
  assert.match(message, /of 2 connections/)
})
