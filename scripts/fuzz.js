'use strict'

// `npm run fuzz -- --seconds N [target …]`: each target of fuzz/ for so long, from the committed corpus on. What is found on
// the way stays in fuzz/found (ignored by git), what makes a target fail in fuzz/artifacts: fix it, and add it to the corpus.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { env, has, root, run } = require('./run.js')

const FOLDER = path.join(root, 'fuzz')
const TARGETS = fs
  .readdirSync(path.join(FOLDER, 'fuzz_targets'))
  .map((name) => path.basename(name, '.rs'))
  .toSorted()
/** Where cargo-fuzz is put if it is not there. */
const TOOLS = path.join(root, 'target', 'tools')
/** The longest input: more is slower and no different. */
const MAX_BYTES = 4_096
/** Characters of a failed target's output. */
const SHOWN = 5_000

async function ensureCargoFuzz() {
  env.PATH = [env.PATH, path.join(TOOLS, 'bin')].join(path.delimiter)
  if (has('cargo-fuzz')) return
  const { code } = await run('cargo', ['install', 'cargo-fuzz', '--locked', '--root', TOOLS])
  if (code !== 0) throw new Error('Fuzzing needs cargo-fuzz: cargo install cargo-fuzz')
}

/** Runs one target. Without a sanitizer, so that the stable tool chain will do: the code that it reaches is safe Rust. */
function fuzz(target, seconds) {
  const found = path.join(FOLDER, 'found', target)
  fs.mkdirSync(found, { recursive: true })
  const corpora = [found, path.join(FOLDER, 'corpus', target)]
  const limits = [`-max_total_time=${seconds}`, `-max_len=${MAX_BYTES}`, '-timeout=10', '-verbosity=0']
  const words = ['fuzz', 'run', target, '--sanitizer', 'none', ...corpora, '--', ...limits]
  // What libFuzzer says of its progress fills pages: it is shown when the target failed.
  const { status, stderr } = spawnSync('cargo', words, { cwd: FOLDER, env, encoding: 'utf8' })
  if (status !== 0) console.error(stderr.slice(-SHOWN))
  return status === 0
}

/** How many of the targets hold for so many seconds each, and how many do not. */
async function fuzzAll(targets, seconds) {
  await ensureCargoFuzz()
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const target of targets) {
    const holds = fuzz(target, seconds)
    console.log(`${target} ${holds ? 'holds' : 'FAILS'}`)
    counts[holds ? 'passed' : 'failed'] += 1
  }
  return counts
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: 'string', default: '60' } },
    allowPositionals: true,
  })
  const unknown = positionals.filter((name) => !TARGETS.includes(name))
  if (unknown.length > 0) throw new Error(`No such target: ${unknown}. There are ${TARGETS}`)
  const { failed } = await fuzzAll(positionals.length > 0 ? positionals : TARGETS, Number(values.seconds))
  process.exitCode = failed > 0 ? 1 : 0
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error.message)
    process.exitCode = 1
  })
}

module.exports = { fuzz: (seconds) => fuzzAll(TARGETS, seconds) }
