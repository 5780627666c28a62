'use strict'

// How evenkeel connects: every kind of address and login, how many sockets it opens, and what it tells when a server is
// not what the options say.

const assert = require('node:assert/strict')
const http = require('node:http')
const { once } = require('node:events')
const { after, before, describe, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { makeCertificates } = require('./support/certs.js')
const { runScript } = require('./support/child.js')
const { startProxy } = require('./support/fault-proxy.js')
const { freePort, startRedis } = require('./support/redis.js')
const { steadily, until } = require('./support/wait.js')

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

describe('sockets', () => {
  let server
  before(async () => {
    server = await startRedis()
  })
  after(() => server.stop())

  test('one connection carries everything, also with a thousand calls at once', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = await works(t, `redis://127.0.0.1:${proxy.port}`)
    await Promise.all(Array.from({ length: 1000 }, (_, index) => cache.set(`key-${index}`, index)))
    await Promise.all(Array.from({ length: 1000 }, (_, index) => cache.get(`key-${index}`)))
    assert.deepEqual([proxy.accepted, proxy.mostOpen], [1, 1])
  })

  test('what is read is what was written last, whichever thread sends it', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    const enough = new AbortController()
    const others = Array.from({ length: 20 }, async (_, number) => {
      while (!enough.signal.aborted) {
        await cache.get(`other-${number}`)
        // Now few are under way, and now many.
        if (number > 0) await pause(Math.random() * 20)
      }
    })
    for (let count = 0; count < 1_000; count++) {
      const written = cache.set('key', count)
      const read = cache.get('key')
      if (count % 3 === 0) await written
      assert.equal(await read, count)
      if (count % 100 === 0) await pause(15)
    }
    enough.abort()
    await Promise.all(others)
  })

  test('maxConnections is a limit that holds while everything is severed again and again', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = await works(t, { port: proxy.port, maxConnections: 3, retryStrategy: () => 20 })
    let next = 0
    const load = steadily(300, () => cache.set(`key-${next++ % 100}`, 1))
    for (let round = 0; round < 5; round++) {
      const accepted = proxy.accepted
      proxy.sever()
      await until(() => proxy.accepted > accepted && cache.state === 'up')
    }
    const calls = await load.stop()
    assert.deepEqual(
      calls.filter(({ error }) => error),
      [],
    )
    assert.ok(proxy.mostOpen <= 3, `${proxy.mostOpen} sockets were open at once`)
  })

  test('attempts to a port that refuses are counted and spread out', async (t) => {
    const attempts = []
    const cache = openCache(t, { redis: `redis://127.0.0.1:${await freePort()}` })
    cache.on('reconnecting', (event) => attempts.push(event))
    await until(() => attempts.length >= 4)
    assert.deepEqual(
      attempts.slice(0, 4).map(({ attempt }) => attempt),
      [1, 2, 3, 4],
    )
    for (const { delayMs } of attempts) assert.ok(delayMs >= 50 && delayMs <= 5_000, `${delayMs} ms`)
  })

  test('retryStrategy is asked once for each attempt, and a strange answer changes nothing', async (t) => {
    const asked = []
    const answers = [10, 'soon', NaN, null]
    const retryStrategy = (times) => {
      asked.push(times)
      if (asked.length > answers.length) throw new Error('thrown by a strategy')
      return answers[asked.length - 1]
    }
    openCache(t, { redis: { port: await freePort(), retryStrategy } })
    await until(() => asked.length >= 7)
    assert.deepEqual(asked.slice(0, 7), [1, 2, 3, 4, 5, 6, 7])
  })

  test('lazyConnect opens nothing until it is used', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = openCache(t, { redis: { port: proxy.port, lazyConnect: true }, namespace: ownNamespace() })
    assert.equal(cache.state, 'idle')
    await cache.get('key')
    await cache.ready()
    assert.equal(proxy.accepted, 1)
  })

  test('in memory mode no socket is opened, by option, by environment and by switch', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const cache = openCache(t, {
      redis: `redis://127.0.0.1:${proxy.port}`,
      memoryMode: true,
      namespace: ownNamespace(),
    })
    await cache.ready()
    await cache.set('key', 1)
    assert.equal(await cache.get('key'), 1)
    assert.equal(cache.health().cache.mode, 'memory')
    const script = `
      const { Cache } = require('evenkeel')
      const cache = new Cache({ redis: 'redis://127.0.0.1:${proxy.port}', memoryMode: false })
      cache.ready().then(() => cache.set('key', 1)).then(() => cache.get('key')).then((value) => console.log(value, cache.health().cache.mode))`
    const { stdout } = await runScript(script, { env: { USE_MEMORY_MODE: 'TRUE' } })
    assert.equal(stdout, '1 memory\n')
    assert.equal(proxy.accepted, 0)
    cache.setMemoryMode(false)
    await cache.ready()
    assert.equal(proxy.accepted, 1)
    cache.setMemoryMode(true)
    await until(() => proxy.open === 0)
    assert.equal(cache.state, 'idle')
  })

  test('caches that were given one name share one connection, unnamed ones share nothing', async (t) => {
    const proxy = await startProxy(server)
    t.after(() => proxy.close())
    const options = { redis: `redis://127.0.0.1:${proxy.port}`, name: 'shared', namespace: ownNamespace() }
    const [one, two] = [openCache(t, options), openCache(t, options)]
    await Promise.all([one.ready(), two.ready()])
    await one.set('key', { a: 1 })
    assert.deepEqual(two.peek('key'), { a: 1 })
    assert.equal(proxy.accepted, 1)
    assert.throws(() => openCache(t, { ...options, l2: { ttl: 1_000 } }), cacheError('ERR_CACHE_OPTIONS'))
    await one.close()
    assert.deepEqual(await two.get('key'), { a: 1 })
    await openOn(t, proxy, { redis: `redis://127.0.0.1:${proxy.port}` })
    assert.equal(proxy.accepted, 2)
    await two.close()
    await until(() => proxy.open === 1)
  })
})
