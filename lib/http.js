'use strict'
/**
 * `evenkeel/http`: plain `(req, res)` handlers for node:http and whatever is built on it. They answer GET and HEAD,
 * decide nothing about health or figures, and never throw.
 */
const { metricsOf } = require('./cache.js')

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */
/** @typedef {{ status: number, type: string, body: string }} Page */

const JSON_TYPE = 'application/json; charset=utf-8'

/**
 * @param {(req: Request) => Page} page
 * @returns {(req: Request, res: Response) => void}
 */
function handler(page) {
  return (req, res) => {
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.writeHead(405, { allow: 'GET, HEAD' }).end()
      return
    }
    const { status, type, body } = safely(page, req)
    res.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    })
    res.end(req.method === 'HEAD' ? undefined : body)
  }
}

/**
 * @param {(req: Request) => Page} page
 * @param {Request} req
 * @returns {Page}
 */
function safely(page, req) {
  try {
    return page(req)
  } catch (error) {
    return {
      status: 500,
      type: JSON_TYPE,
      body: JSON.stringify({ error: String(Object(error).message ?? error) }),
    }
  }
}

/** `?strict`, unless it says no. @param {Request} req */
function isStrict(req) {
  const value = new URLSearchParams((req.url ?? '').split('?')[1] ?? '').get('strict')
  return value !== null && value !== 'false' && value !== '0'
}

/**
 * `health()` as JSON: 200 while the cache serves, 503 once it is closed; with `?strict` 503 also while degraded.
 * @param {import('../index.js').CacheView<any>} cache
 */
function healthHandler(cache) {
  return handler((req) => {
    const health = cache.health()
    const bad = health.status === 'closed' || (health.status === 'degraded' && isStrict(req))
    return { status: bad ? 503 : 200, type: JSON_TYPE, body: JSON.stringify(health) }
  })
}

/**
 * The metrics of all the caches in one page.
 * @param {...import('../index.js').CacheView<any>} caches
 */
function metricsHandler(...caches) {
  return handler(() => ({ status: 200, type: metricsOf.contentType, body: metricsOf(...caches) }))
}

exports.healthHandler = healthHandler
exports.metricsHandler = metricsHandler
