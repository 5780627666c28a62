'use strict'

// Credentials and certificates that change while a cache is in use.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { describe, test } = require('node:test')
const { openCache } = require('./support/cache.js')
const { makeCertificates } = require('./support/certs.js')
const { temporaryFolder } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, until } = require('./support/wait.js')

const isAway = ({ to }) => to === 'memory'
const isBack = ({ to }) => to === 'tiered'

/** Hangs up on everybody, and waits until `cache` is back. */
async function reconnected(cache, server) {
  const back = eventOf(cache, 'mode', { matches: isBack, timeout: 20_000 })
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await back
}

describe('credentials', () => {
  test('are asked for at every connect', async (t) => {
    const server = await startRedis({ password: 'first' })
    t.after(() => server.stop())
    let password = 'first'
    const cache = openCache(t, { redis: { port: server.port, credentials: async () => ({ password }) } })
    await cache.ready()
    await server.command('CONFIG', 'SET', 'requirepass', 'second')
    password = 'second'
    await reconnected(cache, server)
    await cache.set('k', 1, { strict: true })
  })

  test('are those of before when the function throws, hangs or answers nonsense', async (t) => {
    const server = await startRedis({ password: 'first' })
    t.after(() => server.stop())
    let answer = async () => ({ password: 'first' })
    const cache = openCache(t, { redis: { port: server.port, credentials: () => answer() } })
    await cache.ready()
    const bad = [
      () => Promise.reject(new Error('the vault is sealed')),
      () => new Promise(() => {}),
      () => ({ pasword: 7 }),
    ]
    for (answer of bad) await reconnected(cache, server)
    await cache.set('k', 1, { strict: true })
  })
})

describe('certificates given by path', () => {
  /** The files of a set of certificates, under names that stay. */
  function place(folder, { authority, client }) {
    const texts = { 'ca.crt': authority.cert, 'client.crt': client.cert, 'client.key': client.key }
    for (const [name, text] of Object.entries(texts)) fs.writeFileSync(path.join(folder, name), text)
    const file = (name) => path.join(folder, name)
    return { ca: file('ca.crt'), cert: file('client.crt'), key: file('client.key'), servername: 'localhost' }
  }

  test('are read at every connect, and those of before count while they cannot be read', async (t) => {
    const folder = temporaryFolder('evenkeel-rotation')
    const old = makeCertificates()
    const first = await startRedis({ tls: old, clientCertificates: true })
    t.after(() => first.stop())
    const cache = openCache(t, { redis: { port: first.port, tls: place(folder, old) } })
    await cache.ready()
    fs.writeFileSync(path.join(folder, 'client.key'), 'half of it is writ')
    await reconnected(cache, first)
    const away = eventOf(cache, 'mode', { matches: isAway })
    await first.stop()
    await away
    const fresh = makeCertificates()
    const second = await startRedis({ tls: fresh, clientCertificates: true, port: first.port })
    t.after(() => second.stop())
    place(folder, fresh)
    await until(() => cache.health().cache.l2.state === 'up', { timeout: 20_000 })
    await cache.set('k', 1, { strict: true })
  })

  test('that are not there are named', async (t) => {
    const server = await startRedis({ tls: makeCertificates() })
    t.after(() => server.stop())
    const cache = openCache(t, { redis: { port: server.port, tls: { ca: '/no/such/file.crt' } } })
    const said = () => cache.health().cache.l2.last_error
    await until(() => said()?.code === 'ERR_TLS_INVALID_CONTEXT')
    assert.match(said().message, /redis\.tls\.ca.*\/no\/such\/file\.crt/)
  })
})
