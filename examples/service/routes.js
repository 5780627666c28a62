'use strict'

// GET, PUT and DELETE of /products/:id and GET of /products?name= over the cache, and the two routes for
// operators.

const { healthHandler } = require('evenkeel/http')

/**
 * @typedef {object} Shop
 * @property {import('evenkeel').Cache} cache
 * @property {import('evenkeel').CacheView} products the part of the cache with the products, by their ids
 * @property {typeof import('./origin.js')} origin
 */

const TTL = 60_000
const MAX_BODY = 64 * 1024

/**
 * How entries are kept: when the origin fails, what it gave up to an hour ago is better than nothing. No
 * jitter: so that the age alone tells a stale answer.
 */
const ENTRY = { ttl: TTL, staleFor: 3_600_000, jitter: 0 }
/** How they are loaded: if there is something stale, nobody waits longer than this for the origin. */
const LOAD = { ...ENTRY, factorySoftTimeout: 500 }
/** What every search carries: a change of any product may change what any search finds. */
const SEARCHES = 'searches'

/**
 * What is cached under the key, from the nearest place that has it, and the name of that place.
 * @template {{ readAt: number } | null} T
 * @param {import('evenkeel').CacheView} view
 * @param {string} key
 * @param {() => Promise<T>} make
 * @param {string[]} tags
 */
async function read(view, key, make, tags = []) {
  const inMemory = view.peek(key) !== undefined
  let made = false
  const factory = () => {
    made = true
    return make()
  }
  const value = await view.getOrSet(key, factory, { ...LOAD, tags })
  if (value && Date.now() - value.readAt > TTL) return { value, tier: 'stale' }
  if (made) return { value, tier: 'miss' }
  return { value, tier: inMemory ? 'hit-l1' : 'hit-l2' }
}

/**
 * Called after the origin was changed, so that the next GET reads what was written.
 * @param {Shop} shop
 * @param {string} id
 */
function forget({ cache, products }, id) {
  return Promise.all([products.delete(id), cache.invalidateTags(SEARCHES)])
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

const methods = {
  async GET({ products, origin }, id, req, res) {
    // A product that does not exist is `null`, which is cached like any other value.
    const { value: product, tier } = await read(products, id, () => origin.read(id))
    if (product) send(res, 200, product, { 'x-cache': tier })
    else send(res, 404, { error: `no product ${id}` }, { 'x-cache': tier })
  },
  async PUT(shop, id, req, res) {
    const body = await readBody(req)
    if (!isProduct(body)) {
      send(res, 400, { error: 'Expected JSON like {"name":"Kettle","price":2490,"stock":3}' })
      return
    }
    const { name, price, stock } = body
    await shop.origin.write(id, { name, price, stock })
    await forget(shop, id)
    send(res, 200, { id, name, price, stock })
  },
  async DELETE(shop, id, req, res) {
    const existed = await shop.origin.remove(id)
    await forget(shop, id)
    send(res, existed ? 200 : 404, { id, deleted: existed })
  },
}

async function search({ cache, origin }, name, res) {
  const { value, tier } = await read(cache, `search:${name}`, () => origin.find(name), [SEARCHES])
  send(res, 200, value.products, { 'x-cache': tier })
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
    const [pathname, query] = req.url.split('?')
    if (pathname === '/health') return health(req, res)
    if (pathname === '/metrics') return metrics(req, res)
    const fail = (error) => {
      console.error(error)
      if (!res.headersSent) send(res, 500, { error: 'the origin failed' })
    }
    const name = pathname === '/products' ? (new URLSearchParams(query).get('name') ?? '') : ''
    if (/^[\w ]{1,64}$/.test(name) && req.method === 'GET')
      return search(shop, name.toLowerCase(), res).catch(fail)
    const id = /^\/products\/(\w{1,64})$/.exec(pathname)?.[1]
    const method = Object.hasOwn(methods, req.method) && methods[req.method]
    if (!id) return send(res, 404, { error: 'try /products/7, /products?name=lamp, /health or /metrics' })
    if (!method) return send(res, 405, { error: 'GET, PUT or DELETE' }, { allow: 'GET, PUT, DELETE' })
    return method(shop, id, req, res).catch(fail)
  }
}

module.exports = { ENTRY, routes }
