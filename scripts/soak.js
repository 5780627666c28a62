'use strict'

// `npm run soak -- --minutes N`: whatever a fresh clone lacks, then the soak of __test__/soak/run.js, whose options are passed on.

const path = require('node:path')
const { ensureBuilt, ensureDependencies, ensurePrograms } = require('./setup.js')
const { root, run } = require('./run.js')

async function main() {
  await ensureDependencies()
  await ensurePrograms()
  await ensureBuilt()
  const words = [path.join(root, '__test__', 'soak', 'run.js'), ...process.argv.slice(2)]
  process.exitCode = (await run(process.execPath, words, { stdio: 'inherit', shell: false })).code
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
