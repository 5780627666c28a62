'use strict'

// The other runtimes that evenkeel supports beside the Node that runs this: Node's later lines and Bun, as packages of
// `__test__/runtimes`. What depends on the runtime is run on each: beginning, ending, threads, being stopped.

const fs = require('node:fs')
const path = require('node:path')
const { root, run } = require('./run.js')
const { ensureDependencies } = require('./setup.js')

const FOLDER = path.join(root, '__test__', 'runtimes')
const FILES = ['lifecycle', 'workers', 'suspended', 'hand-over'].map((name) =>
  path.join('__test__', `${name}.test.js`),
)
const MODULES = path.join(FOLDER, 'node_modules')

/** What runs a test file, by the name of the runtime; the packages are there on Linux on x64 only. */
const COMMANDS = {
  ...Object.fromEntries(
    [22, 24, 26].map((line) => [
      `Node ${line}`,
      [path.join(MODULES, `node-${line}`, 'bin', 'node'), '--test', '--test-reporter=spec'],
    ]),
  ),
  Bun: [path.join(MODULES, '@oven', 'bun-linux-x64', 'bin', 'bun'), 'test', '--timeout', '600000'],
}

/** One check for each file on each runtime; those that do not exist for this platform are skipped. */
async function testRuntimes(env) {
  await ensureDependencies(FOLDER)
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const [name, [program, ...flags]] of Object.entries(COMMANDS)) {
    for (const file of FILES) {
      if (!fs.existsSync(program)) {
        counts.skipped += 1
        continue
      }
      console.log(`-- ${file} on ${name}`)
      // Bun takes a path for a file only if it begins with a dot.
      const { code } = await run(program, [...flags, `./${file}`], { env, shell: false })
      counts[code === 0 ? 'passed' : 'failed'] += 1
    }
  }
  return counts
}

module.exports = { RUNTIMES: FOLDER, testRuntimes }
