'use strict'

// The channel `evenkeel:operation`: one message an operation for those who listen, and nothing for anybody else.

const assert = require('node:assert/strict')
const { AsyncLocalStorage } = require('node:async_hooks')
const diagnostics = require('node:diagnostics_channel')
const { performance } = require('node:perf_hooks')
const { after, before, describe, test } = require('node:test')
const { cacheError, openCache, openOn, ownNamespace } = require('./support/cache.js')
const { runScript } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { timed, until } = require('./support/wait.js')

const NAME = 'evenkeel:operation'

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** The messages from now on: `take()` gives those since the last time, without their durations, which are looked at here. */
function listen(t) {
  let messages = []
  const listener = (message) => messages.push(message)
  diagnostics.subscribe(NAME, listener)
  const stop = () => diagnostics.unsubscribe(NAME, listener)
  t.after(stop)
  return {
    stop,
    durations: () => messages.map(({ duration }) => duration),
    take() {
      const taken = messages.map(({ duration, ...rest }) => {
        assert.ok(Number.isFinite(duration) && duration >= 0 && duration < 10_000, `${duration} ms`)
        return rest
      })
      messages = []
      return taken
    },
  }
}

const HOUR = 3_600_000

describe('in memory', () => {
  /** A cache, its messages, and what they have in common. */
  function open(t, options = {}) {
    const cache = openCache(t, { name: ownNamespace(), ...options })
    return { cache, heard: listen(t) }
  }
  const names = (messages) =>
    messages.map(({ operation, key, tier, outcome }) => [operation, key, tier, outcome])

  test('a message says which cache did what with which key, where and how it ended', async (t) => {
    const name = ownNamespace()
    const cache = openCache(t, { name })
    const heard = listen(t)
    await cache.set('key', 1)
    await cache.get('key')
    const common = { cache: name, key: 'key', tier: 'l1' }
    assert.deepEqual(heard.take(), [
      { ...common, operation: 'set', outcome: 'ok' },
      { ...common, operation: 'get', outcome: 'hit' },
    ])
  })

  test('reads say whether there was something', async (t) => {
    const { cache, heard } = open(t)
    await cache.set('key', false)
    heard.take()
    const calls = [
      () => cache.get('key'),
      () => cache.get('none'),
      () => cache.get('key', { as: 'string' }),
      () => cache.has('key'),
      () => cache.has('none'),
      () => cache.ttl('key'),
      () => cache.ttl('none'),
    ]
    for (const call of calls) await call()
    assert.deepEqual(names(heard.take()), [
      ['get', 'key', 'l1', 'hit'],
      ['get', 'none', 'l1', 'miss'],
      ['get', 'key', 'l1', 'hit'],
      ['has', 'key', 'l1', 'hit'],
      ['has', 'none', 'l1', 'miss'],
      ['ttl', 'key', 'l1', 'hit'],
      ['ttl', 'none', 'l1', 'miss'],
    ])
  })

  test('writes and what is about several keys are ok, several have no key', async (t) => {
    const { cache, heard } = open(t)
    await cache.setMany({ a: 1, b: 2 })
    await cache.getMany(['a', 'b', 'c'])
    await cache.touch('a', HOUR)
    await cache.increment('count')
    await cache.delete('a')
    await cache.deleteMany(['b', 'c'])
    await cache.invalidateTags('tag')
    assert.deepEqual(names(heard.take()), [
      ['setMany', undefined, 'l1', 'ok'],
      ['getMany', undefined, 'l1', 'ok'],
      ['touch', 'a', 'l1', 'ok'],
      ['increment', 'count', 'l1', 'ok'],
      ['delete', 'a', 'l1', 'ok'],
      ['deleteMany', undefined, 'l1', 'ok'],
      ['invalidateTags', undefined, 'l1', 'ok'],
    ])
  })

  test('a load says that it loaded, then that it hit', async (t) => {
    const { cache, heard } = open(t)
    await cache.getOrSet('key', () => 1)
    await cache.getOrSet('key', () => 2)
    await cache.getOrSet('key', () => 3, { ttl: HOUR })
    await cache.getOrSet('key', () => 4, { eagerRefresh: 0.9 })
    assert.deepEqual(names(heard.take()), [
      ['getOrSet', 'key', 'origin', 'loaded'],
      ['getOrSet', 'key', 'l1', 'hit'],
      ['getOrSet', 'key', 'l1', 'hit'],
      ['getOrSet', 'key', 'l1', 'hit'],
    ])
  })

  test('everybody who waits for a factory is told of, with how long it took them', async (t) => {
    const { cache, heard } = open(t)
    const slow = () => new Promise((resolve) => setTimeout(resolve, 30, 'made'))
    const { ms } = await timed(() => Promise.all([cache.getOrSet('key', slow), cache.getOrSet('key', slow)]))
    for (const duration of heard.durations()) assert.ok(duration >= 25 && duration <= ms, `${duration} ms`)
    assert.deepEqual(names(heard.take()), Array(2).fill(['getOrSet', 'key', 'origin', 'loaded']))
  })

  test('the error of a factory is told as it is', async (t) => {
    const { cache, heard } = open(t)
    const error = new RangeError('no such thing')
    await assert.rejects(cache.getOrSet('key', () => Promise.reject(error)))
    const [message, ...rest] = heard.take()
    assert.deepEqual(rest, [])
    assert.equal(message.error, error)
    assert.deepEqual(names([message]), [['getOrSet', 'key', 'origin', 'error']])
  })

  test('so is a factory that takes too long, and an operation that Redis is missing for', async (t) => {
    const { cache, heard } = open(t)
    const stuck = () => new Promise(() => {})
    await assert.rejects(cache.getOrSet('key', stuck, { factoryTimeout: 20 }))
    await assert.rejects(cache.ping())
    const codes = heard.take().map(({ operation, outcome, error }) => [operation, outcome, error.code])
    assert.deepEqual(codes, [
      ['getOrSet', 'error', 'ERR_CACHE_FACTORY_TIMEOUT'],
      ['ping', 'error', 'ERR_CACHE_L2_UNAVAILABLE'],
    ])
  })

  test('what a signal aborts is an error, told when it aborts', async (t) => {
    const { cache, heard } = open(t)
    const leaving = new AbortController()
    const left = cache.getOrSet('key', () => new Promise(() => {}), { signal: leaving.signal })
    leaving.abort()
    await assert.rejects(left, cacheError('ERR_CACHE_ABORTED'))
    const [{ error, ...message }, ...rest] = heard.take()
    assert.deepEqual(rest, [])
    assert.equal(error.code, 'ERR_CACHE_ABORTED')
    assert.deepEqual(names([message]), [['getOrSet', 'key', 'origin', 'error']])
  })

  test('a stale answer is told once, and its refresh is not', async (t) => {
    const { cache, heard } = open(t)
    await cache.set('key', 'old', { ttl: 20, staleFor: HOUR, jitter: 0 })
    await until(() => cache.peek('key') === undefined)
    heard.take()
    const slow = () => new Promise((resolve) => setTimeout(resolve, 100, 'new'))
    assert.equal(await cache.getOrSet('key', slow, { ttl: HOUR, staleFor: HOUR }), 'old')
    for (const duration of heard.durations()) assert.ok(duration < 80, `${duration} ms`)
    await until(() => cache.peek('key') === 'new')
    await cache.getOrSet('key', slow)
    assert.deepEqual(names(heard.take()), [
      ['getOrSet', 'key', 'l1', 'stale'],
      ['getOrSet', 'key', 'l1', 'hit'],
    ])
  })

  test('an eager refresh is a hit, and told once', async (t) => {
    const { cache, heard } = open(t)
    await cache.set('key', 'old', { ttl: 2_000, jitter: 0 })
    await until(async () => (await cache.ttl('key')) < 1_800)
    heard.take()
    await cache.getOrSet('key', () => 'new', { eagerRefresh: 0.1 })
    await until(() => cache.peek('key') === 'new')
    assert.deepEqual(names(heard.take()), [['getOrSet', 'key', 'l1', 'hit']])
  })

  test('a getOrSetMany is told key by key', async (t) => {
    const { cache, heard } = open(t)
    await cache.set('a', 1)
    heard.take()
    await cache.getOrSetMany(['a', 'b', 'c', 'b'], (keys) => keys)
    assert.deepEqual(names(heard.take()).toSorted(), [
      ['getOrSet', 'a', 'l1', 'hit'],
      ['getOrSet', 'b', 'origin', 'loaded'],
      ['getOrSet', 'c', 'origin', 'loaded'],
    ])
  })

  test('what cannot be decoded is a miss, and loaded, told once each', async (t) => {
    let isBroken = false
    const codec = {
      encode: (value) => Buffer.from(value),
      decode(bytes) {
        if (isBroken && String(bytes) === 'old') throw new Error('not mine')
        return String(bytes)
      },
    }
    const { cache, heard } = open(t, { codec })
    await cache.set('key', 'old')
    isBroken = true
    await cache.get('key')
    await cache.get('key', {})
    await cache.getOrSet('key', () => 'new')
    assert.deepEqual(names(heard.take()), [
      ['set', 'key', 'l1', 'ok'],
      ['get', 'key', 'l1', 'miss'],
      ['get', 'key', 'l1', 'miss'],
      ['getOrSet', 'key', 'origin', 'loaded'],
    ])
  })

  test('the key is as the caller of a view gave it', async (t) => {
    const { cache, heard } = open(t)
    await cache.namespaced('user').set('1', 'Ada')
    assert.deepEqual(names(heard.take()), [['set', '1', 'l1', 'ok']])
  })

  test('what is refused is not told', async (t) => {
    const { cache, heard } = open(t)
    await assert.rejects(cache.set('', 1))
    await assert.rejects(cache.get('key', { signal: AbortSignal.abort() }))
    await assert.rejects(cache.getOrSet('key', () => 1, { ttl: 0 }))
    await cache.close()
    heard.take()
    assert.equal(await cache.get('key'), undefined)
    assert.deepEqual(heard.take(), [])
  })

  test('from unsubscribing on there are no messages, also of what had begun', async (t) => {
    const { cache, heard } = open(t)
    await cache.set('key', 1)
    assert.equal(heard.take().length, 1)
    let open_
    const slow = cache.getOrSet('slow', () => new Promise((resolve) => (open_ = resolve)))
    heard.stop()
    await cache.get('key')
    open_('made')
    assert.equal(await slow, 'made')
    assert.deepEqual(heard.take(), [])
    assert.equal(diagnostics.hasSubscribers(NAME), false)
  })

  test('a listener that throws harms no operation', async () => {
    const { code, stdout } = await runScript(`
      const { Cache } = require('evenkeel')
      require('node:diagnostics_channel').subscribe('${NAME}', () => { throw new Error('of the listener') })
      const errors = []
      process.on('uncaughtException', (error) => errors.push(error.message))
      const cache = new Cache()
      async function main() {
        await cache.set('key', 1)
        console.log(await cache.get('key'), await cache.getOrSet('other', async () => 2))
        await cache.close()
        setImmediate(() => console.log(errors.length > 0 && errors.every((text) => text === 'of the listener')))
      }
      main()`)
    assert.deepEqual([code, stdout], [0, '1 2\ntrue\n'])
  })
})

test('nobody listens: no clock is read and nothing is published', async () => {
  // In a process of its own, since the channel and the clock are replaced by what counts: the clock of those who trace, who look
  // for it at each call.
  const { code, stdout, stderr } = await runScript(`
    const { performance } = require('node:perf_hooks')
    const channel = require('node:diagnostics_channel').channel('${NAME}')
    const { Cache } = require('evenkeel')
    let [clock, published] = [0, 0]
    const now = performance.now.bind(performance)
    Object.defineProperty(performance, 'now', { value: () => (clock++, now()) })
    Object.defineProperty(channel, 'publish', { value: () => published++ })
    const cache = new Cache()
    async function main() {
      await cache.set('key', 1)
      await cache.get('key')
      await cache.get('none')
      await cache.getMany(['key', 'none'])
      await cache.getOrSet('key', () => 1)
      await cache.getOrSet('made', () => 1)
      await cache.getOrSetMany(['key', 'many'], (keys) => keys)
      console.log(clock, published)
      await cache.close()
    }
    main()`)
  assert.deepEqual([code, stdout, stderr], [0, '0 0\n', ''])
})

describe('with Redis', () => {
  const names = (messages) =>
    messages.map(({ operation, key, tier, outcome }) => [operation, key, tier, outcome])

  test('what Redis answered is of l2, what memory has is of l1', async (t) => {
    const namespace = ownNamespace()
    const [cache, other] = [await openOn(t, server, { namespace }), await openOn(t, server, { namespace })]
    await other.setMany({ a: 1, b: 2, c: 3 })
    // Behind the news of that, which would keep the answer of a read under way out of L1.
    await cache.ping()
    const heard = listen(t)
    await cache.get('a')
    await cache.get('a')
    await cache.get('none')
    await cache.getOrSet('b', () => 'made')
    await cache.getMany(['b', 'c'])
    await cache.getOrSet('none', () => 'made')
    await cache.set('d', 4)
    assert.deepEqual(names(heard.take()), [
      ['get', 'a', 'l2', 'hit'],
      ['get', 'a', 'l1', 'hit'],
      ['get', 'none', 'l2', 'miss'],
      ['getOrSet', 'b', 'l2', 'hit'],
      ['getMany', undefined, 'l2', 'ok'],
      ['getOrSet', 'none', 'origin', 'loaded'],
      ['set', 'd', 'l2', 'ok'],
    ])
  })

  test('who listens hears in the context of the call', async (t) => {
    const requests = new AsyncLocalStorage()
    const heard = []
    const listener = ({ operation, outcome }) => heard.push([requests.getStore(), operation, outcome])
    const cache = await openOn(t, server)
    diagnostics.subscribe(NAME, listener)
    t.after(() => diagnostics.unsubscribe(NAME, listener))
    const leaving = new AbortController()
    await requests.run(1, () => cache.set('key', 1))
    await requests.run(2, () => cache.get('key'))
    await requests.run(3, () => cache.get('none'))
    await requests.run(4, () => cache.getOrSet('made', () => 1))
    await requests.run(5, () => cache.getMany(['key', 'none']))
    const left = requests.run(6, () => cache.getOrSet('left', () => {}, { signal: leaving.signal }))
    leaving.abort()
    await assert.rejects(left)
    assert.deepEqual(heard, [
      [1, 'set', 'ok'],
      [2, 'get', 'hit'],
      [3, 'get', 'miss'],
      [4, 'getOrSet', 'loaded'],
      [5, 'getMany', 'ok'],
      [6, 'getOrSet', 'error'],
    ])
  })

  test('a stale answer of Redis is told once', async (t) => {
    const cache = await openOn(t, server, { l1: false })
    await cache.set('key', 'old', { ttl: 20, staleFor: HOUR, jitter: 0 })
    await until(async () => (await cache.get('key')) === undefined)
    const heard = listen(t)
    assert.equal(await cache.getOrSet('key', () => 'new', { ttl: HOUR, staleFor: HOUR }), 'old')
    await until(async () => (await cache.get('key')) === 'new')
    const loads = heard.take().filter(({ operation }) => operation === 'getOrSet')
    assert.deepEqual(names(loads), [['getOrSet', 'key', 'l2', 'stale']])
  })

  test('a strict operation without Redis is an error', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own)
    await own.kill()
    await until(() => cache.state !== 'up')
    const heard = listen(t)
    const began = performance.now()
    await assert.rejects(cache.get('key', { strict: true }))
    await assert.rejects(cache.getOrSet('key', () => 1, { strict: true }))
    const most = performance.now() - began
    for (const duration of heard.durations()) assert.ok(duration <= most)
    for (const { outcome, error } of heard.take())
      assert.deepEqual([outcome, error.code], ['error', 'ERR_CACHE_L2_UNAVAILABLE'])
  })
})
