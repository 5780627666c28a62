'use strict'

// The examples do what they say: the service of `npm start`, the spans for OpenTelemetry, and the outage to watch.

const assert = require('node:assert/strict')
const path = require('node:path')
const { describe, test } = require('node:test')
const { instrument } = require('../examples/otel.js')
const { openCache } = require('./support/cache.js')
const { root, runProgram } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const service = path.join(root, 'examples', 'service', 'index.js')
const outage = path.join(root, 'examples', 'outage.js')
const otel = path.join(root, 'examples', 'otel.js')

/** Runs the service with `env` while `visit(ask)` is at work, then sends SIGTERM; `ask(path, init)` is a fetch. */
async function serve(env, visit) {
  let child
  let printed = ''
  const onStart = (started) => {
    child = started
    child.stdout.on('data', (chunk) => (printed += chunk))
  }
  const ended = runProgram(process.execPath, [service], { env: { PORT: '0', ...env }, onStart })
  try {
    const [base] = await until(() => /http:\/\/localhost:\d+/.exec(printed))
    await visit((where, init) => fetch(base + where, init))
  } finally {
    child.kill('SIGTERM')
  }
  const { code, stderr } = await ended
  assert.equal(code, 0)
  // the log of the cache goes to the console; what is not of it would be an accident
  assert.doesNotMatch(stderr, /^\s+at |Warning|Unhandled/m)
}

describe('the example service', () => {
  async function reads(ask) {
    const read = async () => {
      const answer = await ask('/products/50')
      return [answer.status, answer.headers.get('x-cache'), (await answer.json()).name]
    }
    const search = async () => {
      const answer = await ask('/products?name=Changed')
      return [answer.headers.get('x-cache'), (await answer.json()).map(({ id }) => id)]
    }
    const [, , name] = await read()
    assert.deepEqual(await read(), [200, 'hit-l1', name])
    assert.deepEqual(await search(), ['miss', []])
    assert.deepEqual(await search(), ['hit-l1', []])
    const body = JSON.stringify({ name: 'changed', price: 1, stock: 1 })
    assert.equal((await ask('/products/50', { method: 'PUT', body })).status, 200)
    assert.deepEqual(await read(), [200, 'miss', 'changed'])
    assert.deepEqual(await read(), [200, 'hit-l1', 'changed'])
    assert.deepEqual(await search(), ['miss', ['50']])
    assert.deepEqual(await search(), ['hit-l1', ['50']])
    assert.equal((await ask('/products/50', { method: 'DELETE' })).status, 200)
    assert.deepEqual(await read(), [404, 'miss', undefined])
    assert.deepEqual(await search(), ['miss', []])
    assert.equal((await (await ask('/health')).json()).status, 'healthy')
    assert.match(await (await ask('/metrics')).text(), /^cache_l1_hits_total\{/m)
    assert.equal((await ask('/nowhere')).status, 404)
  }

  test('serves from memory and shuts down cleanly', () => serve({}, reads))

  test('serves from Redis, and goes on when it is gone', async (t) => {
    const server = await startRedis()
    t.after(() => server.stop())
    await serve({ REDIS_URL: server.url }, async (ask) => {
      await until(async () => (await (await ask('/health')).json()).cache.l2.state === 'up')
      await reads(ask)
      await server.kill()
      assert.equal((await ask('/products/51')).status, 200)
      assert.equal((await ask('/products/52')).status, 200)
      assert.equal((await ask('/health')).status, 200)
    })
  })
})

describe('OpenTelemetry', () => {
  test('the example shows a span for each operation that memory did not answer', async () => {
    const { code, stdout, stderr } = await runProgram(process.execPath, [otel])
    assert.deepEqual([code, stderr], [0, ''])
    const spans = stdout.trim().split('\n')
    const shown = spans.map((line) => line.replace(/ [\d.]+ ms /, ' '))
    assert.deepEqual(shown, [
      'cache delete shop,delete,l1,ok,product:1',
      'cache getOrSet shop,getOrSet,origin,loaded,product:1',
      'cache getOrSet shop,getOrSet,origin,error,product:2',
    ])
    const [, ms] = / ([\d.]+) ms /.exec(spans[1])
    assert.ok(ms >= 75, `${ms} ms`)
  })

  test('spans and durations say what there is to say, until it is stopped', async (t) => {
    const [spans, durations] = [[], []]
    const startSpan = (name, { startTime, attributes }) => {
      const span = { name, attributes, errors: [] }
      spans.push(span)
      return {
        recordException: (error) => span.errors.push(error),
        setStatus: (status) => (span.status = status),
        end: (time) => (span.ms = time - startTime),
      }
    }
    const record = (value, attributes) => durations.push([value, attributes['cache.outcome']])
    const stop = instrument({
      SpanStatusCode: { ERROR: 2 },
      trace: { getTracer: () => ({ startSpan }) },
      metrics: { getMeter: () => ({ createHistogram: () => ({ record }) }) },
    })
    t.after(stop)
    const cache = openCache(t, { name: 'spans' })
    const error = new Error('the origin is away')
    await assert.rejects(
      cache.getOrSet('key', () => Promise.reject(error)),
      error,
    )
    await cache.getOrSet('key', () => 1)
    await cache.get('key')
    stop()
    await cache.get('key')
    const attributes = { 'cache.name': 'spans', 'cache.operation': 'getOrSet', 'cache.tier': 'origin' }
    const [failed, made, ...rest] = spans.map(({ ms, ...span }) => {
      assert.ok(ms >= 0 && ms < 5_000, `${ms} ms`)
      return span
    })
    assert.deepEqual(failed, {
      name: 'cache getOrSet',
      attributes: { ...attributes, 'cache.outcome': 'error' },
      errors: [error],
      status: { code: 2, message: 'the origin is away' },
    })
    assert.deepEqual(made.attributes, { ...attributes, 'cache.outcome': 'loaded' })
    assert.deepEqual(rest, [])
    assert.deepEqual(
      durations.map(([, outcome]) => outcome),
      ['error', 'loaded', 'hit'],
    )
    assert.ok(durations.every(([seconds]) => seconds >= 0 && seconds < 5))
  })
})

test('three hundred requests a second see nothing of a Redis that is killed, restarted, frozen and thawed', async () => {
  const { code, stdout, stderr } = await runProgram(process.execPath, [outage], { timeout: 120_000 })
  assert.equal(code, 0, stdout + stderr)
  // the log of the cache goes to the console; what is not of it would be an accident
  assert.doesNotMatch(stderr, /^\s+at |Warning|Unhandled/m)
})
