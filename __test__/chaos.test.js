'use strict'

// `npm run chaos` itself, for evenkeel and in seconds: that it runs, that what it writes is complete, and that no request
// fails. How fast the answers are is for the whole run with `--check`, on a machine that does nothing else.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { before, describe, test } = require('node:test')
const { root, runProgram, temporaryFolder } = require('./support/child.js')

const SECONDS = { healthy: 0.5, frozen: 1.5, thawed: 0.5, killed: 1, restarted: 2 }
const program = path.join(root, 'benchmark', 'chaos.js')

describe('the chaos benchmark', () => {
  const files = { json: '', svg: '' }
  let report

  before(async () => {
    const folder = temporaryFolder('evenkeel-chaos')
    for (const kind of Object.keys(files)) files[kind] = path.join(folder, `chaos.${kind}`)
    const lengths = Object.entries(SECONDS).flatMap(([name, seconds]) => [`--${name}`, String(seconds)])
    const words = [program, '--only', 'evenkeel', ...lengths, '--json', files.json, '--svg', files.svg]
    const { code, stdout, stderr } = await runProgram(process.execPath, words)
    assert.equal(stderr, '')
    assert.equal(code, 0, stdout)
    report = JSON.parse(fs.readFileSync(files.json, 'utf8'))
  })

  test('finds no request of evenkeel that fails, is wrong, stays open or lets an error escape', () => {
    for (const [name, { calls, done, ...figures }] of Object.entries(report.contenders.evenkeel.phases)) {
      const { failed, wrong, pending, unhandled } = figures
      assert.deepEqual(
        { name, failed, wrong, pending, unhandled },
        { name, failed: 0, wrong: 0, pending: 0, unhandled: 0 },
      )
      assert.equal(done, calls, name)
      assert.ok(calls > 0, name)
    }
    assert.deepEqual(report.contenders.evenkeel.errors, [])
  })

  test('writes every figure of every phase', () => {
    assert.deepEqual(report.seconds, SECONDS)
    const { phases, timeline } = report.contenders.evenkeel
    assert.deepEqual(Object.keys(phases), Object.keys(SECONDS))
    const figures = ['p50', 'p99', 'max', 'origin', 'originPerKey']
    for (const phase of Object.values(phases)) for (const name of figures) assert.ok(phase[name] >= 0, name)
    for (const name of ['p50', 'p99', 'max']) assert.ok(phases.frozen.afterFirstSecond[name] > 0, name)
    for (const name of ['firstReadMs', 'inUseMs']) assert.equal(typeof phases.restarted[name], 'number', name)
    assert.ok(phases.restarted.originPerKeyInUse <= phases.restarted.originPerKey)
    const bucketed = timeline.length * report.bucketMs
    assert.ok(bucketed > 5_500 - report.bucketMs, `${bucketed} ms on the time line`)
  })

  test('draws a line and a label for each phase', () => {
    const svg = fs.readFileSync(files.svg, 'utf8')
    assert.match(svg, /^<svg [^>]*viewBox=/)
    for (const name of ['evenkeel', ...Object.keys(SECONDS)]) assert.ok(svg.includes(`>${name}</text>`), name)
    assert.match(svg, /<path class="c0" d="M[\d.]+ [\d.]+L/)
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/)
  })

  test('names the contenders that there are when it is asked for another', async () => {
    const { code, stderr } = await runProgram(process.execPath, [
      program,
      '--contenders',
      'evenkeel,memcached',
    ])
    assert.equal(code, 1)
    assert.match(stderr, /^No such contender: memcached\. There are: evenkeel, ioredis, tuned ioredis, /)
  })
})
