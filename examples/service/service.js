'use strict'

// The service of one process: a cache, an HTTP server on PORT (5001) over it, and the orderly end of
// both. The cache is in memory only unless REDIS_URL is set.

const { once } = require('node:events')
const http = require('node:http')
const { Cache } = require('evenkeel')
const { metricsHandler } = require('evenkeel/http')
const { ENTRY, routes } = require('./routes.js')

const PORT = Number(process.env.PORT || 5001)
const REDIS_URL = process.env.REDIS_URL || false
const POPULAR = Array.from({ length: 20 }, (_, index) => String(index + 1))

/**
 * A service that does not listen yet. `origin` has `read`, `find`, `write` and `remove`, as origin.js;
 * `metrics` answers `/metrics` (default: the figures of this cache).
 * @param {{ origin: typeof import('./origin.js'), metrics?: import('node:http').RequestListener }} parts
 */
function createService({ origin, metrics }) {
  const cache = new Cache({ name: 'products', namespace: 'example', redis: REDIS_URL, logger: console })
  const products = cache.namespaced('product')
  const shop = { cache, products, origin }
  const server = http.createServer(routes(shop, metrics ?? metricsHandler(cache)))
  let closed

  server.on('error', (error) => {
    console.error(error.code === 'EADDRINUSE' ? `Port ${PORT} is taken: PORT=5002 npm start` : error.message)
  })

  /** Brings the popular products, so that nobody's first request has to wait for the origin. */
  function warmUp() {
    const load = (ids) => Promise.all(ids.map((id) => origin.read(id)))
    return products.warm(POPULAR, { ...ENTRY, load })
  }

  /** @returns {Promise<{ port: number, warm: number, read: number }>} rejects when it cannot listen */
  async function start() {
    const { done, skipped } = await warmUp()
    if (closed) throw new Error('Closed before it listened')
    await once(server.listen(PORT), 'listening')
    return { port: server.address().port, warm: done + skipped, read: done }
  }

  async function end() {
    const timer = setTimeout(() => server.closeAllConnections(), 5_000).unref()
    await new Promise((resolve) => {
      server.close(resolve)
      server.closeIdleConnections()
    })
    clearTimeout(timer)
    await cache.close()
  }

  return {
    cache,
    server,
    start,
    /** Lets requests that have begun end (5 s at most), then closes the cache; the process ends by itself. */
    close: () => (closed ??= end()),
  }
}

module.exports = { createService, isShared: Boolean(REDIS_URL) }
