'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')
const { gated, origin } = require('../support/origin.js')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
  test('invalidateTags takes every entry that carries the tag, and no other', async (t) => {
    const cache = await kind.open(t)
    await cache.set('a', 1, { tags: ['red'] })
    await cache.set('b', { n: 2 }, { tags: ['red', 'blue'] })
    await cache.set('c', 3, { tags: ['blue'] })
    await cache.set('d', 4)
    assert.deepEqual(await cache.getMany(['a', 'b', 'c', 'd']), [1, { n: 2 }, 3, 4])
    assert.equal(await cache.invalidateTags('red'), undefined)
    assert.deepEqual(await cache.getMany(['a', 'b', 'c', 'd']), [undefined, undefined, 3, 4])
    assert.equal(await cache.get('a'), undefined)
    assert.equal(await cache.has('b'), false)
    assert.equal(cache.peek('a'), undefined)
  })

  test('several tags go at once, twice the same is once, and none is nothing', async (t) => {
    const cache = await kind.open(t)
    for (const tag of ['red', 'blue', 'green']) await cache.set(tag, 1, { tags: [tag] })
    await cache.invalidateTags()
    await cache.invalidateTags('red', 'blue', 'red', {})
    assert.deepEqual(await cache.getMany(['red', 'blue', 'green']), [undefined, undefined, 1])
  })

  test('a tag that no entry carries can be invalidated, before and after', async (t) => {
    const cache = await kind.open(t)
    await cache.invalidateTags('red')
    await cache.set('key', 1, { tags: ['red'] })
    assert.equal(await cache.get('key'), 1)
    await cache.invalidateTags('red')
    await cache.invalidateTags('red')
    await cache.set('key', 2, { tags: ['red'] })
    assert.equal(await cache.get('key'), 2)
  })

  test('any way of writing takes tags', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ 'many-1': 1, 'many-2': 2 }, { tags: ['red'] })
    await cache.setMany([
      { key: 'own', value: 3, tags: ['red'] },
      { key: 'other', value: 4, tags: ['blue'] },
    ])
    await cache.getOrSet('made', () => 5, { tags: ['red'] })
    const wrapped = cache.wrap(async (n) => n, { key: 'wrapped', tags: ['red'] })
    assert.equal(await wrapped(6), 6)
    await cache.set('unwaited', 7, { tags: ['red'], wait: false })
    const keys = ['many-1', 'many-2', 'own', 'other', 'made', 'wrapped:6', 'unwaited']
    await cache.settled()
    assert.deepEqual(await cache.getMany(keys), [1, 2, 3, 4, 5, 6, 7])
    await cache.invalidateTags('red')
    const none = undefined
    assert.deepEqual(await cache.getMany(keys), [none, none, none, 4, none, none, none])
  })

  test('the loader of the cache may have tags for all', async (t) => {
    const cache = await kind.open(t, { loader: { tags: ['all'] } })
    await cache.getOrSet('key', () => 1)
    await cache.getOrSet('own', () => 2, { tags: ['red'] })
    await cache.settled()
    await cache.invalidateTags('all')
    assert.deepEqual(await cache.getMany(['key', 'own']), [undefined, 2])
  })

  test('what is set without tags over an entry that had some has none', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', 1, { tags: ['red'] })
    await cache.set('key', 2)
    await cache.set('other', 1, { tags: ['red'] })
    await cache.set('other', 2, { tags: ['blue'] })
    await cache.invalidateTags('red')
    assert.deepEqual(await cache.getMany(['key', 'other']), [2, 2])
    await cache.invalidateTags('blue')
    assert.deepEqual(await cache.getMany(['key', 'other']), [2, undefined])
  })

  test('touch keeps the tags of an entry', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', { n: 1 }, { tags: ['red'] })
    assert.equal(await cache.touch('key', 30_000), true)
    assert.deepEqual(await cache.get('key'), { n: 1 })
    await cache.invalidateTags('red')
    assert.equal(await cache.get('key'), undefined)
  })

  test('onlyIf takes tags, and what it refuses keeps those it had', async (t) => {
    const cache = await kind.open(t)
    assert.equal(await cache.set('key', 1, { onlyIf: 'absent', tags: ['red'] }), true)
    assert.equal(await cache.set('key', 2, { onlyIf: 'absent', tags: ['blue'] }), false)
    await cache.invalidateTags('blue')
    assert.equal(await cache.get('key'), 1)
    assert.equal(await cache.set('key', 3, { onlyIf: 'present', tags: ['green'] }), true)
    await cache.invalidateTags('red')
    assert.equal(await cache.get('key'), 3)
    await cache.invalidateTags('green')
    assert.equal(await cache.get('key'), undefined)
  })

  test('every kind of value takes tags, an integer too', async (t) => {
    const cache = await kind.open(t)
    const values = [0, 7, null, false, '', 'text', { n: 1 }, new Map([[1, 2]]), Buffer.from([0, 255])]
    const keys = values.map((_, n) => `key-${n}`)
    for (const [n, key] of keys.entries()) await cache.set(key, values[n], { tags: ['red'] })
    assert.deepEqual(await cache.getMany(keys), values)
    await cache.invalidateTags('red')
    assert.deepEqual(await cache.getMany(keys), Array(values.length).fill(undefined))
  })

  test('an entry carries 255 tags, and any of them ends it', async (t) => {
    const cache = await kind.open(t)
    const tags = Array.from({ length: 255 }, (_, n) => `tag-${n}`)
    await cache.set('key', 1, { tags })
    assert.equal(await cache.get('key'), 1)
    await cache.invalidateTags('tag-254')
    assert.equal(await cache.get('key'), undefined)
    const many = cacheError('ERR_CACHE_OPTIONS', /at most 255 tags, got 256/)
    await assert.rejects(cache.set('key', 1, { tags: [...tags, 'one more'] }), many)
  })

  test('tags of a view act inside its prefix', async (t) => {
    const cache = await kind.open(t)
    const users = cache.namespaced('user')
    await users.set('1', 'Ada', { tags: ['vip'] })
    await cache.set('1', 'outside', { tags: ['vip'] })
    await cache.namespaced('shop').set('1', 'shop', { tags: ['vip'] })
    const seen = () => cache.getMany(['user:1', '1', 'shop:1'])
    await cache.invalidateTags('vip')
    assert.deepEqual(await seen(), ['Ada', undefined, 'shop'])
    await users.invalidateTags('vip')
    assert.deepEqual(await seen(), [undefined, undefined, 'shop'])
    await users.getOrSet('2', ({ setTags }) => (setTags('made'), 'Bo'))
    await cache.settled()
    await cache.invalidateTags('made')
    assert.equal(await users.get('2'), 'Bo')
    await users.invalidateTags('made')
    assert.equal(await users.get('2'), undefined)
  })

  test('tags of other namespaces do not touch each other', async (t) => {
    const [one, two] = [await kind.open(t), await kind.open(t)]
    await one.set('key', 1, { tags: ['red'] })
    await two.set('key', 2, { tags: ['red'] })
    await two.invalidateTags('red')
    assert.equal(await one.get('key'), 1)
    assert.equal(await two.get('key'), undefined)
  })

  const wrong = {
    'no array': 'red',
    'an empty tag': ['red', ''],
    'a number': [7],
    nothing: [undefined],
    'a lone surrogate': ['\ud800'],
    'more than 255 bytes': ['x'.repeat(256)],
    'more than 255 bytes in UTF-8': ['ü'.repeat(128)],
  }
  for (const [name, tags] of Object.entries(wrong)) {
    test(`${name} for tags is refused everywhere, and nothing is done`, async (t) => {
      const cache = await kind.open(t)
      const refused = cacheError('ERR_CACHE_OPTIONS', /tags/)
      const never = origin(() => 1)
      await assert.rejects(cache.set('key', 1, { tags }), refused)
      await assert.rejects(cache.setMany({ key: 1 }, { tags }), refused)
      await assert.rejects(cache.setMany([{ key: 'key', value: 1, tags }]), refused)
      await assert.rejects(cache.getOrSet('key', never.make, { tags }), refused)
      if (Array.isArray(tags)) await assert.rejects(cache.invalidateTags(...tags), refused)
      assert.equal(await cache.has('key'), false)
      assert.equal(never.calls, 0)
    })
  }

  test('the prefix of a view counts for the length of a tag', async (t) => {
    const cache = await kind.open(t)
    const view = cache.namespaced('user')
    await cache.set('key', 1, { tags: ['x'.repeat(255)] })
    await view.set('key', 1, { tags: ['x'.repeat(250)] })
    await assert.rejects(
      view.set('key', 1, { tags: ['x'.repeat(251)] }),
      cacheError('ERR_CACHE_OPTIONS', /tags/),
    )
  })

  test('a stale value of a tag that was invalidated is served to nobody', async (t) => {
    const cache = await kind.open(t)
    const options = { ttl: 60, staleFor: 60_000, jitter: 0, tags: ['red'] }
    await cache.set('key', 'old', options)
    await cache.set('marked', 'old', { ...options, ttl: 60_000 })
    await cache.markStale('marked')
    await until(async () => (await cache.get('key')) === undefined)
    const slow = gated()
    assert.equal(await cache.getOrSet('key', slow.make, options), 'old')
    slow.fail(new Error('origin is down'))
    await until(() => slow.calls === 1)
    await cache.settled()
    await cache.invalidateTags('red')
    assert.equal(await cache.getOrSet('key', () => 'new', options), 'new')
    const fail = async () => {
      throw new Error('origin is down')
    }
    await assert.rejects(cache.getOrSet('marked', fail, options), { message: 'origin is down' })
  })

  test('a stale value whose tag is invalidated while it is renewed stands in for nothing', async (t) => {
    const cache = await kind.open(t)
    const options = { ttl: 60, staleFor: 60_000, jitter: 0, tags: ['red'] }
    await cache.set('key', 'old', options)
    await until(async () => (await cache.get('key')) === undefined)
    const slow = gated()
    const asked = cache.getOrSet('key', slow.make, { ...options, factorySoftTimeout: 60_000 })
    await until(() => slow.calls === 1)
    await cache.invalidateTags('red')
    slow.fail(new Error('origin is down'))
    await assert.rejects(asked, { message: 'origin is down' })
  })

  const told = {
    'of the call': { options: { tags: ['red'] }, set: () => {} },
    'that its factory sets': { options: {}, set: ({ setTags }) => setTags('red') },
  }
  for (const [name, { options, set }] of Object.entries(told)) {
    test(`what a factory makes while a tag ${name} is invalidated is returned and not stored`, async (t) => {
      const cache = await kind.open(t)
      const slow = gated()
      const make = async (context) => {
        set(context)
        return slow.make(context)
      }
      const asked = cache.getOrSet('key', make, { ...options, factoryTimeout: 5_000 })
      await until(() => slow.calls === 1)
      await cache.invalidateTags('red')
      slow.open('from before')
      assert.equal(await asked, 'from before')
      await cache.settled()
      assert.equal(await cache.get('key'), undefined)
    })
  }

  test('who asks after a tag was invalidated does not get what a factory from before makes', async (t) => {
    const cache = await kind.open(t)
    const slow = gated()
    const options = { tags: ['red'], factoryTimeout: 5_000 }
    const before = cache.getOrSet('key', slow.make, options)
    await until(() => slow.calls === 1)
    await cache.invalidateTags('red')
    assert.equal(await cache.getOrSet('key', () => 'after', options), 'after')
    slow.open('before')
    assert.equal(await before, 'before')
    await cache.settled()
    assert.equal(await cache.get('key'), 'after')
  })
}
