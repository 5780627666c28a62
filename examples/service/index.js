'use strict'

// `npm start`: a small service with a slow origin behind evenkeel, on PORT (5001). The cache is in
// memory only unless REDIS_URL is set. `npm start -- --cluster` runs it in four processes,
// `--cluster=2` in two.

const PROCESSES = 4

/** @returns {number | undefined} how many processes the words of the command line ask for */
function processesIn(words) {
  const flag = words.findLast((word) => /^--cluster(=|$)/.test(word))
  if (!flag) return undefined
  const [, count = String(PROCESSES)] = flag.split('=')
  if (!/^[1-9]\d?$/.test(count)) throw new Error(`Expected --cluster=N with N from 1 to 99, got ${flag}`)
  return Number(count)
}

function welcome({ port, warm, read }, { isShared, state }) {
  const base = `http://localhost:${port}`
  const tiers = isShared ? `memory and Redis (${state})` : 'memory'
  console.log(`evenkeel example on ${base}, cache in ${tiers}`)
  console.log(`${warm} products are warm, ${read} of them from the origin. Try:`)
  console.log(`  curl -i ${base}/products/42   twice: x-cache: miss after 80 ms, then hit-l1`)
  console.log(`  curl -i '${base}/products?name=lamp'   again after a PUT or DELETE of any product: a miss`)
  console.log(`  curl ${base}/health           and ${base}/metrics`)
  if (isShared) console.log('  kill -STOP $(pgrep redis-server)   freeze Redis, ask on, watch nothing happen')
  else console.log('  REDIS_URL=redis://localhost:6379 npm start   and then freeze or kill that Redis')
}

async function serve() {
  const { createService, isShared } = require('./service.js')
  const service = createService({ origin: require('./origin.js') })
  async function shutDown(signal) {
    console.log(`${signal}: shutting down`)
    await service.close()
    console.log('closed')
  }
  try {
    welcome(await service.start(), { isShared, state: service.cache.state })
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, shutDown)
  } catch {
    process.exitCode = 1 // the server has said why
    await service.close()
  }
}

async function main() {
  const processes = processesIn(process.argv.slice(2))
  if (processes === undefined) await serve()
  else require('./cluster/primary.js').startCluster(processes)
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
