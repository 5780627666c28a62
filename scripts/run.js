'use strict'

// Running other programs from the scripts of this folder: visibly, with what they print kept where it is needed.

const { spawn, spawnSync } = require('node:child_process')
const path = require('node:path')

const root = path.join(__dirname, '..')
/** The programs of the dev dependencies come first, as in an npm script. */
const env = {
  ...process.env,
  PATH: [path.join(root, 'node_modules', '.bin'), process.env.PATH].join(path.delimiter),
}
/** Without a shell Windows finds no npm.cmd. */
const shell = process.platform === 'win32'

/**
 * Runs a command, shows what it prints as it prints it, and keeps it.
 * @returns {Promise<{ code: number, output: string }>} never rejects; a program that cannot be started has code 127
 */
function run(command, args = [], options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env,
      shell,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
    })
    let output = ''
    const keep = (stream) => (chunk) => {
      output += chunk
      stream.write(chunk)
    }
    child.stdout?.on('data', keep(process.stdout))
    child.stderr?.on('data', keep(process.stderr))
    child.once('error', (error) => resolve({ code: 127, output: String(error) }))
    child.once('close', (code, signal) => resolve({ code: signal ? 1 : code, output }))
  })
}

/** Whether a program is there and answers `--version` (or whatever `args` ask). */
function has(command, args = ['--version']) {
  return spawnSync(command, args, { cwd: root, env, shell, stdio: 'ignore' }).status === 0
}

module.exports = { env, has, root, run }
