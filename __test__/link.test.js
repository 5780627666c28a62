'use strict'

// How evenkeel connects: every kind of address and login, and what it tells when a server is not what the options say.

const assert = require('node:assert/strict')
const http = require('node:http')
const { once } = require('node:events')
const { after, before, describe, test } = require('node:test')
const { cacheError, openCache, ownNamespace } = require('./support/cache.js')
const { makeCertificates } = require('./support/certs.js')
const { runScript } = require('./support/child.js')
const { freePort, startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const PASSWORD = 'p@ss:w/rd ü%'

/** Asserts that a cache with these `redis` options reaches its server. */
async function works(t, redis, options = {}) {
  const cache = openCache(t, { redis, namespace: ownNamespace(), l1: false, ...options })
  await cache.ready({ timeout: 5_000 })
  await cache.set('key', 'value', { strict: true })
  assert.equal(await cache.get('key', { strict: true }), 'value')
  return cache
}

/** What health() tells of a cache with these options once its first attempt has failed; it serves all the same. */
async function fails(t, redis) {
  const cache = openCache(t, { redis, namespace: ownNamespace() })
  const error = await until(() => cache.health().cache.l2.last_error)
  await cache.set('key', 'value')
  assert.equal(await cache.get('key'), 'value')
  await assert.rejects(cache.ready({ timeout: 100 }), cacheError(/ERR_CACHE_(TIMEOUT|L2_UNAVAILABLE)/))
  await assert.rejects(cache.get('other', { strict: true }), cacheError('ERR_CACHE_L2_UNAVAILABLE'))
  assert.equal(cache.health().status, 'degraded')
  return error
}

describe('plain connections', () => {
  let server
  before(async () => {
    server = await startRedis({ password: PASSWORD, unixsocket: true, databases: 4 })
    await server.command('ACL', 'SETUSER', 'app', 'on', `>${PASSWORD}`, '~*', '&*', '+@all')
  })
  after(() => server.stop())

  test('a URL with a percent-encoded password', (t) => works(t, server.url))

  test('a URL with a user name', (t) =>
    works(t, `redis://app:${encodeURIComponent(PASSWORD)}@127.0.0.1:${server.port}`))

  test('a URL without the default user', (t) =>
    works(t, `redis://default:${encodeURIComponent(PASSWORD)}@localhost:${server.port}`))

  test('options that override the parts of a URL', (t) =>
    works(t, { url: 'redis://:wrong@localhost:1/3', port: server.port, password: PASSWORD, db: 0 }))

  test('an object with host, port, user name and password', (t) =>
    works(t, { host: 'localhost', port: server.port, username: 'app', password: PASSWORD }))

  test('IPv6 and IPv4 by family', async (t) => {
    await works(t, { host: 'localhost', port: server.port, password: PASSWORD, family: 4 })
    await works(t, { host: '::1', port: server.port, password: PASSWORD, family: 6 })
  })

  test('a unix socket', (t) => works(t, { path: server.socket, password: PASSWORD }))

  test('a database number, in the URL and as an option', async (t) => {
    const cache = await works(t, `${server.url}/2`)
    await cache.set('n', 7)
    const raw = await server.connect()
    t.after(() => raw.close())
    await raw.command('SELECT', 2)
    assert.equal((await raw.command('KEYS', '*:n')).length, 1)
    await works(t, { host: '127.0.0.1', port: server.port, password: PASSWORD, db: 3 })
  })

  test('credentials from a function', (t) =>
    works(t, { port: server.port, credentials: async () => ({ username: 'app', password: PASSWORD }) }))

  test('the connection has a name that tells whose it is', async (t) => {
    const named = await works(t, { url: server.url, connectionName: 'orders' })
    await until(async () => (await server.clients()).includes('orders'))
    const cache = await works(t, server.url, { name: 'catalogue' })
    await until(async () => (await server.clients()).includes(`evenkeel:catalogue:${process.pid}`))
    await Promise.all([named.close(), cache.close()])
    await until(async () => !(await server.clients()).includes('orders'))
  })

  test('a wrong password is told with what to do, is not printed, and is tried again', async (t) => {
    const error = await fails(t, { port: server.port, password: 'canary-wrong' })
    assert.match(error.code, /WRONGPASS/)
    assert.doesNotMatch(JSON.stringify(error), /canary/)
  })

  test('no password where one is needed', async (t) => {
    assert.match((await fails(t, { port: server.port })).code, /NOAUTH|WRONGPASS/)
  })

  test('a database that does not exist', async (t) => {
    assert.match(
      (await fails(t, { port: server.port, password: PASSWORD, db: 9 })).message,
      /DB index|database/i,
    )
  })

  test('a repaired password is found within ten seconds', async (t) => {
    const cache = openCache(t, {
      redis: { port: server.port, username: 'late', password: 'late' },
      namespace: ownNamespace(),
    })
    await until(() => cache.health().cache.l2.last_error)
    await server.command('ACL', 'SETUSER', 'late', 'on', '>late', '~*', '&*', '+@all')
    await cache.ready({ timeout: 10_500 })
  })
})

describe('TLS', () => {
  let certs
  let server
  before(async () => {
    certs = makeCertificates()
    server = await startRedis({ tls: certs })
  })
  after(() => server.stop())

  test('a rediss URL with an authority of its own', (t) =>
    works(t, { url: server.url, tls: { ca: certs.authority.cert } }))

  test('host and port with tls and a servername', (t) =>
    works(t, {
      host: '127.0.0.1',
      port: server.port,
      tls: { ca: [certs.authority.cert], servername: 'localhost' },
    }))

  test('rejectUnauthorized: false', (t) => works(t, { url: server.url, tls: { rejectUnauthorized: false } }))

  test('a client certificate where the server asks for one', async (t) => {
    const strict = await startRedis({ tls: certs, clientCertificates: true })
    t.after(() => strict.stop())
    const { cert, key } = certs.client
    await works(t, { url: strict.url, tls: { ca: certs.authority.cert, cert, key } })
  })

  test('NODE_EXTRA_CA_CERTS is trusted', async () => {
    const script = `
      const { Cache } = require('evenkeel')
      const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'extra' })
      cache.ready({ timeout: 5_000 }).then(() => cache.close()).then(() => console.log('ready'))`
    const env = { NODE_EXTRA_CA_CERTS: certs.authority.files('crt') }
    const { code, stdout, stderr } = await runScript(script, { env })
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'ready\n', stderr: '' })
  })

  test('an authority that nobody trusts is told as a certificate problem', async (t) => {
    const error = await fails(t, server.url)
    assert.match(error.code, /CERT|SIGNATURE|SIGNED/)
    assert.match(error.message, /tls\.ca|NODE_EXTRA_CA_CERTS/)
  })

  test('a certificate for another name is refused', async (t) => {
    const error = await fails(t, {
      url: server.url,
      tls: { ca: certs.authority.cert, servername: 'other.test' },
    })
    assert.match(error.code, /CERT/)
  })

  test('a plain URL to a TLS port is told to use rediss://', async (t) => {
    const error = await fails(t, `redis://127.0.0.1:${server.port}`)
    assert.match(error.message, /rediss:\/\//)
  })

  test('a TLS URL to a plain port is told to use redis://', async (t) => {
    const plain = await startRedis()
    t.after(() => plain.stop())
    const error = await fails(t, { url: `rediss://127.0.0.1:${plain.port}`, connectTimeout: 1_000 })
    assert.match(error.message, /redis:\/\/|plain|TLS/)
  })
})

describe('what is no Redis', () => {
  test('a port that answers HTTP', async (t) => {
    const web = http.createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
    await once(web, 'listening')
    t.after(() => web.close())
    const error = await fails(t, `redis://127.0.0.1:${web.address().port}`)
    assert.match(error.message, /\S/)
  })

  test('a port where nothing listens', async (t) => {
    const error = await fails(t, `redis://127.0.0.1:${await freePort()}`)
    assert.equal(error.code, 'ECONNREFUSED')
  })

  test('a name that does not exist', async (t) => {
    const error = await fails(t, 'redis://no-such-host.invalid:6379')
    assert.match(error.code, /ENOTFOUND|EAI_AGAIN/)
  })
})
