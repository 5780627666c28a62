'use strict'

// Where the product does otherwise than its documentation says, and nobody has decided yet which is right. The model keeps to the
// documentation, and sequences go around these places: a record is left out (`skip`), or something is done before it (`first`).
// `shows` is the shortest way there, and rejects as long as the product does otherwise. What is decided goes from here;
// `MODEL_UNDECIDED=1` lets sequences step into it.

const assert = require('node:assert/strict')

const withRedis = ({ l2 }) => l2

/** Whether a record counts on an entry that a tag took: what Redis holds of it is no number. */
const countsOnInvalidated = (model, { op, key }) => op === 'increment' && model.entries.get(key)?.gone

/** Whether a record counts on what is past its TTL and kept for loaders. */
const countsOnStale = (model, { op, key }) => op === 'increment' && model.there(key) === undefined

const UNDECIDED = [
  {
    what: 'an increment in place of what is stale keeps its turn among calls that are not awaited',
    kinds: withRedis,
    ops: ['together'],
    when: (model, { records }) => model.kind.l2 && records.some((each) => countsOnStale(model, each)),
    skip: true,
    async shows(cache) {
      await cache.set('key', 'text', { staleFor: 60_000 })
      await cache.markStale('key')
      assert.deepEqual(await Promise.all([cache.increment('key'), cache.increment('key')]), [1, 2])
    },
  },
  {
    what: 'an entry whose tag was invalidated is not there for increment',
    kinds: withRedis,
    ops: ['increment', 'together'],
    when: (model, { records, ...record }) =>
      model.kind.l2 && (records ?? [record]).some((each) => countsOnInvalidated(model, each)),
    skip: true,
    async shows(cache) {
      await cache.set('key', 'text', { tags: ['tag'] })
      await cache.invalidateTags('tag')
      assert.equal(await cache.get('key'), undefined)
      assert.equal(await cache.increment('key'), 1)
    },
  },
  {
    what: 'an increment that rejects, since the number would be too large, leaves the number alone',
    kinds: withRedis,
    ops: [],
    async shows(cache) {
      await cache.set('key', Number.MAX_SAFE_INTEGER)
      await assert.rejects(cache.increment('key'), { code: 'ERR_CACHE_VALUE' })
      assert.equal(await cache.get('key'), Number.MAX_SAFE_INTEGER)
    },
  },
]

/** The row that a record would step into. */
function undecided(model, record) {
  if (process.env.MODEL_UNDECIDED) return undefined
  return UNDECIDED.find(({ ops, when }) => ops.includes(record.op) && when(model, record))
}

module.exports = { UNDECIDED, undecided }
