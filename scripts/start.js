'use strict'

// `npm start`: whatever a fresh clone lacks, then the example service in this same process, so that SIGTERM and SIGINT
// reach it.

const path = require('node:path')
const { ensureBuilt, ensureDependencies } = require('./setup.js')

async function main() {
  await ensureDependencies()
  await ensureBuilt()
  const service = path.join(__dirname, '..', 'examples', 'service', 'index.js')
  process.argv[1] = service
  require(service)
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
