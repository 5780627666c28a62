'use strict'
/**
 * The `redis` option: ioredis' names turned into what the native side takes. Says which of ioredis' options are used,
 * which are accepted because their purpose is served anyway, and which are refused because they would change results.
 * Whether a URL or a certificate can be parsed is found out by the native side. A secret never enters a message.
 */
const {
  check,
  checks,
  describeType,
  dropNulls,
  duration,
  isObject,
  oneOf,
  readOptions,
  refuse,
  refused,
  secret,
  words,
} = require('./checks.js')
const { tls } = require('./tls-options.js')

/** @typedef {import('./checks.js').Check} Check */

/** Options of ioredis whose purpose is served anyway. */
const IGNORED = words(`
  autoPipeliningIgnoredCommands autoResendUnfulfilledCommands autoResubscribe blockingTimeout
  blockingTimeoutGrace clientInfoTag clusterRetryStrategy commandQueue disableClientInfo disconnectTimeout
  dnsLookup enableAutoPipelining enableOfflineQueue enableTLSForSentinelMode failoverDetector
  maxLoadingRetryTime monitor noDelay offlineQueue preferredSlaves protocol reconnectOnError scaleReads
  sentinelCommandTimeout sentinelMaxConnections sentinelReconnectStrategy sentinelRetryStrategy
  showFriendlyErrorStack slotsRefreshInterval slotsRefreshTimeout socketTimeout updateSentinels
`)

/** Options of ioredis that would change results, and why each is refused. */
const REFUSED = {
  stringNumbers: 'numbers are returned as numbers',
  Connector: 'connections are made by the native side',
  readOnly: 'a cache has to write',
  scripts: 'call `command("EVALSHA", …)`',
  natMap: 'addresses are used as they are given',
  natSentinelMap: 'addresses are used as they are given',
}

/** @type {Check} Accepts the decimal strings that come from environment variables, as ioredis does. */
function port(value, path) {
  return integer('a port from 1 to 65535', 1, 65_535)(value, path)
}

/**
 * @param {string} wanted
 * @param {number} least
 * @param {number} most
 * @returns {Check}
 */
function integer(wanted, least, most) {
  const holds = check(wanted, (value) => Number.isInteger(value) && value >= least && value <= most)
  return (value, path) => {
    const digits = typeof value === 'string' && /^\d{1,9}$/.test(value)
    return holds(digits ? Number(value) : value, path)
  }
}

/** @type {Check} */
function url(value, path) {
  const wanted = 'a redis:// or rediss:// URL'
  if (typeof value !== 'string' || value === '')
    throw refused(`Expected \`${path}\` to be ${wanted}, got ${describeType(value)}`)
  if (/^(rediss?|unix):\/\//i.test(value)) return value
  // The scheme is shown, as it is what is wrong; the rest may hold a password.
  const scheme = /^[a-z][a-z0-9+.-]*(?=:\/\/)/i.exec(value)?.[0]
  throw refused(
    `Expected \`${path}\` to be ${wanted}, got ${scheme === undefined ? 'a string without a scheme' : `the scheme ${scheme}://`}`,
  )
}

/** @type {Check} ioredis' default is the master too. */
function role(value, path) {
  if (value !== 'master')
    throw refused(`Expected \`${path}\` to be "master", got ${describeType(value)}; a cache has to write`)
}

/** @type {Check} */
function servers(value, path) {
  if (!Array.isArray(value) || value.length === 0)
    throw refused(`Expected \`${path}\` to be an array of { host, port }, got ${describeType(value)}`)
  return value.map((each, index) =>
    readOptions(dropNulls(each), `${path}[${index}]`, { host: checks.text, port }),
  )
}

const string = secret('a string', (value) => typeof value === 'string')

/** @type {Record<string, Check>} */
const USED = {
  url,
  host: checks.text,
  port,
  path: checks.text,
  username: string,
  password: string,
  db: integer('a database number', 0, 999_999_999),
  tls,
  connectTimeout: duration(),
  commandTimeout: duration(),
  maxRetriesPerRequest: check(
    'a non-negative integer or null',
    (value) => Number.isSafeInteger(value) && value >= 0,
  ),
  retryStrategy: checks.func,
  credentials: checks.func,
  keepAlive: duration({ zero: true }),
  lazyConnect: checks.flag,
  enableReadyCheck: checks.flag,
  connectionName: check(
    'printable ASCII without spaces',
    (value) => typeof value === 'string' && /^[!-~]+$/.test(value),
  ),
  keyPrefix: check('a string', (value) => typeof value === 'string'),
  family: oneOf(0, 4, 6),
  maxConnections: checks.count,
  sentinels: servers,
  name: checks.text,
  role,
  sentinelUsername: string,
  sentinelPassword: string,
  sentinelTLS: tls,
  nodes: servers,
}

const REDIS = {
  ...USED,
  ...Object.fromEntries(IGNORED.map((name) => [name, () => undefined])),
  ...Object.fromEntries(Object.entries(REFUSED).map(([name, reason]) => [name, refuse(reason)])),
}

/** What `redisOptions` may hold: everything but the servers. */
const NODE = {
  ...REDIS,
  ...Object.fromEntries(
    words('nodes sentinels').map((name) => [name, refuse('give it beside `redisOptions`')]),
  ),
}

/** @param {Record<string, any>} read */
function checkTopology({ sentinels, nodes, name }) {
  if (sentinels && nodes) throw refused('Expected `redis` to have `sentinels` or `nodes`, got both')
  if (sentinels && !name)
    throw refused('Expected `redis.name` to be what the sentinels call the master, got undefined')
}

/** Beyond every deadline, which is then the only bound. */
const NO_BOUND = 1_000_000

/**
 * @typedef {object} RedisOptions
 * @property {Record<string, any> | undefined} config what the native side takes, `undefined` without Redis
 * @property {{ retryStrategy?: (attempt: number) => unknown, credentials?: () => unknown }} hooks functions that stay here
 * @property {number | undefined} commandTimeout
 * @property {string[]} ignored names of accepted options that have no effect
 */

/**
 * @param {unknown} value the option `redis`
 * @returns {RedisOptions}
 */
function readRedis(value) {
  if (value === undefined || value === false)
    return { config: undefined, hooks: {}, commandTimeout: undefined, ignored: [] }
  if (typeof value === 'string')
    return readRedis(value.startsWith('/') ? { path: value } : { url: url(value, 'redis') })
  if (!isObject(value))
    throw refused(
      `Expected \`redis\` to be a redis:// or rediss:// URL, an object or false, got ${describeType(value)}`,
    )
  if (typeof value['sendCommand'] === 'function')
    throw refused('Expected `redis` to be a URL or options, got a client; pass what it was made with')
  const { redisOptions, ...own } = value
  const shared = readOptions(dropNulls(redisOptions ?? {}), 'redis.redisOptions', NODE)
  const read = { ...shared, ...readOptions(dropNulls(own), 'redis', REDIS) }
  checkTopology(read)
  const { retryStrategy, credentials, commandTimeout, ...config } = read
  const given = { .../** @type {object} */ (redisOptions), ...own }
  if (given['maxRetriesPerRequest'] === null) config['maxRetriesPerRequest'] = NO_BOUND
  if (retryStrategy) config['retryStrategy'] = true
  if (credentials) config['credentials'] = true
  for (const name of Object.keys(config))
    if (config[name] === undefined || config[name] === '') delete config[name]
  const hooks = { ...(retryStrategy && { retryStrategy }), ...(credentials && { credentials }) }
  const ignored = Object.keys(read).filter((name) => IGNORED.includes(name))
  return { config, hooks, commandTimeout, ignored }
}

exports.readRedis = readRedis
