'use strict'

// One server, a proxy before it for each process, and what can happen to them: all of support/nemesis.js, to the server or to the
// network of some of the processes, and what only an oracle can judge.

const fs = require('node:fs')
const path = require('node:path')
const { startProxy } = require('../support/fault-proxy.js')
const { FAULTS, strike } = require('../support/nemesis.js')
const { oneOf } = require('../support/random.js')
const { startRedis } = require('../support/redis.js')
const { PROCESSES } = require('./registers.js')

/** The server, or what is between, fails at once and with a word: nobody is left with old values meanwhile. */
const LOUD = new Set([
  'the server is killed',
  'the server kills its clients',
  'the server wants a password',
  'the server has no room for clients',
  'the server has no memory',
  'the server misses its replicas',
  'the server is a replica',
  'the server is flushed',
  'the network is severed',
  'the network refuses',
  'bytes come that are no answer',
])

const isOfNetwork = (name) => !name.startsWith('the server')

/** Its process is killed and what it had written is gone. */
async function forget(server) {
  const [, folder] = await server.command('CONFIG', 'GET', 'dir')
  await server.kill()
  fs.rmSync(path.join(folder, 'appendonlydir'), { recursive: true })
}

const OWN = {
  async 'the server is killed and loses all'({ server, timeline, wait }) {
    const end = timeline.begin('losses', { older: false })
    await forget(server)
    await wait()
    await server.start()
    end()
  },
  async 'the server kills its subscribers'({ server }) {
    await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
  },
  async 'the server is flushed'({ server, timeline }) {
    const end = timeline.begin('losses', { older: false })
    await server.command('FLUSHALL')
    end()
  },
}

class Single {
  /** The process that is cut off for long. */
  away

  static faults = [...new Set([...FAULTS, ...Object.keys(OWN)])]

  /** Ends with the test. */
  static async start(t) {
    const world = new Single()
    // What is acknowledged survives a kill; so a kill that loses all is another fault.
    world.server = await startRedis({ persist: true })
    t.after(() => world.server.stop())
    world.proxies = await Promise.all(Array.from({ length: PROCESSES }, () => startProxy(world.server)))
    t.after(() => Promise.all(world.proxies.map((proxy) => proxy.close())))
    return world
  }

  /** The option of the cache of a process. */
  redisOf(process) {
    return { host: '127.0.0.1', port: this.proxies[process].port }
  }

  /** The option of a cache that nothing is in the way of. */
  get redis() {
    return this.server.url
  }

  shardOf() {
    return 0
  }

  /** Lets a fault happen, for `wait`. */
  async strike(name, { random, timeline, ms, wait }) {
    if (OWN[name]) return OWN[name]({ server: this.server, timeline, wait })
    // Some are cut off, and others go on.
    const others = this.proxies.map((_, process) => process).filter((process) => process !== this.away)
    const struck = others.filter(() => random() < 0.5)
    const processes = struck.length > 0 ? struck : [oneOf(random, others)]
    const world = { server: this.server, proxies: this.proxies, random }
    if (isOfNetwork(name)) world.proxies = processes.map((process) => this.proxies[process])
    const stall = isOfNetwork(name) ? { processes } : {}
    const end = LOUD.has(name) ? () => {} : timeline.begin('stalls', stall)
    await strike(world, name, ms)
    return end()
  }

  /** Refuses all connections of one process; what lets them in again. No other fault of the network may be at work. */
  async cutOff(process) {
    this.away = process
    await this.proxies[process].down()
    return async () => {
      await this.proxies[process].up()
      this.away = undefined
    }
  }
}

module.exports = { Single }
