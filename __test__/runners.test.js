'use strict'

// The test runners of users: their processes end by themselves though a cache was left open. Jest stands in a package of its
// own, `__test__/runtimes`, which `npm test` installs.

const assert = require('node:assert/strict')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { root, runProgram } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')

const RUNTIMES = path.join(__dirname, 'runtimes')
const FIXTURES = path.join(__dirname, 'fixtures')
/** Far above what they take: a runner that hangs is what is looked for. */
const TIMEOUT_MS = 60_000

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** The answer of a runner that is not told that it runs within another one. */
function run(words, cwd) {
  const env = { REDIS_URL: server.url, NODE_TEST_CONTEXT: undefined }
  return runProgram(process.execPath, words, { cwd, timeout: TIMEOUT_MS, env })
}

test('node --test ends with a cache that was left open', async () => {
  const words = ['--test', '--test-reporter=tap', path.join(FIXTURES, 'service.runner.js')]
  const { code, stdout } = await run(words, root)
  assert.deepEqual([code, /^# pass (\d+)$/m.exec(stdout)?.[1]], [0, '1'], stdout)
})

test('Jest finds no open handle, and modules may be loaded anew', async () => {
  const jest = path.join(RUNTIMES, 'node_modules', 'jest', 'bin', 'jest.js')
  const config = { rootDir: FIXTURES, testMatch: ['**/*.jest.js'], moduleNameMapper: { '^evenkeel$': root } }
  const { code, stderr } = await run(
    [jest, '--detectOpenHandles', '--config', JSON.stringify(config)],
    RUNTIMES,
  )
  assert.equal(code, 0, stderr)
  assert.match(stderr, /Tests: +3 passed/)
  assert.doesNotMatch(stderr, /open handle|did not exit/)
})
