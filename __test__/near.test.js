'use strict'

// Hits that need no native call: the values are those that L1 has, for as long as it has them, and are counted as its hits.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { openCache } = require('./support/cache.js')
const { root, runScript } = require('./support/child.js')
const { until } = require('./support/wait.js')

/** As many gets as make a value a near one, and make L1 be asked again in between. */
const MANY = 200
const value = () => ({ id: 7, deep: { list: [1, { two: 2 }], none: null }, text: 'ü' })

/** What `MANY` gets found, the last one of which is the answer. */
async function often(cache, key, get = () => cache.get(key)) {
  let found
  for (let read = 0; read < MANY; read++) found = await get()
  return found
}

for (const [name, l1] of Object.entries({ copies: {}, 'shared objects': { shareObjects: true } })) {
  describe(name, () => {
    const kinds = {
      'an object': value(),
      'a list': [1, [2, { three: 3 }]],
      'an object with a key of the language': JSON.parse('{"__proto__":{"a":{"b":1}},"constructor":1}'),
      text: 'text',
      'no text': '',
      null: null,
      zero: 0,
      false: false,
      'a Date': new Date(0),
      'a Map': new Map([['a', { b: 1 }]]),
      'a Buffer': Buffer.from([1, 2, 3]),
    }
    for (const [kind, stored] of Object.entries(kinds)) {
      test(`${kind} is the same however often it is asked for`, async (t) => {
        const cache = openCache(t, { l1 })
        await cache.set('key', stored)
        for (let read = 0; read < MANY; read++) assert.deepEqual(await cache.get('key'), stored)
        assert.deepEqual(await cache.getOrSet('key', () => 'other'), stored)
        assert.equal(cache.stats().l1Hits, MANY + 1)
      })
    }

    const changes = {
      'set anew': [(cache) => cache.set('key', 'new'), 'new'],
      'set with others': [(cache) => cache.setMany({ other: 1, key: 'new' }), 'new'],
      deleted: [(cache) => cache.delete('key')],
      'deleted with others': [(cache) => cache.deleteMany(['other', 'key'])],
      'deleted by a pattern': [(cache) => cache.deletePattern('k*')],
      'deleted through a view': [(cache) => cache.namespaced('a').delete('key'), undefined, 'a:key'],
      cleared: [(cache) => cache.clear()],
      'marked as stale': [(cache) => cache.markStale('key')],
      'invalidated by its tag': [(cache) => cache.invalidateTags('tag')],
      incremented: [(cache) => cache.increment('key', 2), 3],
    }
    for (const [change, [make, after, key = 'key']] of Object.entries(changes)) {
      test(`a key that was ${change} is not what it was`, async (t) => {
        const cache = openCache(t, { l1 })
        await cache.set(key, 1, { tags: ['tag'] })
        if (change !== 'invalidated by its tag') await cache.set(key, 1)
        assert.equal(await often(cache, key), 1)
        await make(cache)
        assert.equal(await cache.get(key), after)
        assert.equal(await often(cache, key), after)
      })
    }

    test('a value is over when its time is', async (t) => {
      const cache = openCache(t, { l1 })
      await cache.set('key', value(), { ttl: 300 })
      assert.deepEqual(await often(cache, 'key'), value())
      let late = 0
      await until(async () => {
        const isThere = cache.peek('key') !== undefined
        late += Number(!isThere && (await cache.get('key')) !== undefined)
        return !isThere
      })
      assert.equal(late, 0)
    })

    const removals = {
      'deleted by a pattern': (cache) => cache.deletePattern('hot:*'),
      'deleted with all of a view': (cache) => cache.namespaced('hot').clear(),
    }
    for (const [change, remove] of Object.entries(removals)) {
      test(`a key that L1 evicted, and was then ${change}, is gone`, async (t) => {
        const cache = openCache(t, { l1: { maxBytes: 2 ** 20, ...l1 } })
        await cache.set('hot:1', value())
        await often(cache, 'hot:1')
        const filler = Array.from({ length: 3_000 }, (_, n) => [`other-${n}`, 'x'.repeat(2_000)])
        // What is asked for takes the place of what was.
        await until(async () => {
          for (const [key, text] of filler) {
            await cache.set(key, text)
            await cache.get(key)
          }
          return cache.peek('hot:1') === undefined
        })
        await remove(cache)
        assert.equal(await cache.get('hot:1'), undefined)
      })
    }

    test('after a burst at most seven hits are told that the time of a value is not over', async (t) => {
      const cache = openCache(t, { l1 })
      await cache.set('key', value(), { ttl: 300 })
      const asked = Array.from({ length: 200 }, () => cache.get('key'))
      while (cache.peek('key') !== undefined);
      const late = await Promise.all(Array.from({ length: 20 }, () => cache.get('key')))
      assert.deepEqual(await asked.at(-1), value())
      assert.ok(late.filter((found) => found !== undefined).length <= 7)
      assert.equal(late.at(-1), undefined)
    })

    test('more keys than are kept are all found', async (t) => {
      const cache = openCache(t, { l1 })
      const keys = Array.from({ length: 5_000 }, (_, n) => `key-${n}`)
      await cache.setMany(keys.map((key) => [key, { key }]))
      for (let round = 0; round < 4; round++)
        for (const key of keys) assert.deepEqual(await cache.get(key), { key })
      assert.equal(cache.stats().l1Hits, 4 * keys.length)
    })
  })
}

test('every caller has a copy of its own', async (t) => {
  const cache = openCache(t, {})
  await cache.set('key', value())
  for (let read = 0; read < MANY; read++) {
    const found = await cache.get('key')
    assert.deepEqual(found, value())
    found.deep.list[1].two = 'changed'
    found.deep.list.push('changed')
    delete found.id
  }
})

test('with shareObjects all callers have one object that nobody can change', async (t) => {
  const cache = openCache(t, { l1: { shareObjects: true } })
  await cache.set('key', value())
  const found = await often(cache, 'key')
  assert.equal(await cache.get('key'), found)
  assert.equal(await cache.getOrSet('key', value), found)
  assert.ok([found, found.deep, found.deep.list, found.deep.list[1]].every(Object.isFrozen))
})

test('what is nested deeply, or long, is found', async (t) => {
  const cache = openCache(t, {})
  const deep = JSON.parse('['.repeat(500) + ']'.repeat(500))
  const long = { text: 'x'.repeat(100_000) }
  await cache.setMany({ deep, long })
  assert.equal(JSON.stringify(await often(cache, 'deep')), JSON.stringify(deep))
  assert.deepEqual(await often(cache, 'long'), long)
})

test('hits are counted in every thread, also of one that has ended', async () => {
  const { code, stdout, stderr } = await runScript(`
    const { Worker } = require('node:worker_threads')
    const { Cache } = require('evenkeel')
    const source = \`
      const { parentPort } = require('node:worker_threads')
      const { Cache } = require(${JSON.stringify(root)})
      const cache = new Cache({ name: 'one' })
      ;(async () => {
        for (let read = 0; read < 1_000; read++) await cache.get('key')
        parentPort.postMessage(cache.stats().l1Hits)
      })()\`
    async function main() {
      const cache = new Cache({ name: 'one' })
      await cache.set('key', { a: 1 })
      for (let read = 0; read < 500; read++) await cache.get('key')
      const worker = new Worker(source, { eval: true })
      const seen = await new Promise((resolve) => worker.once('message', resolve))
      await worker.terminate()
      await cache.get('key')
      console.log(seen, cache.stats().l1Hits)
      await cache.close()
    }
    main()`)
  assert.deepEqual([code, stdout, stderr], [0, '1500 1501\n', ''])
})

test('where the runtime allows no memory that both sides see, the results are the same', async () => {
  const { code, stdout, stderr } = await runScript(`
    const native = require('./lib/native.js')
    native.nearMemory = () => undefined
    const { Cache } = require('evenkeel')
    async function main() {
      for (const l1 of [{}, { shareObjects: true }]) {
        const cache = new Cache({ l1 })
        await cache.set('key', { a: { b: 1 } })
        await cache.set('text', 'text')
        for (let read = 0; read < 500; read++) await cache.get('key')
        const found = await cache.get('key')
        console.log(JSON.stringify(found), Object.isFrozen(found.a), await cache.get('text'), cache.stats().l1Hits)
        await cache.delete('key')
        console.log(await cache.get('key'))
        await cache.close()
      }
    }
    main()`)
  const lines = ['{"a":{"b":1}} false text 502', 'undefined', '{"a":{"b":1}} true text 502', 'undefined', '']
  assert.deepEqual([code, stdout, stderr], [0, lines.join('\n'), ''])
})
