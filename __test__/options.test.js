'use strict'
const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { inspect } = require('node:util')
const { readCacheOptions } = require('../lib/options.js')

const CANARY = 'canary-5ecret'
const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'

/** @param {unknown} options @param {NodeJS.ProcessEnv} [environment] */
function config(options, environment = {}) {
  return readCacheOptions(options, environment).config
}

/** @param {unknown} options @param {string | RegExp} message */
function refuses(options, message) {
  assert.throws(
    () => config(options),
    (/** @type {any} */ error) => {
      assert.equal(error.code, 'ERR_CACHE_OPTIONS')
      if (typeof message === 'string') assert.equal(error.message, message)
      else assert.match(error.message, message)
      assert.ok(!inspect(error).includes(CANARY))
      return true
    },
  )
}

describe('configurations of ioredis can be pasted in', () => {
  const times = (/** @type {number} */ n) => Math.min(n * 50, 2000)
  /** @type {[string, unknown, object][]} */
  const projects = [
    ['a job queue in the manner of BullMQ', { host: 'redis', port: 6379, maxRetriesPerRequest: null, enableReadyCheck: false }, { redis: { host: 'redis', port: 6379, maxRetriesPerRequest: 1_000_000, enableReadyCheck: false } }],
    ['a session store', { host: '127.0.0.1', port: 6379, db: 2, keyPrefix: 'sess:', password: CANARY, enableOfflineQueue: false }, { redis: { host: '127.0.0.1', port: 6379, db: 2, keyPrefix: 'sess:', password: CANARY } }],
    ['a hosted service behind TLS', { host: 'my.cache.amazonaws.com', port: 6380, username: 'app', password: CANARY, tls: {}, connectTimeout: 10_000, keepAlive: 30_000 }, { redis: { host: 'my.cache.amazonaws.com', port: 6380, username: 'app', password: CANARY, tls: true, connectTimeout: 10_000, keepAlive: 30_000 } }],
    ['a unix socket', { path: '/var/run/redis/redis.sock', db: 0 }, { redis: { path: '/var/run/redis/redis.sock', db: 0 } }],
    ['a URL in the manner of Upstash, its password percent-encoded', `rediss://default:${CANARY}%2F%40%3A@eu1-example.upstash.io:6379`, { redis: { url: `rediss://default:${CANARY}%2F%40%3A@eu1-example.upstash.io:6379` } }],
    ['a strategy for reconnecting', { host: 'localhost', retryStrategy: times, reconnectOnError: () => true, lazyConnect: true }, { redis: { host: 'localhost', retryStrategy: true, lazyConnect: true } }],
    ['everything from environment variables, some of them unset', { host: 'localhost', port: '6379', db: '1', username: undefined, password: undefined, tls: undefined }, { redis: { host: 'localhost', port: 6379, db: 1 } }],
    ['ioredis’ defaults written out', { host: 'localhost', port: 6379, family: 4, connectTimeout: 10_000, noDelay: true, keepAlive: 0, path: null, username: null, password: null, db: 0, connectionName: null, stringNumbers: false, readOnly: false, enableAutoPipelining: false, autoResubscribe: true, autoResendUnfulfilledCommands: true, lazyConnect: false, keyPrefix: '', natMap: null, monitor: false, maxRetriesPerRequest: 20, sentinels: null, name: null }, { redis: { host: 'localhost', port: 6379, family: 4, connectTimeout: 10_000, keepAlive: 0, db: 0, lazyConnect: false, maxRetriesPerRequest: 20 } }],
    ['certificates of its own', { host: 'redis.internal', tls: { ca: [PEM, Buffer.from(PEM)], cert: PEM, key: Buffer.from(PEM), servername: 'redis.internal', rejectUnauthorized: true, minVersion: 'TLSv1.2' } }, { redis: { host: 'redis.internal', tls: { ca: [PEM, PEM], cert: PEM, key: PEM, servername: 'redis.internal', rejectUnauthorized: true } } }],
    ['a platform with a self-signed certificate', { url: `rediss://:${CANARY}@ec2-1-2-3-4.compute.amazonaws.com:7000`, tls: { rejectUnauthorized: false }, maxRetriesPerRequest: 0 }, { redis: { url: `rediss://:${CANARY}@ec2-1-2-3-4.compute.amazonaws.com:7000`, tls: { rejectUnauthorized: false }, maxRetriesPerRequest: 0 } }],
    ['a deadline for commands', { host: 'localhost', commandTimeout: 800, connectionName: 'api:1', enableAutoPipelining: true, showFriendlyErrorStack: true }, { redis: { host: 'localhost', connectionName: 'api:1' }, l2: { timeout: 800 } }],
    ['a dual-stack platform', { host: 'redis.railway.internal', family: 0, port: 6379, password: CANARY, dnsLookup: (/** @type {string} */ _host, /** @type {Function} */ done) => done(null, '::1') }, { redis: { host: 'redis.railway.internal', family: 0, port: 6379, password: CANARY } }],
  ] // prettier-ignore
  for (const [name, redis, expected] of projects)
    test(name, () => assert.deepEqual(config({ redis }), expected))

  test('functions stay here and what has no effect is listed', () => {
    const credentials = async () => ({ username: 'a', password: 'b' })
    const read = readCacheOptions({ redis: { host: 'a', retryStrategy: times, credentials, enableOfflineQueue: true, dnsLookup: times } }, {}) // prettier-ignore
    assert.deepEqual(read.hooks, { retryStrategy: times, credentials })
    assert.deepEqual(read.ignored, ['enableOfflineQueue', 'dnsLookup'])
    assert.deepEqual(read.config, { redis: { host: 'a', retryStrategy: true, credentials: true } })
  })
})

describe('redis', () => {
  test('absent or false is memory only', () => {
    for (const redis of [undefined, false]) assert.deepEqual(config({ redis }), {})
  })

  test('may be the path of a socket', () => assert.deepEqual(config({ redis: '/run/r.sock' }), { redis: { path: '/run/r.sock' } })) // prettier-ignore

  test('what would change results is refused with the reason', () => {
    refuses({ redis: { stringNumbers: true } }, 'Expected `redis.stringNumbers` to be absent, got a boolean; numbers are returned as numbers') // prettier-ignore
    for (const name of ['Connector', 'readOnly', 'scripts', 'natMap']) refuses({ redis: { [name]: {} } }, new RegExp(`redis.${name}.*; .+`)) // prettier-ignore
    refuses({ redis: { tls: { checkServerIdentity: () => undefined } } }, /servername/)
    refuses({ redis: { tls: { minVersion: 'TLSv1.3' } } }, /1\.2/)
  })

  test('redisOptions count as if they stood beside the nodes, which win', () => {
    const nodes = [{ host: 'a', port: 1 }]
    const redis = { nodes, password: 'own', redisOptions: { password: 'shared', maxRetriesPerRequest: null, db: null, family: 4 } } // prettier-ignore
    const expected = { nodes, password: 'own', family: 4, maxRetriesPerRequest: 1_000_000 }
    assert.deepEqual(config({ redis }), { redis: expected })
    assert.deepEqual(config({ redis: { nodes, redisOptions: null } }), { redis: { nodes } })
  })

  test('sentinels and nodes are lists of addresses, and exclude each other', () => {
    const address = { host: 'a', port: 1 }
    refuses({ redis: { sentinels: [address] } }, /redis\.name.* to be what the sentinels call the master/)
    refuses({ redis: { sentinels: [], name: 'm' } }, /redis\.sentinels.* to be an array of \{ host, port \}/)
    refuses({ redis: { nodes: [{ prot: 1 }] } }, /redis\.nodes\[0\]\.prot/)
    refuses({ redis: { nodes: [address], sentinels: [address], name: 'm' } }, /got both/)
    refuses({ redis: { nodes: [address], redisOptions: { nodes: [address] } } }, /beside `redisOptions`/)
    refuses({ redis: { sentinels: [address], name: 'm', role: 'slave' } }, /a cache has to write/)
  })

  test('a client is not its options', () =>
    refuses({ redis: { sendCommand() {}, options: {} } }, /got a client/))

  test('wrong types name the option, and never show a secret', () => {
    refuses({ redis: { port: 'six' } }, 'Expected `redis.port` to be a port from 1 to 65535, got "six"')
    refuses({ redis: { port: 70_000 } }, /got 70000/)
    refuses({ redis: { db: -1 } }, /`redis.db` to be a database number, got -1/)
    refuses({ redis: { family: 5 } }, 'Expected `redis.family` to be 0, 4 or 6, got 5')
    refuses({ redis: { retryStrategy: 5 } }, /`redis.retryStrategy` to be a function, got 5/)
    refuses({ redis: { password: [CANARY] } }, 'Expected `redis.password` to be a string, got an array')
    refuses({ redis: { tls: { key: { pem: CANARY } } } }, 'Expected `redis.tls.key` to be PEM text, a Buffer of it or the path of a file, got an object') // prettier-ignore
    refuses({ redis: { tls: { ca: [PEM, 5] } } }, /`redis.tls.ca\[1\]`/)
    refuses({ redis: { connectionName: 'a b' } }, /printable/)
    refuses({ redis: 5 }, /got a number/)
    refuses({ redis: null }, /got null/)
    refuses({ redis: '' }, 'Expected `redis` to be a redis:// or rediss:// URL, got an empty string')
    refuses({ redis: `http://x:${CANARY}@host` }, 'Expected `redis` to be a redis:// or rediss:// URL, got the scheme http://') // prettier-ignore
    refuses({ redis: `:${CANARY}@host:6379` }, /got a string without a scheme/)
    refuses({ redis: { url: `x:${CANARY}@host` } }, /`redis.url`.*without a scheme/)
  })

  test('two names of one thing must agree', () => {
    assert.deepEqual(config({ redis: { commandTimeout: 5 }, l2: { timeout: 5, ttl: 9 } }), { redis: {}, l2: { timeout: 5, ttl: 9 } }) // prettier-ignore
    refuses({ redis: { commandTimeout: 5 }, l2: { timeout: 6 } }, /two values/)
    refuses({ redis: { keyPrefix: 'a:' }, namespace: 'a' }, /got both/)
  })
})

describe('options of the cache', () => {
  test('none, and everything', () => {
    assert.deepEqual(config({}), {})
    const all = {
      name: 'main', namespace: 'app', memoryMode: false, strict: true, jitter: 0, invalidation: 'off', logKeys: true,
      l1: { ttl: 1000, maxBytes: 1, maxEntries: 2, shareObjects: true, plainTtl: 5 },
      l2: { ttl: null, format: 'envelope', maxValueBytes: 2 ** 20, compress: false, timeout: 500, softTimeout: 'auto' },
      loader: { ttl: 5, l1Ttl: 6, staleFor: 0, jitter: 1, factoryTimeout: false, strict: false },
      health: { interval: 0, timeout: 5 },
      breaker: { window: 1, minCalls: 2, failureRate: 0.5, slowRate: 1, openFor: 3, maxOpenFor: 4, probes: 5 },
      quota: { commands: 500_000, window: 'month', connections: 'server', warnAt: [0.8, 1] },
    } // prettier-ignore
    assert.deepEqual(config({ ...all, redis: false }), all)
  })

  test('undefined counts as absent everywhere', () => {
    assert.deepEqual(config({ name: undefined, l1: { ttl: undefined }, logger: undefined }), { l1: {} })
  })

  test('durations are whole milliseconds, rounded up', () => assert.deepEqual(config({ l1: { ttl: 0.2 } }), { l1: { ttl: 1 } })) // prettier-ignore

  test('loggers of four shapes are accepted, and nothing else', () => {
    const none = () => {}
    for (const logger of [console, { info: none, bindings: none }, { log: none, error: none }, Object.assign(none, { info: none })]) {
      assert.deepEqual(config({ logger }), { logger: true })
    } // prettier-ignore
    refuses({ logger: {} }, /`logger` to be a logger/)
    refuses({ logger: true }, /got true/)
  })

  test('a codec has both functions and no plain format beside it', () => {
    const codec = { encode: () => Buffer.alloc(0), decode: () => 0 }
    assert.deepEqual(config({ codec }), { codec: true })
    refuses({ codec: { encode: codec.encode } }, /encode and decode/)
    refuses({ codec, l2: { format: 'plain' } }, /got both/)
    refuses({ l2: { format: 'plain', compress: true } }, /got both/)
    refuses({ loader: { staleFor: 5 }, l2: { format: 'plain' } }, /loader.staleFor/)
  })

  test('an unknown name is answered with the nearest known one', () => {
    refuses(
      { namspace: 'x' },
      'Expected `namspace` to be absent, got an unknown option; did you mean `namespace`?',
    )
    refuses({ redis: { hots: 'x' } }, 'Expected `redis.hots` to be absent, got an unknown option; did you mean `redis.host`?') // prettier-ignore
    refuses({ l1: { maxbytes: 5 } }, /did you mean `l1.maxBytes`\?/)
    refuses({ l2: { ttll: 5 } }, /did you mean `l2.ttl`\?/)
    refuses({ constructor: 5 }, /unknown option/)
    refuses({ qqqqqqqqqqqq: 5 }, /known are redis, name/)
  })

  test('a name in the wrong place is answered with the right one', () => {
    refuses({ ttl: 5 }, /did you mean `l2.ttl`\?/)
    refuses({ host: 'x' }, /did you mean `redis.host`\?/)
    refuses({ maxBytes: 5 }, /did you mean `l1.maxBytes`\?/)
  })

  test('values out of range name the option and show the value', () => {
    for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '60', null, 2 ** 60]) {
      refuses({ l1: { ttl } }, /^Expected `l1.ttl` to be a positive number of milliseconds, got /)
    }
    refuses({ l2: { ttl: -1 } }, 'Expected `l2.ttl` to be a positive number of milliseconds or null, got -1')
    refuses({ l2: { compress: 'zstd' } }, 'Expected `l2.compress` to be a boolean or an object, got "zstd"')
    refuses({ l2: { compress: { above: 0 } } }, /`l2.compress.above` to be a positive integer/)
    refuses({ l2: { format: 'json' } }, 'Expected `l2.format` to be "envelope" or "plain", got "json"')
    refuses({ l2: { softTimeout: true } }, /or "auto" or false, got true/)
    refuses({ jitter: 1.5 }, /a number from 0 to 1, got 1.5/)
    refuses({ jitter: '0.5' }, /got "0.5"/)
    refuses({ strict: 'yes' }, /a boolean, got "yes"/)
    refuses({ l1: true }, 'Expected `l1` to be an object or false, got true')
    refuses({ l2: [] }, 'Expected `l2` to be an object, got an array')
    refuses({ name: '' }, /a non-empty string, got an empty string/)
    refuses({ breaker: { failureRate: 0 } }, /above 0/)
    refuses({ quota: { window: 'day' } }, /`quota.commands` to be a positive integer, got undefined/)
    refuses({ quota: { commands: 5 } }, /`quota.window` to be "day" or "month", got undefined/)
    refuses({ quota: { commands: 5, window: 'day', warnAt: [0.5, 2] } }, /`quota.warnAt\[1\]`/)
    for (const options of [5, 'redis://x', null, []])
      refuses(options, /^Expected `options` to be an object, got /)
  })

  test('words that are not among those that there are', () => {
    refuses(
      { invalidation: 'on' },
      'Expected `invalidation` to be "auto", "tracking", "pubsub" or "off", got "on"',
    )
  })

  test('defaults of getOrSet are checked as its options are', () => {
    refuses(
      { loader: { eagerRefresh: 1 } },
      /`loader.eagerRefresh` to be a number above 0 and below 1, got 1/,
    )
    refuses({ loader: { tags: 'all' } }, /`loader.tags` to be an array of non-empty strings, got "all"/)
    refuses({ loader: { tags: ['a', ''] } }, /`loader.tags\[1\]` to be a non-empty, well-formed string/)
    refuses({ loader: { lock: 1 } }, /`loader.lock` to be a boolean, got 1/)
    refuses({ loader: { retryAfter: -1 } }, /`loader.retryAfter` to be a non-negative number/)
    refuses({ l2: { format: 'plain' }, loader: { tags: ['a'] } }, /`loader.tags` to be absent with/)
  })
})

describe('USE_MEMORY_MODE', () => {
  test('true or 1 in any case wins over the option', () => {
    for (const value of ['true', 'TRUE', 'True', '1']) {
      assert.deepEqual(config({ memoryMode: false }, { USE_MEMORY_MODE: value }), { memoryMode: true })
    }
  })

  test('anything else changes nothing', () => {
    for (const value of ['', '0', 'false', 'yes', undefined])
      assert.deepEqual(config({}, { USE_MEMORY_MODE: value }), {})
    assert.deepEqual(config({ memoryMode: true }, { USE_MEMORY_MODE: 'false' }), { memoryMode: true })
  })
})
