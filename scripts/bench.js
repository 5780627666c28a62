'use strict'

// `npm run bench`, `npm run chaos` and `npm run rates`: the addon and the peers it is compared with, then the program of
// benchmark/ that is named first, with the arguments that follow.

const path = require('node:path')
const { ensureBuilt, ensureDependencies, ensurePrograms } = require('./setup.js')
const { root, run } = require('./run.js')

async function main() {
  await ensureDependencies()
  await ensurePrograms()
  await ensureBuilt()
  const folder = path.join(root, 'benchmark')
  await ensureDependencies(folder)
  const [program, ...words] = process.argv.slice(2)
  // Files that the arguments name are meant from where the command was typed.
  const options = { cwd: process.env.INIT_CWD ?? root, stdio: 'inherit', shell: false }
  process.exitCode = (await run(process.execPath, [path.join(folder, program), ...words], options)).code
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
