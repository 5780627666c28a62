'use strict'

// Faults of the network itself, between two hosts in network namespaces: the rows of docs/failure-modes.md that no proxy can
// stand for. Skipped, with the reason, where there can be no namespaces.

const assert = require('node:assert/strict')
const { after, before, beforeEach, afterEach, describe, test } = require('node:test')
const { setTimeout: pause } = require('node:timers/promises')
const { ADDRESS, Hosts, unavailable } = require('./support/hosts.js')
const { startRedis } = require('./support/redis.js')
const { until } = require('./support/wait.js')

const TIMEOUT_MS = 300
/** A value from before the network broke has come 2.8 s after it healed, from a client that closes its sockets in order. */
const ZOMBIE_MS = 5_000

describe('between two hosts', { skip: unavailable() }, () => {
  let hosts
  let server
  let cache
  before(() => {
    hosts = new Hosts()
  })
  after(() => hosts.close())

  async function open(options = {}) {
    const redis = { host: ADDRESS.server, port: server.port, ...options.redis }
    const health = { interval: 0, ...options.health }
    cache = await hosts.cache({ namespace: 'net', l2: { timeout: TIMEOUT_MS }, ...options, health, redis })
    await cache.call('ready')
  }

  const stateIs = (wanted, timeout) =>
    until(async () => (await cache.state()) === wanted, { timeout, message: `the link is ${wanted}` })

  beforeEach(async () => {
    const args = ['--bind', ADDRESS.server, '--protected-mode', 'no']
    server = await startRedis({ on: hosts.on('server'), persist: true, args })
  })
  afterEach(async () => {
    await cache.end()
    await server.stop()
  })

  test('a blackhole is noticed under load within the deadline and 1.1 s, costs nobody more than the deadline, and is left within 10 s of its end', async () => {
    await open()
    await cache.call('set', 'k', 'v')
    hosts.swallowFrom('server')
    const from = performance.now()
    const calls = []
    while ((await cache.state()) !== 'down') {
      calls.push(cache.call('load', `key-${calls.length}`, 'made'))
      await pause(5)
    }
    const noticed = performance.now() - from
    assert.ok(noticed < TIMEOUT_MS + 1_100 + 500, `${noticed} ms`)
    for (const { value, ms } of await Promise.all(calls)) {
      assert.equal(value, 'made')
      assert.ok(ms < TIMEOUT_MS + 300, `${ms} ms`)
    }
    assert.equal((await cache.call('get', 'k')).value, 'v')
    hosts.passFrom('server')
    await stateIs('up', 10_000)
  })

  test('a cable that is pulled while nothing is said is noticed by the probes of the kernel', async () => {
    await open({ redis: { keepAlive: 1_000 } })
    hosts.cable('server', 'down')
    await stateIs('down', 25_000)
    hosts.cable('server', 'up')
    await stateIs('up', 12_000)
  })

  test('a host that died and came back while the cable was out is noticed at the first word', async () => {
    await open()
    await cache.call('set', 'k', 'v')
    const dies = async () => {
      hosts.cable('server', 'down')
      await server.kill()
      hosts.cable('server', 'up')
      await server.start()
      return (await cache.state()) === 'up'
    }
    // Its kernel tells of the end once more after 200 ms: where starting took longer, somebody has told.
    for (let count = 0; !(await dies()); count++) {
      assert.ok(count < 5, 'somebody has told it each time')
      await stateIs('up', 12_000)
      await cache.call('set', 'k', 'v')
    }
    const { l2Reconnects } = (await cache.call('stats')).value
    await cache.call('get', 'other')
    await until(async () => (await cache.call('stats')).value.l2Reconnects > l2Reconnects)
    await stateIs('up', 10_000)
    await until(async () => (await cache.call('load', 'k', 'made')).value === 'v')
  })

  test('a write that the network swallowed does not arrive after a later one', async () => {
    await open()
    hosts.swallowFrom('client')
    await cache.call('set', 'k', 'swallowed')
    for (let n = 0; (await cache.state()) !== 'down'; n++) await cache.call('set', `more-${n}`, n)
    hosts.passFrom('client')
    await stateIs('up', 12_000)
    await cache.call('set', 'k', 'later', { strict: true })
    for (const end = performance.now() + ZOMBIE_MS; performance.now() < end;) {
      assert.match(await server.command('GET', 'net:k'), /later/)
    }
  })
})
