'use strict'

// `npm run instructions`: how many instructions the operations of benches/instructions.rs take, beside the counts that are
// committed in benches/instructions.json. What differs by more than the limit fails, less as well as more, so that the next
// change is held against what is true. `-- --accept` writes the counts of now.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { env, root, run } = require('./run.js')
const { VALGRIND, ensurePrograms } = require('./setup.js')

const FILE = path.join(root, 'benches', 'instructions.json')
const LIMIT_PERCENT = 5
/** Operations that are counted, after as many that are not. Repeated, their sum is the same within 1 %. */
const OPERATIONS = 1_000
/** Counts what the thread that enters this function does until it leaves it. */
const RUNNER = [
  'valgrind',
  '--tool=callgrind',
  '--toggle-collect=*instructions::counted*',
  '--callgrind-out-file=/dev/null',
]
const BENCH = ['bench', '--locked', '--bench', 'instructions']

function rustc() {
  const { stdout } = spawnSync('rustc', ['--version'], { cwd: root, env, encoding: 'utf8' })
  return stdout.split(' ')[1]
}

/** Instructions of one operation. */
function count(name) {
  const config = `target.'cfg(all())'.runner=${JSON.stringify(RUNNER)}`
  const words = [...BENCH, '--config', config, '--', name, String(OPERATIONS)]
  const { stderr } = spawnSync('cargo', words, { cwd: root, env, encoding: 'utf8' })
  const counted = /Collected : ([1-9]\d*)/.exec(stderr)
  if (!counted) throw new Error(`${stderr}\nNothing was counted for ${name}`)
  return Math.round(Number(counted[1]) / OPERATIONS)
}

async function countAll(names) {
  await ensurePrograms(VALGRIND)
  const { code } = await run('cargo', [...BENCH, '--no-run'])
  if (code !== 0) throw new Error('benches/instructions.rs was not built')
  return Object.fromEntries(names.map((name) => [name, count(name)]))
}

/** Shows old, new and difference of each; those that differ by more than the limit. */
function changedOf(before, now) {
  return Object.keys(now).filter((name) => {
    const percent = (now[name] / before[name] - 1) * 100
    const sign = percent < 0 ? '' : '+'
    console.log(
      `${name.padEnd(6)} was ${before[name]}, is ${now[name]} instructions: ${sign}${percent.toFixed(1)} %`,
    )
    return Math.abs(percent) > LIMIT_PERCENT
  })
}

/** How many of the counts hold and how many do not. Those of another compiler are its change, not that of who runs this. */
async function instructions({ accept = false } = {}) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  const committed = JSON.parse(fs.readFileSync(FILE, 'utf8'))
  const names = Object.keys(committed.instructions)
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    console.log('Skipped: instructions are counted with valgrind on Linux on x64')
    return { ...counts, skipped: names.length }
  }
  const compiler = rustc()
  const now = await countAll(names)
  const changed = changedOf(committed.instructions, now)
  if (accept) {
    fs.writeFileSync(FILE, `${JSON.stringify({ rustc: compiler, instructions: now }, null, 2)}\n`)
    return { ...counts, passed: names.length }
  }
  counts.passed = names.length - changed.length
  if (changed.length === 0) return counts
  const isOther = compiler !== committed.rustc
  counts[isOther ? 'skipped' : 'failed'] = changed.length
  if (isOther) console.log(`Skipped: rustc ${committed.rustc} counted what is committed, this is ${compiler}`)
  console.log(
    `More than ${LIMIT_PERCENT} %: ${changed}. If that is meant: npm run instructions -- --accept, and commit ${path.relative(root, FILE)}`,
  )
  return counts
}

async function main() {
  const { values } = parseArgs({ options: { accept: { type: 'boolean', default: false } } })
  const { failed } = await instructions(values)
  process.exitCode = failed > 0 ? 1 : 0
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error.message)
    process.exitCode = 1
  })
}

module.exports = { instructions }
