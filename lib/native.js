'use strict'
/** Finding and loading the addon. What it does is in binding.js and boundary.d.ts. */
const path = require('node:path')
const { CacheError } = require('./errors.js')

/** @typedef {import('./boundary').Binding} Binding */

/** The platform as the packages of the binaries name it. */
function platform() {
  const { platform: system, arch } = process
  if (system === 'win32') return `${system}-${arch}-msvc`
  return system === 'linux' ? `${system}-${arch}-${isMusl() ? 'musl' : 'gnu'}` : `${system}-${arch}`
}

function isMusl() {
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (
    process.report?.getReport() ?? {}
  )
  return report.header?.glibcVersionRuntime === undefined
}

/** @returns {Binding} */
function load() {
  const named = process.env['EVENKEEL_BINARY']
  try {
    // A variable, so that bundlers and the type checker leave both alone.
    return require(named ? path.resolve(named) : '../binding.js')
  } catch (cause) {
    throw new CacheError(
      'ERR_CACHE_PLATFORM',
      named ? `EVENKEEL_BINARY names a file that cannot be loaded: ${named}` : absent(),
      { cause },
    )
  }
}

function absent() {
  const name = platform()
  return (
    `There is no evenkeel binary for ${name}. Where one is published it is the package @evenkeel/binding-${name}, which npm ` +
    'leaves out with --omit=optional or a lockfile made on another platform: npm install --include=optional evenkeel. ' +
    'To build one from source: clone the repository, run npm ci and npm run build there (it needs Rust), and name the ' +
    '.node file in EVENKEEL_BINARY'
  )
}

module.exports = load()
