'use strict'

const assert = require('node:assert/strict')
const { AsyncLocalStorage } = require('node:async_hooks')
const { test } = require('node:test')
const { until } = require('../support/wait.js')

module.exports = (kind) => {
  test('getOrSet makes a value once and has it from then on', async (t) => {
    const cache = await kind.open(t)
    let calls = 0
    const make = () => ({ made: ++calls })
    assert.deepEqual(await cache.getOrSet('key', make), { made: 1 })
    assert.deepEqual(await cache.getOrSet('key', make), { made: 1 })
    assert.deepEqual(await cache.get('key'), { made: 1 })
  })

  test('however many ask, one factory runs', async (t) => {
    const cache = await kind.open(t)
    let calls = 0
    const gate = withResolvers()
    const make = async () => {
      calls += 1
      await gate.promise
      return 'value'
    }
    const asked = Array.from({ length: 50 }, () => cache.getOrSet('key', make))
    await until(() => calls > 0)
    gate.resolve()
    assert.deepEqual(await Promise.all(asked), Array(50).fill('value'))
    assert.equal(calls, 1)
  })

  for (const value of [null, 0, '', false]) {
    test(`${JSON.stringify(value)} from a factory is stored`, async (t) => {
      const cache = await kind.open(t)
      assert.equal(await cache.getOrSet('key', () => value), value)
      assert.equal(await cache.getOrSet('key', () => 'other'), value)
    })
  }

  test('undefined from a factory is returned and not stored', async (t) => {
    const cache = await kind.open(t)
    assert.equal(await cache.getOrSet('key', () => undefined), undefined)
    assert.equal(await cache.getOrSet('key', () => 'now'), 'now')
  })

  test('the error of a factory reaches every caller unchanged, and the next one tries again', async (t) => {
    const cache = await kind.open(t)
    const error = new TypeError('no such product')
    const fail = async () => {
      throw error
    }
    const calls = [cache.getOrSet('key', fail), cache.getOrSet('key', fail)]
    for (const { reason } of await Promise.allSettled(calls)) assert.equal(reason, error)
    assert.equal(await cache.getOrSet('key', () => 'made'), 'made')
  })

  test('a factory is told the key and can skip storing or set the TTL', async (t) => {
    const cache = await kind.open(t)
    const skipping = ({ key, skip }) => {
      skip()
      return `of ${key}`
    }
    assert.equal(await cache.getOrSet('a', skipping), 'of a')
    assert.equal(await cache.has('a'), false)
    const limited = ({ setTtl }) => {
      setTtl(20_000)
      return 1
    }
    await cache.getOrSet('b', limited, { jitter: 0 })
    await cache.settled()
    const ttl = await cache.ttl('b')
    assert.ok(ttl > 15_000 && ttl <= 20_000, `${ttl} ms`)
  })

  test('a factory runs in the context of its caller', async (t) => {
    const cache = await kind.open(t)
    const requests = new AsyncLocalStorage()
    const seen = () => requests.getStore()
    const within = (request, call) => requests.run(request, call)
    assert.equal(await within('a', () => cache.getOrSet('a', seen)), 'a')
    assert.deepEqual(await within('b', () => cache.getOrSetMany(['b', 'c'], () => [seen(), 1])), ['b', 1])
    assert.equal(await within('d', () => cache.wrap(seen, { key: 'd' })()), 'd')
    await cache.set('e', 'old', { ttl: 20, staleFor: 60_000, jitter: 0 })
    await until(async () => (await cache.get('e')) === undefined)
    assert.equal(await within('e', () => cache.getOrSet('e', seen, { staleFor: 60_000 })), 'old')
    await until(async () => (await cache.get('e')) === 'e')
  })

  test('a factory past its timeout rejects, and the key is free again', async (t) => {
    const cache = await kind.open(t)
    const stuck = cache.getOrSet('key', () => new Promise(() => {}), { factoryTimeout: 50 })
    await assert.rejects(stuck, { code: 'ERR_CACHE_FACTORY_TIMEOUT' })
    assert.equal(await cache.getOrSet('key', () => 'made'), 'made')
  })

  test('a caller whose signal aborts leaves alone, and the factory is aborted with the last', async (t) => {
    const cache = await kind.open(t)
    const [first, second] = [new AbortController(), new AbortController()]
    let inner
    const make = ({ signal }) => {
      inner = signal
      return new Promise(() => {})
    }
    const one = cache.getOrSet('key', make, { signal: first.signal })
    const two = cache.getOrSet('key', make, { signal: second.signal })
    await until(() => inner)
    first.abort()
    await assert.rejects(one, { code: 'ERR_CACHE_ABORTED' })
    assert.equal(inner.aborted, false)
    second.abort()
    await assert.rejects(two, { code: 'ERR_CACHE_ABORTED' })
    await until(() => inner.aborted, { message: 'the signal of the factory aborts' })
  })

  test('what a slow factory makes is not stored over a delete', async (t) => {
    const cache = await kind.open(t)
    const gate = withResolvers()
    let started = false
    const slow = cache.getOrSet('key', async () => {
      started = true
      await gate.promise
      return 'old'
    })
    await until(() => started)
    await cache.delete('key')
    gate.resolve()
    assert.equal(await slow, 'old')
    await cache.settled()
    assert.equal(await cache.get('key'), undefined)
  })

  test('a value that cannot be stored is returned all the same', async (t) => {
    const cache = await kind.open(t)
    const large = 'x'.repeat(2 * 1024 * 1024)
    assert.equal((await cache.getOrSet('large', () => large)).length, large.length)
  })
}

function withResolvers() {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}
