'use strict'

// GET, PUT and DELETE of /products/:id over the cache, and the two routes for operators.

const { healthHandler } = require('evenkeel/http')

/** @typedef {{ cache: import('evenkeel').Cache, origin: typeof import('./origin.js') }} Shop */

const TTL = 60_000
const MAX_BODY = 64 * 1024

const keyOf = (id) => `product:${id}`

/**
 * The product, from the nearest place that has it, and the name of that place. A product that does
 * not exist is `null`, which is cached like any other value.
 * @param {Shop} shop
 * @param {string} id
 */
async function readProduct({ cache, origin }, id) {
  const key = keyOf(id)
  const inMemory = cache.peek(key) !== undefined
  let made = false
  const product = await cache.getOrSet(
    key,
    () => {
      made = true
      return origin.read(id)
    },
    { ttl: TTL, jitter: 0 }, // no jitter: so that the age alone tells a stale answer
  )
  if (product && Date.now() - product.readAt > TTL) return { product, tier: 'stale' }
  if (made) return { product, tier: 'miss' }
  return { product, tier: inMemory ? 'hit-l1' : 'hit-l2' }
}

function send(res, status, body, headers = {}) {
  res.writeHead(status, { 'content-type': 'application/json', ...headers })
  res.end(`${JSON.stringify(body)}\n`)
}

/** @returns {Promise<unknown>} the JSON body, or undefined when it is none or too large */
async function readBody(req) {
  const chunks = []
  let size = 0
  for await (const chunk of req) {
    size += chunk.length
    if (size <= MAX_BODY) chunks.push(chunk)
  }
  if (size > MAX_BODY) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    return undefined
  }
}

const isProduct = (body) =>
  typeof body?.name === 'string' && Number.isSafeInteger(body.price) && Number.isSafeInteger(body.stock)

const products = {
  async GET(shop, id, req, res) {
    const { product, tier } = await readProduct(shop, id)
    if (product) send(res, 200, product, { 'x-cache': tier })
    else send(res, 404, { error: `no product ${id}` }, { 'x-cache': tier })
  },
  async PUT({ cache, origin }, id, req, res) {
    const body = await readBody(req)
    if (!isProduct(body)) {
      send(res, 400, { error: 'Expected JSON like {"name":"Kettle","price":2490,"stock":3}' })
      return
    }
    const { name, price, stock } = body
    await origin.write(id, { name, price, stock })
    await cache.delete(keyOf(id)) // after the origin: the next GET reads what was written
    send(res, 200, { id, name, price, stock })
  },
  async DELETE({ cache, origin }, id, req, res) {
    const existed = await origin.remove(id)
    await cache.delete(keyOf(id))
    send(res, existed ? 200 : 404, { id, deleted: existed })
  },
}

/**
 * The whole service as one handler; `metrics` is the one for `/metrics`.
 * @param {Shop} shop
 * @param {import('node:http').RequestListener} metrics
 * @returns {import('node:http').RequestListener}
 */
function routes(shop, metrics) {
  const health = healthHandler(shop.cache)
  return (req, res) => {
    const [pathname] = req.url.split('?')
    if (pathname === '/health') return health(req, res)
    if (pathname === '/metrics') return metrics(req, res)
    const id = /^\/products\/(\w{1,64})$/.exec(pathname)?.[1]
    const method = Object.hasOwn(products, req.method) && products[req.method]
    if (!id) return send(res, 404, { error: 'try /products/7, /health or /metrics' })
    if (!method) return send(res, 405, { error: 'GET, PUT or DELETE' }, { allow: 'GET, PUT, DELETE' })
    return method(shop, id, req, res).catch((error) => {
      console.error(error)
      if (!res.headersSent) send(res, 500, { error: 'the origin failed' })
    })
  }
}

module.exports = { routes, readProduct }
