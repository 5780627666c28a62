'use strict'

// The keys that the arguments of a wrapped function make: which, that no two lists share one, and what makes none.

const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const vm = require('node:vm')
const { cacheError, openCache } = require('./support/cache.js')
const { between, generator, oneOf, ownSeed } = require('./support/random.js')

describe('the key', () => {
  /** What makes the key of some arguments, of a cache in memory. */
  const keysOf = (t) => openCache(t).wrap(() => 1, { key: 'p' }).keyOf

  const cases = [
    ['no arguments: the prefix', [], 'p'],
    ['a number', [7], 'p:7'],
    ['minus zero is zero', [-0], 'p:0'],
    ['a fraction', [0.1], 'p:0.1'],
    ['a large number', [1e21], 'p:1e+21'],
    ['a text is quoted', ['7'], 'p:"7"'],
    ['an empty text', [''], 'p:""'],
    ['a text with everything', ['a:"b"\\\n\u2028ü🦉'], 'p:"a:\\"b\\"\\\\\\n\u2028ü🦉"'],
    ['booleans and null', [true, false, null], 'p:true:false:null'],
    ['undefined at the end was not given', [1, undefined, undefined], 'p:1'],
    ['undefined alone was not given', [undefined], 'p'],
    ['undefined between others is empty', [undefined, 1, undefined, 2], 'p::1::2'],
    ['names are sorted, on every level', [{ b: 1, a: { d: 1, c: 2 } }], 'p:{"a":{"c":2,"d":1},"b":1}'],
    ['in the order of their UTF-16', [{ ü: 1, z: 2, B: 3, 10: 4, 9: 5 }], 'p:{"10":4,"9":5,"B":3,"z":2,"ü":1}'],
    ['undefined in an object is absent', [{ a: undefined, b: 1 }], 'p:{"b":1}'],
    ['an array', [[1, [], ['a', null]]], 'p:[1,[],["a",null]]'],
    ['an object without a prototype', [Object.assign(Object.create(null), { a: 1 })], 'p:{"a":1}'],
    ['a key __proto__', [JSON.parse('{"b":1,"__proto__":{"a":1}}')], 'p:{"__proto__":{"a":1},"b":1}'],
    ['a toJSON that is data', [{ toJSON: 'x' }], 'p:{"toJSON":"x"}'],
    ['an object in two places', [[{ a: 1 }].flatMap((one) => [one, one])], 'p:[{"a":1},{"a":1}]'],
    ['a proxy of a plain object', [new Proxy({ a: 1 }, {})], 'p:{"a":1}'],
    ['64 levels', [deep(64)], `p:${'['.repeat(64)}${']'.repeat(64)}`],
  ] // prettier-ignore
  for (const [name, args, key] of cases) {
    test(`${name}`, (t) => assert.equal(keysOf(t)(...args), key))
  }

  test('an object of another realm is as plain as one of this', (t) => {
    const keyOf = keysOf(t)
    const foreign = vm.runInNewContext('({ b: [1, { c: [] }], a: Object.create(null) })')
    assert.equal(keyOf(foreign), keyOf({ b: [1, { c: [] }], a: {} }))
  })

  test('other lists of arguments have other keys, however alike they look', (t) => {
    const keyOf = keysOf(t)
    const lists = [
      [], [1], ['1'], [true], ['true'], [null], ['null'], ['undefined'], [undefined, null], [undefined, ''], [''], ['', ''],
      [1, 2], ['1:2'], ['1', '2'], ['1:"2'], ['1":"2'], ['1\\":\\"2'], [':'], [':', ':'], ['::'], [undefined, undefined, 1], [undefined, 1],
      [[]], [{}], [[], []], [[[]]], [[], {}], [[{}]], ['[]'], ['{}'], [[1, 2]], [[1], 2], [['1,2']], [['1', '2']], [[12]], [1, [2]],
      [{ a: 1 }], [{ a: '1' }], [{ 'a":1': 1 }], [{ a: 1, b: 2 }], [{ a: 1 }, { b: 2 }], [{ 'a:1,b': 2 }], [{ a: { b: 2 } }], [{ a: null }], [{ '': 1 }],
      [{ '': { '': 1 } }], ['a', 'b'], ['a:b'], ['a', ':b'], ['a:', 'b'], ['\\'], ['\\\\'], ['"'], ['\\"'], ['\n'], ['\\n'], ['ü'], ['u\u0308'],
    ] // prettier-ignore
    const keys = lists.map((args) => keyOf(...args))
    assert.equal(new Set(keys).size, lists.length, `${keys.filter((key, at) => keys.indexOf(key) !== at)}`)
  })

  test('random lists have the same key only if they are the same, seed printed on failure', (t) => {
    const keyOf = keysOf(t)
    const seed = ownSeed()
    const random = generator(seed)
    const known = new Map()
    for (let run = 0; run < 10_000; run++) {
      const args = Array.from({ length: between(random, 0, 4) }, () => tree(random, 2))
      const key = keyOf(...args)
      const same = listOf(args)
      assert.equal(keyOf(...args.map((each) => shuffled(random, each))), key, `SEED=${seed} run ${run}`)
      if (known.has(key)) assert.deepStrictEqual(same, known.get(key), `SEED=${seed} run ${run}: ${key}`)
      known.set(key, same)
    }
    const lists = new Set([...known.values()].map((list) => JSON.stringify(list)))
    assert.equal(lists.size, known.size, `SEED=${seed}`)
    assert.ok(known.size > 1_000 && known.size < 9_900, `${known.size} keys: some lists came twice`)
  })
})

describe('what makes no key', () => {
  class User {
    id = 1
  }
  const circle = { a: { b: [] } }
  circle.a.b.push(circle)
  const cases = [
    ['a function', [() => 1], 'arguments[0]', /a function/],
    ['a symbol', [1, Symbol('x')], 'arguments[1]', /a symbol/],
    ['a bigint', [{ a: [10n] }], 'arguments[0].a[0]', /a bigint/],
    ['NaN', [NaN], 'arguments[0]', /NaN/],
    ['infinity', [{ least: -Infinity }], 'arguments[0].least', /-Infinity/],
    ['a Date', [1, { filter: { since: new Date(0) } }], 'arguments[1].filter.since', /instance of Date/],
    ['a Map', [new Map([['a', 1]])], 'arguments[0]', /instance of Map/],
    ['a Set', [[new Set()]], 'arguments[0][0]', /instance of Set/],
    ['a RegExp', [{ 'x-y': /a/ }], 'arguments[0]["x-y"]', /instance of RegExp/],
    ['a Buffer', [Buffer.from('a')], 'arguments[0]', /instance of Buffer/],
    ['a typed array', [new Float32Array(1)], 'arguments[0]', /instance of Float32Array/],
    ['an ArrayBuffer', [new ArrayBuffer(1)], 'arguments[0]', /instance of ArrayBuffer/],
    ['an error', [new RangeError('x')], 'arguments[0]', /instance of RangeError/],
    ['a promise', [Promise.resolve(1)], 'arguments[0]', /instance of Promise/],
    ['an instance of a class', [{ user: new User() }], 'arguments[0].user', /instance of User/],
    ['an instance of a class without a name', [new (class {})()], 'arguments[0]', /instance of a class/],
    ['an array of a class', [new (class List extends Array {})()], 'arguments[0]', /instance of List/],
    ['an object that inherits', [Object.create({ a: 1 })], 'arguments[0]', /instance of a class/],
    ['a boxed number', [Object(1)], 'arguments[0]', /instance of Number/],
    ['a boxed text', [[Object('x')]], 'arguments[0][0]', /instance of String/],
    ['a Date that hides its prototype', [Object.setPrototypeOf(new Date(), null)], 'arguments[0]', /instance of Date/],
    ['the arguments of a function', [(function () { return arguments })(1)], 'arguments[0]', /instance of Arguments/],
    ['an object of the language', [Math], 'arguments[0]', /instance of Math/],
    ['a Date of another realm', [vm.runInNewContext('new Date()')], 'arguments[0]', /instance of Date/],
    ['an instance of a class of another realm', [vm.runInNewContext('new (class Far {})()')], 'arguments[0]', /instance of Far/],
    ['an object of another realm that inherits', [vm.runInNewContext('Object.create({ a: 1 })')], 'arguments[0]', /instance of a class/],
    ['a cycle', [0, circle], 'arguments[1].a.b[0]', /a cycle/],
    ['undefined in an array', [[1, undefined]], 'arguments[0][1]', /undefined/],
    ['a hole', [[1, , 3]], 'arguments[0][1]', /undefined/], // oxlint-disable-line no-sparse-arrays
    ['an array with more than its elements', ['abc'.match(/b/)], 'arguments[0]', /properties of its own/],
    ['a symbol for a name', [{ a: { [Symbol('s')]: 1 } }], 'arguments[0].a', /symbols/],
    ['a hidden property', [Object.defineProperty({}, 'a', { value: 1 })], 'arguments[0]', /hidden/],
    ['toJSON', [{ amount: Object.create(null, { toJSON: { value: () => 1, enumerable: true } }) }], 'arguments[0].amount', /toJSON/],
    ['a lone surrogate', [{ name: 'a\ud800' }], 'arguments[0].name', /surrogate/],
    ['a lone surrogate in a name', [[{ '\udc00': 1 }]], 'arguments[0][0]', /surrogate/],
    ['a getter that throws', [{ get a() { throw new Error('boom') } }], 'arguments[0]', /boom/],
    ['65 levels', [deep(65)], `arguments[0]${'[0]'.repeat(64)}`, /64 levels/],
    ['a hundred thousand levels', [deep(100_000)], `arguments[0]${'[0]'.repeat(64)}`, /64 levels/],
    ['a text that is too long', [1, 'x'.repeat(40_000)], 'arguments[1]', /more than a key may hold/],
  ] // prettier-ignore
  for (const [name, args, path, got] of cases) {
    test(`${name} rejects, names the place and says what to do`, async (t) => {
      const cache = openCache(t)
      let calls = 0
      const find = cache.wrap(() => ++calls, { key: 'user' })
      const refused = (error) => {
        assert.equal(error.name, 'CacheError')
        assert.equal(error.code, 'ERR_CACHE_KEY')
        assert.ok(error.message.startsWith(`Expected \`${path}\` to be plain JSON, got `), error.message)
        assert.match(error.message, got)
        assert.match(error.message, /pass a key function: \{ key: /)
        assert.equal(error.message.split('Expected').length, 2)
        return true
      }
      await assert.rejects(find(...args), refused)
      await assert.rejects(find.fresh(...args), refused)
      await assert.rejects(find.delete(...args), refused)
      assert.throws(() => find.keyOf(...args), refused)
      assert.equal(calls, 0)
    })
  }

  test('what would fill the memory is refused at once', async (t) => {
    const find = openCache(t).wrap(async () => 1, { key: 'user' })
    let doubled = []
    for (let level = 0; level < 50; level++) doubled = [doubled, doubled]
    await assert.rejects(find(doubled), cacheError('ERR_CACHE_KEY', /more than a key may hold/))
    await assert.rejects(
      find(Array(1_000_000).fill(0)),
      cacheError('ERR_CACHE_KEY', /more than a key may hold/),
    )
  })

  test('a signal is to be left out', async (t) => {
    const find = openCache(t).wrap(async () => 1, { key: 'user' })
    const leave = cacheError('ERR_CACHE_KEY', /instance of AbortSignal; pass a key function that leaves the signal out: \{ key: /) // prettier-ignore
    await assert.rejects(find(1, new AbortController().signal), leave)
    await assert.rejects(find(1, { signal: AbortSignal.abort() }), leave)
  })

  const functions = {
    'an empty text': [() => '', /got an empty string/],
    nothing: [() => {}, /got undefined/],
    'a number': [(id) => id, /got 1/],
    'a promise': [async (id) => `user:${id}`, /got a promise/],
    'a promise that rejects': [async () => { throw new Error('late') }, /got a promise/], // prettier-ignore
  }
  for (const [name, [key, got]] of Object.entries(functions)) {
    test(`a key function that gives ${name} rejects`, async (t) => {
      const cache = openCache(t)
      let calls = 0
      const find = cache.wrap(() => ++calls, { key })
      await assert.rejects(find(1), cacheError('ERR_CACHE_KEY', got))
      await assert.rejects(find.delete(1), cacheError('ERR_CACHE_KEY', got))
      assert.throws(() => find.keyOf(1), cacheError('ERR_CACHE_KEY', got))
      assert.equal(calls, 0)
    })
  }

  test('a key function that throws rejects with its error for a cause', async (t) => {
    const cause = new TypeError('no id')
    const key = () => {
      throw cause
    }
    const find = openCache(t).wrap(async () => 1, { key })
    await assert.rejects(find(1), { ...cacheError('ERR_CACHE_KEY', /no id/), cause })
  })

  test('a key that the cache refuses is refused here too', async (t) => {
    const cache = openCache(t)
    await assert.rejects(cache.wrap(() => 1, { key: '~tag' })(1), cacheError('ERR_CACHE_KEY'))
    await assert.rejects(
      cache.wrap(() => 1, { key: 'user' })('ü'.repeat(17 * 1024)),
      cacheError('ERR_CACHE_KEY'),
    )
  })
})

/** So many arrays, each in the next. */
function deep(levels) {
  let value = []
  for (let level = 1; level < levels; level++) value = [value]
  return value
}

const NAMES = ['a', 'b', 'a:b', '"', '\\', ',', '{}', '']
const LEAVES = [undefined, null, true, 0, -0, 1, 12, '', '1', ':', '":"', '\\', 'null', '[]', 'a,b', '}:{']

/** Something that may be an argument, with what JSON itself is made of wherever it can be. */
function tree(random, levels) {
  const some = (make) => Array.from({ length: between(random, 0, 3) }, make)
  const kind = levels === 0 ? 0 : between(random, 0, 4)
  if (kind === 1) return some(() => tree(random, levels - 1) ?? null)
  if (kind >= 2) return Object.fromEntries(some(() => [oneOf(random, NAMES), tree(random, levels - 1)]))
  return oneOf(random, LEAVES)
}

/** The same with the names of every object in another order. */
function shuffled(random, value) {
  if (Array.isArray(value)) return value.map((each) => shuffled(random, each))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([name, each]) => [random(), name, shuffled(random, each)])
  return Object.fromEntries(entries.sort(([a], [b]) => a - b).map(([, name, each]) => [name, each]))
}

/** What a list of arguments means: without what counts as absent, `undefined` as a word of its own, names in order. */
function listOf(args) {
  const last = args.findLastIndex((each) => each !== undefined)
  return args.slice(0, last + 1).map((each) => (each === undefined ? ['absent'] : { given: meaning(each) }))
}

function meaning(value) {
  if (Array.isArray(value)) return value.map(meaning)
  if (typeof value !== 'object' || value === null) return value === 0 ? 0 : value
  const names = Object.keys(value).filter((name) => value[name] !== undefined)
  return { of: names.toSorted().map((name) => [name, meaning(value[name])]) }
}
