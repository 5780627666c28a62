'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')

module.exports = (kind) => {
  test('a namespaced view reads and writes below its prefix', async (t) => {
    const cache = await kind.open(t)
    const users = cache.namespaced('user')
    await users.set('1', 'Ada')
    assert.equal(await cache.get('user:1'), 'Ada')
    await cache.set('user:2', 'Bo')
    assert.deepEqual(await users.getMany(['1', '2']), ['Ada', 'Bo'])
    assert.equal(await users.namespaced('deep').has('1'), false)
  })

  test('clear and patterns of a view act inside its prefix', async (t) => {
    const cache = await kind.open(t)
    const users = cache.namespaced('user')
    await cache.setMany({ 'user:1': 1, 'user:2': 2, 'other:1': 3, users: 4 })
    assert.equal(await users.deletePattern('1'), 1)
    await users.clear()
    assert.deepEqual(await cache.getMany(['user:1', 'user:2', 'other:1', 'users']), [
      undefined,
      undefined,
      3,
      4,
    ])
  })

  test('a view has no close and shares figures and state', async (t) => {
    const cache = await kind.open(t)
    const view = cache.namespaced('user')
    assert.equal(view.close, undefined)
    assert.equal(view.state, cache.state)
    await view.set('1', 1)
    assert.deepEqual(view.health().cache.l1, cache.health().cache.l1)
  })

  test('two caches of other namespaces do not see each other', async (t) => {
    const [one, two] = [await kind.open(t), await kind.open(t)]
    await one.set('key', 1)
    await two.set('key', 2)
    await two.clear()
    assert.equal(await one.get('key'), 1)
    assert.equal(await two.get('key'), undefined)
  })

  test('after close reads find nothing, factories run, writes and strict calls reject', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1)
    await cache.close()
    await cache.close()
    assert.equal(await cache.get('key'), undefined)
    assert.deepEqual(await cache.getMany(['key']), [undefined])
    assert.equal(await cache.has('key'), false)
    assert.equal(cache.peek('key'), undefined)
    assert.equal(await cache.getOrSet('key', () => 'made'), 'made')
    const closed = cacheError('ERR_CACHE_CLOSED')
    await assert.rejects(cache.set('key', 2), closed)
    await assert.rejects(cache.delete('key'), closed)
    await assert.rejects(cache.get('key', { strict: true }), closed)
    assert.equal(cache.state, 'closed')
    assert.equal(cache.health().status, 'closed')
  })
}
