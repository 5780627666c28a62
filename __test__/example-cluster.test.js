'use strict'

// The example service as a cluster of processes: one port, one `/metrics` that adds up, and no process that is missed.

const assert = require('node:assert/strict')
const http = require('node:http')
const { describe, test } = require('node:test')
const { mergePages } = require('../examples/service/cluster/metrics.js')
const { runProgram } = require('./support/child.js')
const { keyOf, parseExposition, sumOf } = require('./support/exposition.js')
const { startRedis } = require('./support/redis.js')
const { serve, service } = require('./support/service.js')
const { timed, until } = require('./support/wait.js')

const WORKERS = ['1', '2', '3', '4']
/** What every worker reads when it starts. */
const WARM = 20

async function clustered(t, visit) {
  const server = await startRedis()
  t.after(() => server.stop())
  const env = { REDIS_URL: server.url }
  await serve({ words: ['--cluster'], env, children: 4 }, visit)
}

/** One answer of each worker. */
async function ofEach(ask, where) {
  const answers = new Map()
  await until(async () => {
    const answer = await ask(where)
    answers.set(answer.worker, answer)
    return answers.size === WORKERS.length
  })
  return [...answers.values()]
}

const lookups = (samples) => sumOf(samples, 'cache_l1_hits_total') + sumOf(samples, 'cache_l1_misses_total')
const seriesOf = (samples) => samples.map((sample) => keyOf(sample)).toSorted()

describe('four processes on one port', () => {
  test('whichever is asked for the metrics, they add up to what was done', (t) =>
    clustered(t, async ({ ask, scrape }) => {
      const before = await scrape()
      assert.equal(lookups(before), WORKERS.length * WARM)
      const tiers = { 'hit-l1': 0, 'hit-l2': 0, miss: 0 }
      const answered = new Set()
      for (let number = 0; number < 300; number += 1) {
        const { status, tier, worker } = await ask(`/products/${1 + (number % 25)}`)
        assert.equal(status, 200)
        tiers[tier] += 1
        answered.add(worker)
      }
      assert.deepEqual([...answered].toSorted(), WORKERS)

      const pages = []
      for (let number = 0; number < 2 * WORKERS.length; number += 1) pages.push(await ask('/metrics'))
      assert.deepEqual([...new Set(pages.map(({ worker }) => worker))].toSorted(), WORKERS)
      for (const { text } of pages) {
        const samples = parseExposition(text)
        const done = (...of) => sumOf(samples, ...of) - sumOf(before, ...of)
        assert.equal(lookups(samples), WORKERS.length * WARM + 300)
        assert.equal(done('cache_l1_hits_total'), tiers['hit-l1'])
        assert.equal(done('cache_l2_hits_total'), tiers['hit-l2'])
        assert.equal(done('cache_loads_total', { result: 'ok' }), tiers.miss)
        assert.equal(done('cache_load_duration_seconds_count'), tiers.miss)
        assert.equal(done('cache_load_duration_seconds_bucket', { le: '+Inf' }), tiers.miss)
        assert.equal(sumOf(samples, 'example_worker_up'), WORKERS.length)
        for (const worker of WORKERS) sumOf(samples, 'cache_info', { worker, mode: 'tiered' })
      }
    }))

  test('what one of them is told to change, all others answer', (t) =>
    clustered(t, async ({ ask, scrape }) => {
      await until(async () => (await ofEach(ask, '/products/50')).every(({ tier }) => tier === 'hit-l1'))
      const body = JSON.stringify({ name: 'changed', price: 1, stock: 1 })
      assert.equal((await ask('/products/50', { method: 'PUT', body })).status, 200)
      const isChanged = ({ text }) => JSON.parse(text).name === 'changed'
      await until(async () => (await ofEach(ask, '/products/50')).every(isChanged), { timeout: 2_000 })
      assert.ok((await ofEach(ask, '/products/50')).every(isChanged))
      assert.ok(sumOf(await scrape(), 'cache_invalidations_total', { source: 'remote' }) >= 3)
    }))

  test('one that is killed is replaced, no request fails for it, and its series go on from 0', (t) =>
    clustered(t, async ({ ask, scrape, pids, printed }) => {
      for (let number = 0; number < 100; number += 1) await ask('/products/1')
      const before = await scrape()
      process.kill(pids()[1], 'SIGKILL')
      await until(() => printed().includes('worker 2 (process'))
      const failed = []
      const answer = () => ask('/products/1').catch((error) => ({ status: error.message }))
      await until(async () => {
        const { status, worker } = await answer()
        if (status !== 200) failed.push(status)
        return worker === '2'
      })
      assert.deepEqual(failed, [])
      assert.equal(pids().length, 5)
      const after = await scrape()
      assert.deepEqual(seriesOf(after), seriesOf(before))
      const hits = (samples) => sumOf(samples, 'cache_l1_hits_total', { worker: '2' })
      assert.deepEqual([hits(before) >= 20, hits(after) < 20], [true, true])
    }))

  test('one that hangs does not hold up a scrape, which says that it is missing', (t) =>
    clustered(t, async ({ scrape, ask, pids }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      t.after(() => agent.destroy())
      const { worker } = await ask('/health', { agent })
      const hung = WORKERS.find((other) => other !== worker)
      process.kill(pids()[hung - 1], 'SIGSTOP')
      const { value: samples, ms } = await timed(() => scrape({ agent }))
      process.kill(pids()[hung - 1], 'SIGCONT')
      assert.ok(ms < 2_000, `${ms} ms`)
      const missing = WORKERS.filter((one) => sumOf(samples, 'example_worker_up', { worker: one }) === 0)
      assert.deepEqual(missing, [hung])
      const seen = samples.filter(({ name }) => name === 'cache_info').map(({ labels }) => labels.worker)
      assert.deepEqual(
        seen,
        WORKERS.filter((one) => one !== hung),
      )
      await until(async () => sumOf(await scrape({ agent }), 'example_worker_up') === WORKERS.length)
    }))
})

test('--cluster=2 are two; without Redis they say that their memories differ', () =>
  serve({ words: ['--cluster=2'], env: {}, children: 2 }, async ({ scrape, printed }) => {
    assert.match(
      printed(),
      /2 processes, each with a cache in memory\n.*no process hears of what another one changed/,
    )
    assert.equal(sumOf(await scrape(), 'example_worker_up'), 2)
  }))

test('without --cluster there is one process, and no worker in its answers', () =>
  serve({ words: [], env: {}, children: 0 }, async ({ ask, scrape }) => {
    assert.equal((await ask('/products/1')).worker, undefined)
    const samples = await scrape()
    assert.equal(lookups(samples), WARM + 1)
    assert.ok(samples.every(({ labels }) => !('worker' in labels)))
  }))

test('a cluster that cannot start once gives up and says why', async () => {
  const taken = http.createServer().listen(0)
  const env = { PORT: String(taken.address().port) }
  const { code, stderr } = await runProgram(process.execPath, [service, '--cluster'], { env })
  taken.close()
  assert.equal(code, 1)
  assert.match(stderr, /^Port \d+ is taken: .*\n$/)
  const refused = await runProgram(process.execPath, [service, '--cluster=none'])
  assert.deepEqual(
    [refused.code, refused.stderr],
    [1, 'Expected --cluster=N with N from 1 to 99, got --cluster=none\n'],
  )
})

test('pages are merged whatever their families and labels are', () => {
  const one = '# HELP a A\n# TYPE a gauge\na 1\n# HELP b B\n# TYPE b counter\nb{c="x} y"} 2\n'
  const two = '# HELP b Another text\n# TYPE b counter\nb{c="x} y"} NaN\n'
  const merged = mergePages([
    [1, one],
    [2, two],
    [3, null],
  ])
  const samples = parseExposition(merged)
  assert.equal(sumOf(samples, 'example_worker_up'), 2)
  assert.match(
    merged,
    /^a\{worker="1"\} 1\n# HELP b B\n# TYPE b counter\nb\{worker="1",c="x\} y"\} 2\nb\{worker="2",c="x\} y"\} NaN\n$/m,
  )
})
