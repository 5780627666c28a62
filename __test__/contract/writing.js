'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')

module.exports = (kind) => {
  test('set resolves with nothing and replaces what was there', async (t) => {
    const cache = await kind.open(t)
    assert.equal(await cache.set('key', 1), undefined)
    await cache.set('key', { two: 2 })
    assert.deepEqual(await cache.get('key'), { two: 2 })
  })

  test('a read that follows a set without waiting sees what was set', async (t) => {
    const cache = await kind.open(t)
    const written = cache.set('key', 'new')
    assert.equal(await cache.get('key'), 'new')
    await written
  })

  test('wait: false resolves and the value is there', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 'value', { wait: false })
    assert.equal(await cache.get('key'), 'value')
    await cache.settled()
    assert.equal(await cache.get('key'), 'value')
  })

  const entries = [
    ['an object', { a: 1, b: 2 }],
    [
      'a Map',
      new Map([
        ['a', 1],
        ['b', 2],
      ]),
    ],
    [
      'pairs',
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    [
      'entries',
      [
        { key: 'a', value: 1 },
        { key: 'b', value: 2, ttl: 5_000, jitter: 0 },
      ],
    ],
  ]
  for (const [name, given] of entries) {
    test(`setMany takes ${name}`, async (t) => {
      const cache = await kind.open(t)
      assert.equal(await cache.setMany(given), undefined)
      assert.deepEqual(await cache.getMany(['a', 'b']), [1, 2])
    })
  }

  test('setMany takes a generator, and what an entry says wins over the call', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany(
      (function* () {
        yield { key: 'short', value: 1, ttl: 5_000 }
        yield ['long', 2]
      })(),
      { ttl: 50_000, jitter: 0 },
    )
    assert.ok((await cache.ttl('short')) <= 5_000)
    assert.ok((await cache.ttl('long')) > 5_000)
  })

  test('delete says whether the key was there, del is its other name', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 1, b: 2 })
    assert.equal(await cache.delete('a'), true)
    assert.equal(await cache.delete('a'), false)
    assert.equal(await cache.del('b'), true)
    assert.deepEqual(await cache.getMany(['a', 'b']), [undefined, undefined])
  })

  test('deleteMany says how many were there', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 1, b: 2, c: 3 })
    assert.equal(await cache.deleteMany(['a', 'c', 'none']), 2)
    assert.equal(await cache.deleteMany([]), 0)
    assert.deepEqual(await cache.getMany(['a', 'b', 'c']), [undefined, 2, undefined])
  })

  test('writes of one key take effect in the order in which they were called', async (t) => {
    const cache = await kind.open(t)
    const calls = []
    for (let n = 0; n < 50; n++) calls.push(n % 7 === 6 ? cache.delete('key') : cache.set('key', n))
    await Promise.all(calls)
    assert.equal(await cache.get('key'), 49)
  })

  if (kind.l2) {
    test('onlyIf is decided by Redis', async (t) => {
      const cache = await kind.open(t)
      assert.equal(await cache.set('key', 1, { onlyIf: 'present' }), false)
      assert.equal(await cache.set('key', 2, { onlyIf: 'absent' }), true)
      assert.equal(await cache.set('key', 3, { onlyIf: 'absent' }), false)
      assert.equal(await cache.get('key'), 2)
      assert.equal(await cache.set('key', 4, { onlyIf: 'present' }), true)
      assert.equal(await cache.get('key'), 4)
    })

    test('a value above maxValueBytes does not reach Redis, replaces what was there, and rejects only strict calls', async (t) => {
      const cache = await kind.open(t)
      const warnings = []
      cache.on('warning', (warning) => warnings.push(warning))
      const large = 'x'.repeat(2 * 1024 * 1024)
      await cache.set('key', 'old')
      await cache.set('key', large)
      assert.notEqual(await cache.get('key'), 'old')
      assert.equal(warnings.length, 1)
      await assert.rejects(cache.set('key', large, { strict: true }), { code: 'ERR_CACHE_VALUE_TOO_LARGE' })
    })
  }
}
