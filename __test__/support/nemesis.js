'use strict'

// What can go wrong with a server and the network before it, one thing at a time: each fault is begun and ended, and
// leaves server and proxies as they were. The proxies must lead to the server.

const { setTimeout: pause } = require('node:timers/promises')
const { between, oneOf } = require('./random.js')
const { until } = require('./wait.js')

/**
 * @typedef {{ server: any, proxies: any[], random: () => number }} World
 * @typedef {(world: World) => unknown} Fault begins; if it answers a function, that ends it
 */

function severAll({ proxies }) {
  for (const proxy of proxies) proxy.sever()
}

/** Sets a field of every proxy until the fault ends, and with it the connections that it has spoilt. */
function onProxies(world, field, value, usual) {
  for (const proxy of world.proxies) proxy[field] = value
  return () => {
    for (const proxy of world.proxies) proxy[field] = usual
    severAll(world)
  }
}

/** As `onProxies`, for what only new connections show. */
function onNewConnections(world, field, value, usual) {
  const end = onProxies(world, field, value, usual)
  severAll(world)
  return end
}

/** Ends every connection to the server but the one that says so. */
const killClients = (server) => server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')

/** A setting of the server until the fault ends. */
async function configured(server, name, value, usual) {
  await server.command('CONFIG', 'SET', name, value)
  return () => server.command('CONFIG', 'SET', name, usual)
}

/** @type {Record<string, Fault>} */
const FAULTS = {
  async 'the server is killed'({ server }) {
    await server.kill()
    return () => server.start()
  },
  'the server is frozen'({ server }) {
    server.freeze()
    return () => server.thaw()
  },
  async 'the server pauses its clients'({ server, random }) {
    await server.command('CLIENT', 'PAUSE', between(random, 100, 4_000), 'ALL')
    // An UNPAUSE would have to wait as well.
    return () => server.command('PING')
  },
  async 'the server runs a script'({ server }) {
    const other = await server.connect()
    const script = other.command('EVAL', 'while true do end', '0').catch(() => {})
    return async () => {
      await until(() => server.command('SCRIPT', 'KILL'))
      await script
      other.close()
    }
  },
  'the server kills its clients': ({ server }) => killClients(server),
  async 'the server wants a password'({ server }) {
    const end = await configured(server, 'requirepass', 'another', '')
    await killClients(server)
    return end
  },
  async 'the server has no room for clients'({ server }) {
    const end = await configured(server, 'maxclients', '1', '10000')
    await killClients(server)
    return end
  },
  'the server has no memory': ({ server }) => configured(server, 'maxmemory', '1', '0'),
  'the server misses its replicas': ({ server }) => configured(server, 'min-replicas-to-write', '1', '0'),
  async 'the server is a replica'({ server }) {
    await server.command('REPLICAOF', '127.0.0.1', '1')
    return () => server.command('REPLICAOF', 'NO', 'ONE')
  },
  'the server is flushed': ({ server }) => server.command('FLUSHALL'),
  'the network is severed': severAll,
  'the network is silent': (world) =>
    onProxies(world, 'swallows', { up: true, down: true }, { up: false, down: false }),
  'answers vanish': (world) =>
    onProxies(world, 'swallows', { up: false, down: true }, { up: false, down: false }),
  'the network is slow': (world) => onNewConnections(world, 'delay', between(world.random, 20, 400), 0),
  'answers trickle': (world) => onProxies(world, 'trickle', 1, 0),
  async 'the network refuses'({ proxies }) {
    await Promise.all(proxies.map((proxy) => proxy.down()))
    return () => Promise.all(proxies.map((proxy) => proxy.up()))
  },
  'ports accept and hang up': (world) =>
    onNewConnections(world, 'onAccept', oneOf(world.random, ['fin', 'reset', 'stall']), 'pass'),
  'connections are cut'(world) {
    const way = oneOf(world.random, ['up', 'down'])
    const bytes = between(world.random, 1, way === 'up' ? 2_000 : 9_000)
    const limit = { way, bytes, end: oneOf(world.random, ['fin', 'reset', 'stall']) }
    return onNewConnections(world, 'limit', limit, undefined)
  },
  'bytes come that are no answer'({ proxies }) {
    for (const proxy of proxies) proxy.inject('?what is this\r\n')
  },
}

/** Lets one fault happen for `ms`. */
async function strike(world, name, ms) {
  const end = await FAULTS[name](world)
  await pause(ms)
  if (typeof end === 'function') await end()
}

module.exports = { FAULTS: Object.keys(FAULTS), strike }
