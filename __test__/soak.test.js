'use strict'

// A short soak, so that the long one (`npm run soak`) is known to work.

const assert = require('node:assert/strict')
const path = require('node:path')
const { test } = require('node:test')
const { runProgram } = require('./support/child.js')
const { ownSeed } = require('./support/random.js')

const MINUTES = 0.4

test('processes that share keys lose nothing while one fault after the other happens', async (t) => {
  const seed = ownSeed()
  t.diagnostic(`seed ${seed}`)
  const words = [path.join(__dirname, 'soak', 'run.js'), '--minutes', `${MINUTES}`, '--seed', `${seed}`]
  const { code, stdout, stderr } = await runProgram(process.execPath, words, { timeout: 240_000 })
  assert.deepEqual([code, stderr], [0, ''], stdout)
  assert.match(stdout, /Nothing was lost\.\n$/)
})
