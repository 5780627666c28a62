'use strict'

// Running a script in a process of its own, where an exception or a rejection that nobody handles is fatal, and telling
// what it printed and how it ended.

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { performance } = require('node:perf_hooks')

const root = path.join(__dirname, '..', '..')

const folders = []
process.once('exit', () => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})

/** A new folder, removed when this process ends. */
function temporaryFolder(name = 'evenkeel') {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `${name}-`))
  folders.push(folder)
  return folder
}

/**
 * Runs a program and collects what it prints.
 * @returns {Promise<{ code: number | null, signal: string | null, stdout: string, stderr: string, ms: number }>}
 */
function runProgram(command, args, { env = {}, cwd = root, timeout = 60_000, onStart } = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now()
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      timeout,
      killSignal: 'SIGKILL',
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.once('error', reject)
    child.once('close', (code, signal) =>
      resolve({ code, signal, stdout, stderr, ms: performance.now() - started }),
    )
    onStart?.(child)
  })
}

/** Runs a CommonJS source text with Node from the root of the package, where `require('evenkeel')` finds it. */
function runScript(source, { flags = [], ...options } = {}) {
  return runProgram(process.execPath, ['--unhandled-rejections=strict', ...flags, '-e', source], options)
}

module.exports = { root, runProgram, runScript, temporaryFolder }
