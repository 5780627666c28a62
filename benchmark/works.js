'use strict'

// What is measured: a work is an operation of some contenders, with so many callers at a time. `program` of contenders/ is what
// measures one of them; `outsiders` have programs of their own. `unit` says which of its figures is shown, `also` which others.

const { bounded, large, loaders, objects, shared, texts } = require('./caches.js')
const clients = require('./clients.js')
const { starts } = require('./starts.js')

const KEYS = 500

const product = (id, stock = 17) => ({
  id,
  name: 'Kettle, 1.2 l, brushed',
  price: 2499,
  currency: 'EUR',
  stock,
  tags: ['kitchen', 'travel'],
  rank: 0.825,
})
/** As an origin's driver makes it: the literals above are there once for all products. */
const parsed = (id) => JSON.parse(JSON.stringify(product(id)))
/** As long as the JSON of a product, unless it is to have another length. */
const text = (id, length = 126) => id.padEnd(length, 'x')

/** One that memory answers: `value` of a key, awaited one at a time. */
const hit = (title, contenders, value, op = 'get') => ({
  title,
  contenders,
  program: 'calls.js',
  value,
  op,
  inFlight: 1,
  keys: KEYS,
  ms: 200,
  unit: 'ns',
  isLocal: true,
})

/** One that Redis answers. */
const asked = (title, inFlight, { op = 'get', length = 126, ...other } = {}) => ({
  title,
  contenders: clients,
  program: 'calls.js',
  value: (id) => text(id, length),
  op,
  inFlight,
  // Each caller has keys of its own, so that no read can be shared.
  keys: Math.max(KEYS, 2 * inFlight),
  ms: 400,
  unit: inFlight === 1 ? 'µs' : 'k/s',
  isLocal: false,
  ...other,
})

/** Each caller asks for so many keys at a time. */
const BATCH = 100
const CALLERS = 4

module.exports = {
  'hit-object': hit('get of an object that is in L1', objects, product),
  'hit-text': hit('get of a string that is in L1', texts, text),
  'hit-load': hit('getOrSet of an object that is in L1', loaders, product, 'getOrSet'),
  threads: {
    ...hit(
      'get of a string that is in L1, all threads together',
      { 'one thread': 1, 'two threads': 2 },
      text,
    ),
    program: 'threads.js',
    open: shared,
    unit: 'k/s',
  },
  'get-1': asked('get from Redis, 1 in flight', 1),
  'get-1-ms': asked('get from Redis through a link of 1 ms, 1 in flight', 1, { isFar: true }),
  'get-10': asked('get from Redis, 10 in flight', 10),
  'get-100': asked('get from Redis, 100 in flight', 100, {
    outsiders: { 'redis-benchmark -c 1 -P 100': 'wire.js' },
    also: [{ id: 'get-100-cpu', title: 'get from Redis, 100 in flight: CPU for each', unit: 'µs of CPU' }],
  }),
  'get-1000': asked('get from Redis, 1,000 in flight', 1_000, {
    also: [
      { id: 'get-1000-delay', title: 'get from Redis, 1,000 in flight: event loop, p99', unit: 'ms late' },
    ],
  }),
  'miss-100': asked('get of what is nowhere, 100 in flight', 100, { op: 'miss' }),
  'many-100': asked('getMany of 100 keys from Redis, 4 in flight', CALLERS, {
    op: 'many',
    batch: BATCH,
    keys: 2 * CALLERS * BATCH,
  }),
  'set-100': asked('set in Redis, 100 in flight', 100, { op: 'set' }),
  'mixed-zipf': asked('90 % get, 10 % set, keys by Zipf, 100 in flight', 100, {
    op: 'mixed',
    contenders: bounded,
    value: product,
    keys: 10_000,
  }),
  'get-32b': asked('get of 32 bytes from Redis, 100 in flight', 100, { length: 32 }),
  'get-1k': asked('get of 1 KiB from Redis, 100 in flight', 100, { length: 1_024 }),
  'get-10k': asked('get of 10 KiB from Redis, 100 in flight', 100, { length: 10_240 }),
  'get-100k': asked('get of 100 KiB from Redis, 10 in flight', 10, { length: 102_400 }),
  'burst-1000': asked('commands for 1,000 gets at once of as many keys', 1_000, {
    bursts: 10,
    keys: 1_000,
    unit: 'commands',
  }),
  million: {
    title: 'a full collection beside a million entries',
    contenders: large,
    program: 'million.js',
    value: parsed,
    keys: 1_000_000,
    unit: 'ms of pause',
    also: [{ id: 'million-bytes', title: 'a million entries, beside key and value', unit: 'bytes an entry' }],
  },
  cold: {
    title: 'cold start: require and make, without Redis',
    contenders: starts,
    program: 'cold.js',
    unit: 'ms',
    also: [{ id: 'cold-size', title: 'the binary', unit: 'MB' }],
  },
}
