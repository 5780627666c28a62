'use strict'

// A cluster of three masters and three replicas, and what can happen to it. Each fault leaves it well: all slots where they were, a
// master and a replica for each.

const { setTimeout: pause } = require('node:timers/promises')
const { startCluster } = require('../support/cluster.js')
const { between, oneOf } = require('../support/random.js')
const { until } = require('../support/wait.js')
const { numberAt, now, pairOf } = require('./registers.js')
const { slotOf } = require('./slots.js')

const WELL_MS = 40_000
/** Whoever is silent for so long is replaced by its replica. */
const NODE_TIMEOUT_MS = 1_000

/** The master of a shard now, and the other. */
async function rolesOf({ master, replica }) {
  const nodes = [master, replica]
  const roles = await Promise.all(nodes.map((node) => node.info('role')))
  return roles[0] === 'master' ? { master, replica } : { master: replica, replica: master }
}

async function isWell({ master, replica }) {
  const nodes = await Promise.all([master, replica].map((node) => node.info('role')))
  if (nodes.toSorted().join() !== 'master,slave') return false
  const shard = await rolesOf({ master, replica })
  if ((await shard.replica.info('master_link_status')) !== 'up') return false
  const states = await Promise.all([master, replica].map((node) => node.command('CLUSTER', 'INFO')))
  return states.every((text) => text.includes('cluster_state:ok'))
}

const FAULTS = {
  async 'a master is killed'({ world, shard, timeline, ms, random }) {
    const { master, replica } = await rolesOf(shard)
    const end = timeline.begin('losses', { older: true, shard: world.shards.indexOf(shard) })
    await master.kill()
    // Started again at once it is a master without data.
    if (random() < 0.7)
      await until(async () => (await replica.info('role')) === 'master', { timeout: WELL_MS })
    await pause(ms / 4)
    await master.start()
    await world.well()
    end()
  },
  async 'a master is frozen'({ world, shard, timeline, ms }) {
    const { master } = await rolesOf(shard)
    const end = timeline.begin('losses', { older: true, shard: world.shards.indexOf(shard) })
    master.freeze()
    await pause(ms)
    master.thaw()
    await pause(NODE_TIMEOUT_MS)
    await world.well()
    end()
  },
  async 'a replica takes over'({ world, shard }) {
    const { replica } = await rolesOf(shard)
    await replica.command('CLUSTER', 'FAILOVER')
    await until(async () => (await replica.info('role')) === 'master', { timeout: WELL_MS })
    await world.well()
  },
  async 'a slot is moved and moved back'({ world, ms, random, start }) {
    const owner = { process: between(random, 0, 3), thread: 0 }
    const [key] = pairOf(owner, 0, numberAt(0, start, now()))
    const slot = slotOf(world.prefix + key)
    const home = world.shards[world.shardOf(key)]
    const other = oneOf(
      random,
      world.shards.filter((each) => each !== home),
    )
    await world.move(slot, home, other)
    await pause(ms / 2)
    await world.move(slot, other, home)
    await world.well()
  },
  async 'all connections are killed'({ world }) {
    for (const node of world.nodes) await node.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  },
  async 'a master is flushed'({ world, shard, timeline }) {
    const end = timeline.begin('losses', { older: false, shard: world.shards.indexOf(shard) })
    await (await rolesOf(shard)).master.command('FLUSHALL')
    end()
  },
}

/** Faults during which somebody is not told, though no connection is lost. */
const STALLS = new Set(['a master is killed', 'a master is frozen'])

class Shards {
  static faults = Object.keys(FAULTS)

  /** Ends with the test. */
  static async start(t, prefix) {
    const world = new Shards()
    world.prefix = prefix
    // A replica that comes back is filled at once.
    const args = ['--repl-diskless-sync-delay', 0]
    world.cluster = await startCluster(t, { replicas: true, timeout: NODE_TIMEOUT_MS, args })
    return world
  }

  get shards() {
    return this.cluster.shards
  }

  get nodes() {
    return this.cluster.nodes
  }

  redisOf() {
    return this.cluster.redis
  }

  get redis() {
    return this.cluster.redis
  }

  /** The number of the shard that a register belongs to, when nothing is moved. */
  shardOf(key) {
    const slot = slotOf(this.prefix + key)
    return this.shards.findIndex(({ slots: [first, last] }) => slot >= first && slot <= last)
  }

  /** Gives a slot to another shard, whoever is master there. */
  async move(slot, from, to) {
    await this.cluster.move(slot, await rolesOf(from), await rolesOf(to), { pause: 2 })
  }

  /** Resolves once each shard has a master, and a replica that follows it. */
  async well() {
    for (const shard of this.shards)
      await until(() => isWell(shard), { timeout: WELL_MS, message: 'the cluster is well again' })
  }

  async strike(name, { random, timeline, start, ms }) {
    const shard = oneOf(random, this.shards)
    const end = STALLS.has(name) ? timeline.begin('stalls', {}) : () => {}
    await FAULTS[name]({ world: this, shard, timeline, random, start, ms })
    return end()
  }
}

module.exports = { Shards }
