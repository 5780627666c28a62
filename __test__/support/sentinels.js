'use strict'

// A master, a replica of it, and three sentinels that watch them, all real and on loopback.

const { freePort, startRedis } = require('./redis.js')
const { until } = require('./wait.js')

const NAME = 'mymaster'

function tlsLines({ authority, server }) {
  const files = [server.files('crt'), server.files('key'), authority.files('crt')]
  const [cert, key, ca] = files
  const lines = [`tls-cert-file ${cert}`, `tls-key-file ${key}`, `tls-ca-cert-file ${ca}`]
  return [...lines, 'tls-auth-clients no', 'tls-replication yes']
}

async function startSentinel(master, { tls, password, masterPassword }) {
  const port = await freePort()
  const ports = tls ? ['port 0', `tls-port ${port}`, ...tlsLines(tls)] : [`port ${port}`]
  const watch = [
    'bind 127.0.0.1',
    ...ports,
    ...(password ? [`requirepass ${password}`] : []),
    `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 2`,
    `sentinel down-after-milliseconds ${NAME} 500`,
    `sentinel failover-timeout ${NAME} 5000`,
    ...(masterPassword ? [`sentinel auth-pass ${NAME} ${masterPassword}`] : []),
  ]
  return startRedis({ port, tls, password, config: watch, args: ['--sentinel'] })
}

/** Where a sentinel says that the master is. */
async function masterPort(sentinel) {
  const [, port] = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
  return Number(port)
}

/**
 * `{ master, replica, sentinels, redis }`, the last as the option of a cache; all end with the test. `tls` and the two
 * passwords are those of the servers and of the sentinels.
 */
async function startSentinels(t, { tls, masterPassword, password } = {}) {
  const secured = { tls, password: masterPassword }
  const master = await startRedis(secured)
  t.after(() => master.stop())
  const login = masterPassword ? ['--masterauth', masterPassword] : []
  const safe = tls ? ['--tls-replication', 'yes'] : []
  const of = ['--replicaof', '127.0.0.1', master.port, ...login, ...safe]
  const replica = await startRedis({ ...secured, args: of })
  t.after(() => replica.stop())
  const sentinels = []
  for (let number = 0; number < 3; number++) {
    const sentinel = await startSentinel(master, { tls, password, masterPassword })
    t.after(() => sentinel.stop())
    sentinels.push(sentinel)
  }
  await until(async () => (await replica.info('master_link_status')) === 'up')
  for (const sentinel of sentinels) {
    const field = async (name) => {
      const fields = await sentinel.command('SENTINEL', 'MASTER', NAME)
      return fields[fields.indexOf(name) + 1]
    }
    const sees = async () =>
      (await field('num-slaves')) === '1' && (await field('num-other-sentinels')) === '2'
    await until(sees, { timeout: 20_000, message: 'the sentinels see each other and the replica' })
  }
  const redis = { sentinels: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), name: NAME }
  return { master, replica, sentinels, redis }
}

/** Resolves as soon as a sentinel names another master than `master`. */
async function switched(sentinels, master) {
  const asked = sentinels.map(async (sentinel) => (await masterPort(sentinel)) !== master.port)
  return (await Promise.all(asked)).some(Boolean)
}

module.exports = { startSentinels, switched }
