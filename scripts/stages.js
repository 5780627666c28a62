'use strict'

// What `npm test` runs, in order: the cheap and the static first. A stage is a name and a function that answers how many
// checks passed, failed and were skipped; one that throws has failed.

const fs = require('node:fs')
const path = require('node:path')
const { fuzz } = require('./fuzz.js')
const { instructions } = require('./instructions.js')
const { env, has, root, run } = require('./run.js')
const { RUNTIMES, testRuntimes } = require('./runtimes.js')
const { SERVER_FILES, ensureValkey } = require('./servers.js')
const { ensureDependencies, ensurePrograms, requireRust } = require('./setup.js')

const PASSED = { passed: 1, failed: 0, skipped: 0 }
const FAILED = { passed: 0, failed: 1, skipped: 0 }
const GENERATED = ['binding.js', 'binding.d.ts']
/** Set on the machine of whoever runs the tests, these would change what the tests see. */
const CONFUSING = [
  'USE_MEMORY_MODE',
  'EVENKEEL_LOG',
  'NODE_OPTIONS',
  'NODE_EXTRA_CA_CERTS',
  'REDIS_URL',
  'PORT',
]
const FILE_LIMIT_MS = 15 * 60_000
/** For each target: enough to see that the corpus still holds, and a little further. */
const FUZZ_SECONDS = 5

/** A command that is one check: it passes or it fails. */
const check =
  (...command) =>
  async () => {
    const { code } = await run(command[0], command.slice(1))
    return code === 0 ? PASSED : FAILED
  }

/** The sum of what `pattern` finds in `output`; its groups are passed, failed and skipped. */
function counted(output, pattern) {
  const sum = { passed: 0, failed: 0, skipped: 0 }
  for (const { groups } of output.matchAll(pattern)) {
    for (const key of Object.keys(sum)) sum[key] += Number(groups[key] ?? 0)
  }
  return sum
}

/** A test runner that fails without naming a failed test (it did not compile, it crashed) counts as one failure. */
function verdict(code, counts) {
  const ran = counts.passed + counts.failed > 0
  return code === 0 && ran ? counts : { ...counts, failed: Math.max(counts.failed, 1) }
}

const NEXTEST =
  /tests? run: (?<passed>\d+) passed(?: \([^)]*\))?(?:, (?<failed>\d+) failed)?(?:, \d+ timed out)?(?:, (?<skipped>\d+) skipped)?/g
const CARGO_TEST = /test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed; (?<skipped>\d+) ignored/g

async function rustTests() {
  const nextest = has('cargo', ['nextest', '--version'])
  const words = nextest ? ['nextest', 'run', '--no-fail-fast'] : ['test', '--no-fail-fast']
  const { code, output } = await run('cargo', [...words, '--locked'])
  return verdict(code, counted(output, nextest ? NEXTEST : CARGO_TEST))
}

function contents(name) {
  const file = path.join(root, name)
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
}

/** Two checks: the addon builds, and the files that the build writes are the ones that are committed. */
async function build() {
  const before = GENERATED.map(contents)
  const { code } = await run('npm', ['run', 'build'])
  if (code !== 0) return FAILED
  const stale = GENERATED.filter((name, index) => contents(name) !== before[index])
  for (const name of stale) console.error(`${name} was not current: commit what the build has written now`)
  return stale.length === 0 ? { ...PASSED, passed: 2 } : { ...PASSED, failed: 1 }
}

function testFiles(folder = path.join(root, '__test__')) {
  const found = fs.readdirSync(folder, { recursive: true }).map((name) => path.join(folder, name))
  return found.filter((name) => name.endsWith('.test.js') && !name.includes('node_modules')).toSorted()
}

/** The environment without what would change what the tests see. */
function cleanEnvironment() {
  const clean = { ...env }
  for (const name of CONFUSING) delete clean[name]
  return clean
}

async function runFiles(files, env) {
  // One file at a time: several measure time, and each starts servers of its own.
  const flags = ['--test', '--test-reporter=spec', '--test-concurrency=1', `--test-timeout=${FILE_LIMIT_MS}`]
  const { code, output } = await run(process.execPath, [...flags, ...files], { env, shell: false })
  const counts = counted(output, /^ℹ (?:pass (?<passed>\d+)|fail (?<failed>\d+)|skipped (?<skipped>\d+))$/gm)
  return verdict(code, counts)
}

async function nodeTests() {
  // Jest, one of the runners that are tested, is there too.
  await ensureDependencies(RUNTIMES)
  return runFiles(testFiles(), cleanEnvironment())
}

async function serverTests() {
  const EVENKEEL_TEST_SERVER = await ensureValkey()
  return runFiles(SERVER_FILES, { ...cleanEnvironment(), EVENKEEL_TEST_SERVER })
}

async function setUp() {
  await ensureDependencies()
  await ensurePrograms()
  requireRust()
  return PASSED
}

const STAGES = [
  ['set-up', setUp],
  ['packages', check(process.execPath, 'scripts/platforms.js', '--check')],
  ['prettier', check('prettier', '--check', '--log-level=warn', '.')],
  ['oxlint', check('oxlint', '--deny-warnings', '.')],
  ['rustfmt', check('cargo', 'fmt', '--check')],
  ['clippy', check('cargo', 'clippy', '--locked', '--all-targets', '--', '-D', 'warnings')],
  ['rust', rustTests],
  ['instructions', () => instructions()],
  ['build', build],
  ['types', check('npm', 'run', 'types')],
  ['publint', check('publint', '--strict')],
  ['node', nodeTests],
  ['servers', serverTests],
  ['runtimes', () => testRuntimes(cleanEnvironment())],
  ['fuzz', () => fuzz(FUZZ_SECONDS)],
]

module.exports = { FAILED, STAGES }
