'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')

module.exports = (kind) => {
  test('a missing key is undefined, not there and has no TTL', async (t) => {
    const cache = await kind.open(t)
    assert.equal(await cache.get('none'), undefined)
    assert.equal(await cache.has('none'), false)
    assert.equal(await cache.ttl('none'), undefined)
    assert.equal(cache.peek('none'), undefined)
  })

  test('getMany answers in the order of its keys, undefined for misses, duplicates too', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ a: 1, b: null, c: 'c' })
    const answer = await cache.getMany(['c', 'none', 'a', 'c', 'b'])
    assert.deepEqual(answer, ['c', undefined, 1, 'c', null])
  })

  test('getMany of nothing is nothing', async (t) => {
    const cache = await kind.open(t)
    assert.deepEqual(await cache.getMany([]), [])
  })

  test('a thousand reads at once are all answered', async (t) => {
    const cache = await kind.open(t)
    const keys = Array.from({ length: 1000 }, (_, index) => `key-${index}`)
    await cache.setMany(keys.map((key, index) => [key, index]))
    const answers = await Promise.all(keys.map((key) => cache.get(key)))
    assert.deepEqual(
      answers,
      keys.map((_, index) => index),
    )
  })

  test('peek answers from L1 at once and never from Redis', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', { a: 1 })
    assert.deepEqual(cache.peek('key'), kind.l1 ? { a: 1 } : undefined)
  })

  test('keys of any characters are keys', async (t) => {
    const cache = await kind.open(t)
    const keys = ['a b', 'ü', '漢', 'a:b:c', 'x\n', '*', '[', 'user{1}', 'a~', '0', 'x'.repeat(1000)]
    await cache.setMany(keys.map((key) => [key, key]))
    assert.deepEqual(await cache.getMany(keys), keys)
  })

  test('commands reach Redis, and reject where there is none', async (t) => {
    const cache = await kind.open(t)
    if (!kind.l2) {
      await assert.rejects(cache.command('PING'), { code: 'ERR_CACHE_L2_UNAVAILABLE' })
      await assert.rejects(cache.ping(), { code: 'ERR_CACHE_L2_UNAVAILABLE' })
      return
    }
    assert.equal(await cache.command('ECHO', ['hi']), 'hi')
    assert.deepEqual(await cache.command('ECHO', ['hi'], { buffers: true }), Buffer.from('hi'))
    assert.ok((await cache.ping()) >= 0)
    const [echo, wrong] = await cache.commands([['ECHO', 'a'], ['NOSUCHCOMMAND']])
    assert.deepEqual(echo, [null, 'a'])
    assert.equal(wrong[0].code, 'ERR_CACHE_REDIS_REPLY')
  })

  test('a cache that is ready says so again at once', async (t) => {
    const cache = await kind.open(t)
    await cache.ready()
    await cache.settled()
    assert.equal(cache.state, kind.l2 ? 'up' : 'idle')
  })
}
