'use strict'

// A Redis Cluster on loopback: masters, and replicas of them, all real.

const { freePort, startRedis } = require('./redis.js')
const { until } = require('./wait.js')

const SLOTS = 16_384

/** Starts a node, alone. */
async function startNode(args) {
  const busPort = await freePort()
  const node = await startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-port', busPort, ...args] })
  return Object.assign(node, { busPort })
}

class Cluster {
  /** @param {{ master: object, replica?: object, slots: [number, number] }[]} shards */
  constructor(shards) {
    this.shards = shards
  }

  get nodes() {
    return this.shards.flatMap(({ master, replica }) => (replica ? [master, replica] : [master]))
  }

  /** The option of a cache. */
  get redis() {
    return { nodes: this.nodes.map(({ port }) => ({ host: '127.0.0.1', port })) }
  }

  /** Where a key belongs, by what the first node that answers says of its slot. */
  async slotOf(key) {
    return this.shards[0].master.command('CLUSTER', 'KEYSLOT', key)
  }

  /** Gives one slot, with its keys, to another shard, key by key as redis-cli does. */
  async move(slot, from, to, { pause = 0 } = {}) {
    const [source, target] = [from.master, to.master]
    const [sourceId, targetId] = await Promise.all(
      [source, target].map((node) => node.command('CLUSTER', 'MYID')),
    )
    await target.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', sourceId)
    await source.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', targetId)
    for (;;) {
      const keys = await source.buffers('CLUSTER', 'GETKEYSINSLOT', slot, 10)
      if (keys.length === 0) break
      await source.command('MIGRATE', '127.0.0.1', target.port, '', 0, 5_000, 'KEYS', ...keys)
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause))
    }
    for (const node of [target, source]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', targetId)
  }
}

/**
 * `masters` masters, each with a replica if `replicas`, that own all slots; ends with the test. A node counts as failed after
 * `timeout` ms.
 */
async function startCluster(t, { masters = 3, replicas = false, timeout = 1_000, args = [] } = {}) {
  const words = ['--cluster-node-timeout', timeout, '--cluster-require-full-coverage', 'no', ...args]
  const start = async () => {
    const node = await startNode(words)
    t.after(() => node.stop())
    return node
  }
  const shards = []
  for (let number = 0; number < masters; number++) {
    const slots = [Math.ceil((SLOTS * number) / masters), Math.ceil((SLOTS * (number + 1)) / masters) - 1]
    shards.push({ master: await start(), replica: replicas ? await start() : undefined, slots })
  }
  const cluster = new Cluster(shards)
  const [first, ...others] = cluster.nodes
  for (const { master, slots } of shards) await master.command('CLUSTER', 'ADDSLOTSRANGE', ...slots)
  for (const [epoch, { master }] of shards.entries())
    await master.command('CLUSTER', 'SET-CONFIG-EPOCH', epoch + 1)
  for (const { port, busPort } of others) await first.command('CLUSTER', 'MEET', '127.0.0.1', port, busPort)
  const knowsAll = async (node) =>
    (await node.command('CLUSTER', 'NODES')).trim().split('\n').length === cluster.nodes.length
  for (const node of cluster.nodes) await until(() => knowsAll(node), { timeout: 20_000 })
  for (const { master, replica } of shards) {
    if (replica === undefined) continue
    const id = await master.command('CLUSTER', 'MYID')
    await until(() => replica.command('CLUSTER', 'REPLICATE', id).then(() => true))
    await until(async () => (await replica.info('master_link_status')) === 'up', { timeout: 20_000 })
  }
  const isWell = async (node) => {
    const slots = await node.command('CLUSTER', 'SLOTS')
    const covered = slots.reduce((sum, [from, to]) => sum + to - from + 1, 0)
    const complete = slots.every(([, , ...nodes]) => nodes.length === (replicas ? 2 : 1))
    return covered === SLOTS && complete && /cluster_state:ok/.test(await node.command('CLUSTER', 'INFO'))
  }
  for (const node of cluster.nodes)
    await until(() => isWell(node), { timeout: 30_000, message: 'the cluster is well' })
  return cluster
}

module.exports = { startCluster }
