'use strict'

// `npm run chaos`: the addon and the peers it is compared with, then benchmark/chaos.js with the arguments given.

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
  // Files that the arguments name are meant from where the command was typed.
  const options = { cwd: process.env.INIT_CWD ?? root, stdio: 'inherit', shell: false }
  const words = [path.join(folder, 'chaos.js'), ...process.argv.slice(2)]
  process.exitCode = (await run(process.execPath, words, options)).code
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
