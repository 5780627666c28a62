'use strict'

// `npm run bench`: the addon and the peers it is compared with, then benchmark/run.js with the arguments given.

const path = require('node:path')
const { ensureBuilt, ensureDependencies, ensurePrograms } = require('./setup.js')
const { root, run } = require('./run.js')

async function main() {
  await ensureDependencies()
  await ensurePrograms()
  await ensureBuilt()
  const folder = path.join(root, 'benchmark')
  const { code } = await run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder })
  if (code !== 0) throw new Error('npm ci failed in benchmark/')
  const options = { cwd: folder, stdio: 'inherit', shell: false }
  process.exitCode = (await run(process.execPath, ['run.js', ...process.argv.slice(2)], options)).code
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
