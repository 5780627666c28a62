'use strict'

// What people see: health(), stats(), metrics(), the HTTP handlers, the events and the log.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const http = require('node:http')
const { performance } = require('node:perf_hooks')
const { after, before, describe, test } = require('node:test')
const { metricsOf } = require('evenkeel')
const { healthHandler, metricsHandler } = require('evenkeel/http')
const { openCache, openOn } = require('./support/cache.js')
const { startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const BUCKETS = [
  0.0001,
  0.00025,
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  Infinity,
]
const L1 = ['hits', 'misses', 'sets', 'deletes', 'size', 'hitRate', 'bytes', 'maxBytes', 'evictions']
const L2 = [
  'total_commands',
  'total_connections',
  'total_keys',
  'state',
  'latency_ms',
  'last_ping',
  'last_error',
  'commands',
]
const L2_FURTHER = ['reconnects', 'in_flight', 'breaker', 'admission', 'invalidation']
const FAMILIES = [
  ...['cache_l1_hits_total', 'cache_l1_misses_total', 'cache_l2_redis_commands_total', 'cache_l2_redis_keys'],
  ...[
    'cache_l1_sets_total',
    'cache_l1_deletes_total',
    'cache_l1_evictions_total',
    'cache_l1_entries',
    'cache_l1_bytes',
  ],
  ...[
    'cache_l1_max_bytes',
    'cache_l2_hits_total',
    'cache_l2_misses_total',
    'cache_l2_errors_total',
    'cache_l2_timeouts_total',
  ],
  ...[
    'cache_l2_reconnects_total',
    'cache_l2_connections',
    'cache_l2_in_flight',
    'cache_l2_state',
    'cache_l2_breaker_state',
  ],
  ...[
    'cache_l2_command_duration_seconds',
    'cache_loads_total',
    'cache_load_duration_seconds',
    'cache_stale_served_total',
  ],
  ...['cache_stampedes_prevented_total', 'cache_commands_saved_total', 'cache_invalidations_total'],
  ...['cache_pending_invalidations', 'cache_quota_used_ratio', 'cache_info'],
]

function sameNames(object, names) {
  assert.deepEqual(Object.keys(object).toSorted(), names.toSorted())
}

/** The samples of one family, by their labels without the cache's name. */
function samples(text, family) {
  const found = text.matchAll(new RegExp(`^${family}(?:\\{([^}]*)\\})? (\\S+)$`, 'gm'))
  return Object.fromEntries(
    [...found].map(([, labels, value]) => [labels.replace(/,?cache="[^"]*",?/, ''), Number(value)]),
  )
}

describe('health()', () => {
  test('of a new memory cache has every field', (t) => {
    const cache = openCache(t, {})
    const { status, cache: tiers } = cache.health()
    assert.equal(status, 'healthy')
    sameNames(tiers, ['mode', 'l1', 'l2', 'pending_invalidations', 'quota', 'advice'])
    sameNames(tiers.l1, L1)
    sameNames(tiers.l2, [...L2, ...L2_FURTHER])
    assert.deepEqual([tiers.mode, tiers.l2.state, tiers.quota], ['memory', 'idle', null])
    assert.ok(tiers.l1.maxBytes > 0 && tiers.l1.maxBytes <= 64 * 1024 * 1024)
    for (const name of ['hits', 'misses', 'sets', 'deletes', 'size', 'hitRate', 'bytes', 'evictions'])
      assert.equal(tiers.l1[name], 0)
    for (const name of [
      'total_commands',
      'total_connections',
      'total_keys',
      'latency_ms',
      'last_ping',
      'last_error',
    ]) {
      assert.equal(tiers.l2[name], null)
    }
    assert.deepEqual(
      tiers.advice.map(({ code }) => code),
      ['no-logger'],
    )
  })

  test('counts what each tier did', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('a', 1)
    await cache.setMany({ b: 2, c: 3 })
    await cache.get('a')
    await cache.get('none')
    await cache.getMany(['a', 'b', 'none'])
    await cache.delete('c')
    const { l1, l2 } = cache.health().cache
    assert.deepEqual([l1.hits, l1.misses, l1.sets, l1.deletes, l1.size], [3, 2, 3, 1, 2])
    assert.equal(l1.hitRate, 0.6)
    assert.ok(l1.bytes > 0)
    assert.ok(l2.commands >= 5)
    const { advice, mode } = cache.health().cache
    assert.equal(mode, 'tiered')
    assert.ok(Array.isArray(advice))
  })

  test("has the server's own figures from the tick", async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own, { health: { interval: 100 } })
    await cache.setMany({ a: 1, b: 2 })
    const l2 = await until(() => {
      const figures = cache.health().cache.l2
      return figures.total_keys >= 2 && figures
    })
    assert.ok(l2.total_commands > 0 && l2.total_connections > 0)
    assert.ok(l2.latency_ms >= 0)
    assert.ok(Math.abs(Date.now() - Date.parse(l2.last_ping)) < 10_000)
    assert.match(l2.last_ping, /Z$/)
    assert.match(cache.metrics(), /^cache_l2_redis_keys\{[^}]*\} [2-9]/m)
  })

  test('verbose adds the last events of the link and the last INFO', async (t) => {
    const cache = await openOn(t, server, { health: { interval: 50 } })
    const verbose = await until(() => {
      const health = cache.health({ verbose: true })
      return health.info && health
    })
    assert.ok(verbose.events.length > 0)
    assert.equal(cache.health().events, undefined)
  })

  test('advises on an empty namespace', async (t) => {
    const cache = await openOn(t, server, { namespace: '' })
    assert.ok(cache.health().cache.advice.some(({ code, message }) => code === 'namespace-empty' && message))
  })

  test('a thousand calls a second are no burden, nor are a thousand metrics', async (t) => {
    const cache = await openOn(t, server)
    for (const [call, limit] of [
      [() => cache.health(), 300],
      [() => cache.metrics(), 500],
    ]) {
      const started = performance.now()
      for (let n = 0; n < 1000; n++) call()
      const ms = performance.now() - started
      assert.ok(ms < limit, `${ms} ms`)
    }
  })

  test('a tick is one command, and none is sent under traffic or when switched off', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const busy = await openOn(t, own, { health: { interval: 200 } })
    const quiet = await openOn(t, own, { health: { interval: 0 } })
    await quiet.settled()
    const load = steadily(100, () => busy.get('none'))
    const pings = async () => (await own.calls('ping')) + (await own.calls('info'))
    const asked = await pings()
    await until(() => load.calls.length > 60)
    const during = (await pings()) - asked
    await load.stop()
    // the two questions of this test are INFO as well
    assert.ok(during <= 2, `${during} pings under traffic`)
  })
})

describe('stats()', () => {
  test('is flat and camelCase', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('a', 1)
    await cache.get('a')
    const stats = cache.stats()
    for (const [name, value] of Object.entries(stats)) {
      assert.match(name, /^[a-z0-9]+([A-Z][a-z0-9]*)*$/)
      assert.notEqual(typeof value === 'object' && value !== null, true, name)
    }
    assert.equal(stats.l1Hits, 1)
  })
})

describe('metrics()', () => {
  test('writes every family once, counters from 0 on, each series with the name of its cache', (t) => {
    const cache = openCache(t, { name: 'products' })
    const text = cache.metrics()
    for (const family of FAMILIES) {
      assert.equal(text.split(`# TYPE ${family} `).length, 2, family)
      assert.equal(text.split(`# HELP ${family} `).length, 2, family)
    }
    const series = text.split('\n').filter((line) => line && !line.startsWith('#'))
    for (const line of series) assert.match(line, /^[a-z0-9_]+\{[^}]*cache="products"[^}]*\} \S+$/)
    assert.deepEqual(samples(text, 'cache_l1_hits_total'), { '': 0 })
    assert.match(text, /\n$/)
  })

  test('counts like health()', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('a', 1)
    await cache.getMany(['a', 'none'])
    await cache.getOrSet('made', () => 1)
    // What was made is sent to Redis behind the caller's back.
    await cache.settled()
    const text = cache.metrics()
    assert.deepEqual(samples(text, 'cache_l1_hits_total'), { '': 1 })
    assert.deepEqual(samples(text, 'cache_l1_misses_total'), { '': 2 })
    assert.equal(samples(text, 'cache_loads_total')['result="ok"'], 1)
    assert.equal(samples(text, 'cache_l2_redis_commands_total')[''], cache.health().cache.l2.commands)
    assert.equal(samples(text, 'cache_l2_connections')[''], 1)
  })

  test('state gauges are state sets, unknown gauges NaN, histograms end with +Inf', async (t) => {
    const cache = await openOn(t, server)
    await cache.set('a', 1)
    const text = cache.metrics()
    const states = samples(text, 'cache_l2_state')
    assert.equal(states['state="up"'], 1)
    assert.equal(Object.values(states).filter((value) => value === 1).length, 1)
    assert.match(text, /^cache_quota_used_ratio\{[^}]*\} NaN$/m)
    const buckets = samples(text, 'cache_l2_command_duration_seconds_bucket')
    const count = samples(text, 'cache_l2_command_duration_seconds_count')['']
    assert.equal(buckets['le="+Inf"'], count)
    assert.ok(count > 0)
    assert.deepEqual(
      Object.keys(buckets).map((label) => Number(label.slice(4, -1).replace('+Inf', 'Infinity'))),
      BUCKETS,
    )
  })

  test('openMetrics ends with its mark', (t) => {
    const cache = openCache(t, {})
    assert.match(cache.metrics({ openMetrics: true }), /# EOF\n$/)
    assert.match(cache.metrics.contentType, /^text\/plain; version=0\.0\.4/)
  })

  test('metricsOf writes the families of several caches once', (t) => {
    const caches = [openCache(t, { name: 'one' }), openCache(t, { name: 'two' })]
    const text = metricsOf(...caches)
    assert.equal(text.split('# TYPE cache_l1_hits_total ').length, 2)
    assert.equal(text.match(/^cache_l1_hits_total\{/gm).length, 2)
  })
})

describe('evenkeel/http', () => {
  async function serve(t, handler) {
    const web = http.createServer(handler).listen(0, '127.0.0.1')
    await once(web, 'listening')
    t.after(() => web.close())
    return (path = '/') => fetch(`http://127.0.0.1:${web.address().port}${path}`)
  }

  test('healthHandler: 200 while it serves, 503 when closed', async (t) => {
    const cache = await openOn(t, server)
    const ask = await serve(t, healthHandler(cache))
    const healthy = await ask('/health')
    assert.equal(healthy.status, 200)
    assert.match(healthy.headers.get('content-type'), /application\/json/)
    assert.equal((await healthy.json()).status, 'healthy')
    cache.setMemoryMode(true)
    assert.equal((await ask('/health')).status, 200)
    assert.equal((await ask('/health?strict')).status, 503)
    await cache.close()
    assert.equal((await ask('/health')).status, 503)
  })

  test('metricsHandler writes the metrics of its caches', async (t) => {
    const cache = openCache(t, { name: 'served' })
    const ask = await serve(t, metricsHandler(cache))
    const answer = await ask('/metrics')
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-type'), cache.metrics.contentType)
    assert.match(await answer.text(), /cache="served"/)
  })
})
