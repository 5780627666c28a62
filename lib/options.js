'use strict'
/**
 * The options of the constructor: loose input becomes one validated configuration for the native side, which holds all
 * defaults, and the functions that stay on this side. USE_MEMORY_MODE is read here. The `redis` option has a file of
 * its own.
 */
const { check, checks, expected, isObject, oneOf, readOptions, refused } = require('./checks.js')
const { BREAKER, HEALTH, L1, L2, LOADER, QUOTA, group } = require('./groups.js')
const { readRedis } = require('./redis-options.js')

/** @typedef {import('./checks.js').Check} Check */
/** @typedef {import('./checks.js').Table} Table */

/**
 * @typedef {object} Hooks what belongs to this thread and never crosses the boundary
 * @property {import('../index.js').Logger} [logger]
 * @property {import('../index.js').Codec} [codec]
 * @property {(attempt: number) => unknown} [retryStrategy]
 * @property {() => unknown} [credentials]
 */

/**
 * @typedef {object} Options
 * @property {Record<string, any>} config data only, as the native side takes it
 * @property {Hooks} hooks
 * @property {string[]} ignored names of accepted options that have no effect
 */

/** @type {Check} */
function l1(value, path) {
  if (value === false) return false
  if (!isObject(value)) throw expected(path, 'an object or false', value)
  return readOptions(value, path, L1)
}

/** @type {Check} */
function quota(value, path) {
  const read = readOptions(value, path, QUOTA)
  for (const name of /** @type {const} */ (['commands', 'window']))
    if (read[name] === undefined) QUOTA[name](undefined, `${path}.${name}`)
  return read
}

/** @type {Check} */
function codec(value, path) {
  const { encode, decode } = /** @type {{ encode?: unknown, decode?: unknown }} */ (Object(value))
  if (typeof encode !== 'function' || typeof decode !== 'function')
    throw expected(path, 'an object with the functions encode and decode', value)
  return value
}

/** @type {Check} */
function logger(value, path) {
  const { info, log } = /** @type {{ info?: unknown, log?: unknown }} */ (Object(value))
  if (typeof info !== 'function' && typeof log !== 'function')
    throw expected(path, 'a logger such as console, winston, pino or Nest’s', value)
  return value
}

/** @type {Check} */
function asGiven(value) {
  return value
}

const CACHE = {
  redis: asGiven,
  name: checks.text,
  namespace: check('a string', (value) => typeof value === 'string'),
  memoryMode: checks.flag,
  strict: checks.flag,
  l1,
  l2: group(L2),
  loader: group(LOADER),
  jitter: checks.share,
  invalidation: oneOf('auto', 'tracking', 'pubsub', 'off'),
  health: group(HEALTH),
  breaker: group(BREAKER),
  quota,
  logger,
  codec,
  logKeys: checks.flag,
}

/** Where names belong that people put at the top. @type {[string, Table][]} */
const INNER = [
  ['l2', L2],
  ['l1', L1],
  ['loader', LOADER],
  ['breaker', BREAKER],
]
const OF_REDIS = [
  'url',
  'host',
  'port',
  'path',
  'username',
  'password',
  'db',
  'tls',
  'retryStrategy',
  'keyPrefix',
  'lazyConnect',
  'connectTimeout',
  'commandTimeout',
  'maxRetriesPerRequest',
]

/** @param {object} options */
function refuseMisplaced(options) {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(CACHE, name)) continue
    const home = OF_REDIS.includes(name)
      ? 'redis'
      : INNER.find(([, table]) => Object.hasOwn(table, name))?.[0]
    if (home !== undefined)
      throw refused(
        `Expected \`${name}\` to be absent, got an unknown option; did you mean \`${home}.${name}\`?`,
      )
  }
}

/** Options that are each good but do not go together. @param {Record<string, any>} config */
function refuseContradictions(config) {
  if (config['namespace'] && config['redis']?.keyPrefix)
    throw refused('Expected `namespace` to be absent beside `redis.keyPrefix`, got both')
  if (config['l2']?.format !== 'plain') return
  if (config['codec']) throw refused('Expected `codec` to be absent with `l2.format: "plain"`, got both')
  if (config['l2'].compress)
    throw refused('Expected `l2.compress` to be absent with `l2.format: "plain"`, got both')
  for (const name of ['staleFor', 'tags'])
    if (config['loader']?.[name])
      throw refused(`Expected \`loader.${name}\` to be absent with \`l2.format: "plain"\`, got both`)
}

/**
 * @param {unknown} given what the constructor was called with
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Options}
 */
function readCacheOptions(given, environment) {
  if (!isObject(given)) throw expected('options', 'an object', given)
  refuseMisplaced(given)
  const { redis: loose, logger: log, codec: own, ...config } = readOptions(given, '', CACHE)
  const redis = readRedis(loose)
  const timeout = redis.commandTimeout
  if (timeout !== undefined) {
    if ((config['l2']?.timeout ?? timeout) !== timeout)
      throw refused('Expected `redis.commandTimeout` to be another name of `l2.timeout`, got two values')
    config['l2'] = { ...config['l2'], timeout }
  }
  if (redis.config) config['redis'] = redis.config
  if (log) config['logger'] = true
  if (own) config['codec'] = true
  if (/^(true|1)$/i.test(environment['USE_MEMORY_MODE'] ?? '')) config['memoryMode'] = true
  refuseContradictions(config)
  const hooks = { ...redis.hooks, ...(log && { logger: log }), ...(own && { codec: own }) }
  return { config, hooks, ignored: redis.ignored }
}

exports.readCacheOptions = readCacheOptions
