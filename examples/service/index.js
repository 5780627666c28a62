'use strict'

// `npm start`: a small service with a slow origin behind evenkeel, on PORT (5001). The cache is in
// memory only unless REDIS_URL is set.

const http = require('node:http')
const { Cache } = require('evenkeel')
const { readProduct, routes } = require('./routes.js')

const PORT = Number(process.env.PORT || 5001)
const REDIS_URL = process.env.REDIS_URL || false
const POPULAR = Array.from({ length: 20 }, (_, index) => String(index + 1))

const cache = new Cache({ name: 'products', namespace: 'example', redis: REDIS_URL, logger: console })
const server = http.createServer(routes(cache))

/** Reads the popular products once, so that nobody's first request has to wait for the origin. */
async function warmUp() {
  const answers = await Promise.all(POPULAR.map((id) => readProduct(cache, id)))
  return answers.filter(({ tier }) => tier === 'miss').length
}

function welcome(read) {
  const base = `http://localhost:${server.address().port}`
  const tiers = REDIS_URL ? `memory and Redis (${cache.state})` : 'memory'
  console.log(`evenkeel example on ${base}, cache in ${tiers}`)
  console.log(`${POPULAR.length} products are warm, ${read} of them from the origin. Try:`)
  console.log(`  curl -i ${base}/products/42   twice: x-cache: miss after 80 ms, then hit-l1`)
  console.log(`  curl ${base}/health           and ${base}/metrics`)
  if (REDIS_URL)
    console.log('  kill -STOP $(pgrep redis-server)   freeze Redis, ask on, watch nothing happen')
  else console.log('  REDIS_URL=redis://localhost:6379 npm start   and then freeze or kill that Redis')
}

/** Lets requests that have begun end (5 s at most), then closes the cache; the process ends by itself. */
function shutDown(signal) {
  console.log(`${signal}: shutting down`)
  server.close(async () => {
    await cache.close()
    console.log('closed')
  })
  server.closeIdleConnections()
  setTimeout(() => server.closeAllConnections(), 5_000).unref()
}

server.on('error', (error) => {
  console.error(error.code === 'EADDRINUSE' ? `Port ${PORT} is taken: PORT=5002 npm start` : error.message)
  process.exitCode = 1
  cache.close()
})

async function main() {
  const read = await warmUp()
  server.listen(PORT, () => {
    welcome(read)
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, shutDown)
  })
}

main()
