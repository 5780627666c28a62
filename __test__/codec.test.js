'use strict'
const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const { createCodec } = require('../lib/codec.js')
const { KIND } = require('../lib/kinds.js')
const { between, generator, oneOf, ownSeed } = require('./support/random.js')

/** Properties of everything, which no value may add to. */
const PROTOTYPE = Object.getOwnPropertyNames(Object.prototype).length
const envelope = createCodec()
const plain = createCodec({ format: 'plain' })

/** @param {unknown} value */
function roundTrip(value) {
  const { kind, payload } = envelope.encode(value)
  return envelope.decode(kind, payload)
}

/** @param {string} path @param {RegExp} [got] */
function refusal(path, got = /./) {
  return (/** @type {any} */ error) => {
    assert.equal(error.name, 'CacheError')
    assert.equal(error.code, 'ERR_CACHE_VALUE')
    assert.ok(error.message.startsWith(`Expected \`${path}\` to be storable, got `), error.message)
    assert.match(error.message, got)
    return true
  }
}

describe('kinds of payloads', () => {
  const cases = [
    ['a string is text', 'abc', KIND.TEXT, 'abc'],
    ['an empty string is text', '', KIND.TEXT, ''],
    ['a string of digits stays text', '42', KIND.TEXT, '42'],
    ['an integer is its digits', 42, KIND.JSON, '42'],
    ['minus zero is zero', -0, KIND.JSON, '0'],
    ['false', false, KIND.JSON, 'false'],
    ['null', null, KIND.JSON, 'null'],
    ['a plain object is JSON', { a: [1, 'b', null] }, KIND.JSON, '{"a":[1,"b",null]}'],
    ['undefined is left out as in JSON', { a: undefined, b: [undefined] }, KIND.JSON, '{"b":[null]}'],
    ['a hole is null as in JSON', Array(2), KIND.JSON, '[null,null]'],
    ['a class instance is its properties', new (class { a = 1 })(), KIND.JSON, '{"a":1}'],
    ['boxed primitives are unboxed', { a: Object(1), b: Object('x'), c: Object(false) }, KIND.JSON, '{"a":1,"b":"x","c":false}'],
    ['a bigint is rich', 10n, KIND.RICH, '{"$bigint":"10"}'],
    ['a boxed bigint is rich', Object(10n), KIND.RICH, '{"$bigint":"10"}'],
    ['NaN is rich', Number.NaN, KIND.RICH, '{"$number":"NaN"}'],
    ['a Date is rich', new Date(0), KIND.RICH, '{"$date":"1970-01-01T00:00:00.000Z"}'],
    ['an invalid Date is rich', new Date(Number.NaN), KIND.RICH, '{"$date":null}'],
    ['a Map is rich', new Map([['a', 1]]), KIND.RICH, '{"$map":[["a",1]]}'],
    ['a Set is rich', new Set([1, 1n]), KIND.RICH, '{"$set":[1,{"$bigint":"1"}]}'],
    ['nested bytes are base64', { b: Buffer.from('hi') }, KIND.RICH, '{"b":{"$bytes":"aGk="}}'],
    ['one dollar key is escaped', { $date: 1 }, KIND.RICH, '{"$$date":1}'],
    ['also when the others are undefined', { $date: 1, b: undefined }, KIND.RICH, '{"$$date":1}'],
    ['two keys need no escape', { $date: 1, b: 2 }, KIND.JSON, '{"$date":1,"b":2}'],
  ] // prettier-ignore
  for (const [name, value, kind, payload] of cases) {
    test(String(name), () => assert.deepEqual(envelope.encode(value), { kind, payload }))
  }

  test('bytes are themselves, also those of a Uint8Array that sees a part of its buffer', () => {
    const part = new Uint8Array([1, 2, 3, 4]).subarray(1, 3)
    assert.deepEqual(envelope.encode(part), { kind: KIND.BYTES, payload: Buffer.from([2, 3]) })
    const buffer = Buffer.from('x')
    assert.equal(envelope.encode(buffer).payload, buffer)
  })

  test('a string with a lone surrogate goes as JSON, which can escape it', () => {
    assert.deepEqual(envelope.encode('a\ud800'), { kind: KIND.JSON, payload: '"a\\ud800"' })
    assert.equal(roundTrip('a\ud800'), 'a\ud800')
  })
})

describe('what goes in comes out', () => {
  const values = [
    '', 'grüße 🦭', 0, 1.5, -1, Number.MAX_SAFE_INTEGER, 1e300, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0n, -1n, 2n ** 80n,
    true, false, null, [], {}, [[]], new Date(0), new Date(8.64e15), new Date(-8.64e15), new Map(), new Set(), Buffer.alloc(0), Buffer.from([0, 255]),
    { a: { b: [new Date(5), { c: new Map([[{ k: 1 }, new Set([1n, Number.NaN])]]) }] } },
    new Map([[new Date(1), new Map([[1, Buffer.from('deep')]])]]),
    { $date: 'a string' }, { $$date: 1 }, { $$$: { $map: [] } }, { $: 1 }, { $set: new Set([{ $bigint: '5' }]) }, [{ $unknown: null }],
    { constructor: 1, toString: 'x', hasOwnProperty: null, when: new Date(3) }, { toJSON: 'not a function', when: new Date(3) },
    { '': 1, 'a.b': 2, 0: 'index', when: new Date(3) },
  ] // prettier-ignore
  for (const value of values) {
    test(`${typeof value} ${JSON.stringify(envelope.encode(value).payload.toString()).slice(0, 60)}`, () =>
      assert.deepStrictEqual(roundTrip(value), value))
  }

  test('a key __proto__ stays a key, in JSON and in the rich notation', () => {
    const json = '{"__proto__":{"a":1}}'
    assert.equal(JSON.stringify(roundTrip(JSON.parse(json))), json)
    const value = JSON.parse('{"__proto__":{"a":1},"when":0}')
    value.when = new Date(0)
    const back = /** @type {any} */ (roundTrip(value))
    assert.deepEqual(Object.keys(back), ['__proto__', 'when'])
    assert.equal(Object.getPrototypeOf(back), Object.prototype)
    assert.deepEqual(Object.getOwnPropertyDescriptor(back, '__proto__')?.value, { a: 1 })
  })

  test('rich values inside a key __proto__ do not become the prototype', () => {
    const value = JSON.parse('{"__proto__":{}}')
    Object.defineProperty(value, '__proto__', { value: { when: new Date(7) }, enumerable: true })
    const back = /** @type {any} */ (roundTrip(value))
    assert.equal(Object.getPrototypeOf(back), Object.prototype)
    assert.deepEqual(Object.getOwnPropertyDescriptor(back, '__proto__')?.value, { when: new Date(7) })
  })

  test('the argument is neither changed nor frozen', () => {
    const value = { a: [new Date(1)], $b: { $c: 1n } }
    const before = structuredClone(value)
    envelope.encode(value)
    assert.deepStrictEqual(value, before)
    assert.ok(!Object.isFrozen(value))
  })

  test('an object that stands in two places is stored twice', () => {
    const shared = { when: new Date(1) }
    assert.deepStrictEqual(roundTrip([shared, shared, { shared }]), [shared, shared, { shared }])
  })

  test('random trees, seed printed on failure', () => {
    const seed = ownSeed()
    const random = generator(seed)
    for (let run = 0; run < 3_000; run++) {
      const value = tree(random, 4)
      assert.deepStrictEqual(roundTrip(value), value, `SEED=${seed} run ${run}`)
    }
  })
})

describe('toJSON', () => {
  test('of user objects comes first', () => {
    class Money {
      amount = 5n
      toJSON() {
        return { amount: '5' }
      }
    }
    assert.deepEqual(envelope.encode({ price: new Money() }), {
      kind: KIND.JSON,
      payload: '{"price":{"amount":"5"}}',
    })
  })

  test('gets the key, is called once, and its result may be rich', () => {
    const seen = []
    const value = {
      a: { toJSON: (/** @type {string} */ key) => (seen.push(key), { at: new Date(1) }) },
      list: [{ toJSON: (/** @type {string} */ key) => key }],
    }
    assert.deepEqual(roundTrip(value), { a: { at: new Date(1) }, list: ['0'] })
    assert.deepEqual(seen, ['a'])
  })

  test('that returns its own object is not called for ever', () => {
    class Self {
      a = new Date(1)
      toJSON() {
        return this
      }
    }
    assert.deepEqual(roundTrip(new Self()), { a: new Date(1) })
  })

  test('of a Map, Date or Buffer of the user wins over the native form', () => {
    class Day extends Date {
      toJSON() {
        return 'a day'
      }
    }
    class Secret extends Uint8Array {
      toJSON() {
        return 'hidden'
      }
    }
    assert.equal(roundTrip(new Day()), 'a day')
    assert.equal(roundTrip(new Secret(3)), 'hidden')
    assert.equal(roundTrip(Object.assign(new Map(), { toJSON: () => 'mine' })), 'mine')
  })

  test('a Date and a Buffer of another realm round-trip', () => {
    const date = require('node:vm').runInNewContext('new Date(5)')
    assert.equal(Number(/** @type {any} */ (roundTrip({ date })).date), 5)
    assert.deepEqual(roundTrip([Buffer.from('x')]), [Buffer.from('x')])
  })

  test('that throws refuses the value and names the place', () => {
    const cause = new Error('no')
    const value = { a: [{ toJSON: () => { throw cause } }] } // prettier-ignore
    assert.throws(() => envelope.encode(value), (/** @type {any} */ error) => refusal('value.a[0]', /no$/)(error) && error.cause === cause) // prettier-ignore
  })
})

describe('what cannot be stored is refused by its path', () => {
  /** @type {any} */ const cycle = { a: { b: [1] } }
  cycle.a.b.push(cycle)
  const inMap = new Map([['k', { f: () => {} }]])
  const cases = [
    ['undefined', undefined, 'value', /undefined/],
    ['a function', () => {}, 'value', /a function/],
    ['a nested function', { a: { b: [0, 1, 2, () => {}] } }, 'value.a.b[3]', /a function/],
    ['a symbol', { 'x-y': { $z: Symbol('s') } }, 'value["x-y"].$z', /a symbol/],
    ['a boxed symbol', [Object(Symbol('s'))], 'value[0]', /a symbol/],
    ['a cycle', cycle, 'value.a.b[1]', /a cycle/],
    ['a function in a Map', { m: inMap }, 'value.m.get("k").f', /a function/],
    ['a function in a Set', new Set([1, () => {}]), 'value[1]', /a function/],
    ['a promise', { user: Promise.resolve(1) }, 'value.user', /await/],
    ['other binary data', { f: new Float32Array(2) }, 'value.f', /Buffer/],
    ['an ArrayBuffer', new ArrayBuffer(2), 'value', /Buffer/],
    ['a weak collection', [new WeakMap()], 'value[0]', /weak/],
    ['a getter that throws', { get a() { throw new Error('boom') } }, 'value', /boom/],
    ['what is nested too deeply', deep(100_000), 'value', /deeply/],
  ] // prettier-ignore
  for (const [name, value, path, got] of cases) {
    test(String(name), () => assert.throws(() => envelope.encode(value), refusal(String(path), /** @type {RegExp} */ (got)))) // prettier-ignore
  }
})

describe('the plain format', () => {
  test('writes exactly what JSON.stringify does', () => {
    const values = ['abc', '', 42, -0, 1.5, null, true, [1, undefined], { a: new Date(0), b: Number.NaN, c: undefined, $date: 1 }, { $date: 1 }, new Date(0), new Date(Number.NaN), Number.NaN, { toJSON: () => ({ x: 1 }) }, 'a\ud800'] // prettier-ignore
    for (const value of values)
      assert.deepEqual(plain.encode(value), { kind: KIND.JSON, payload: JSON.stringify(value) })
  })

  test('refuses what JSON lacks, by its path', () => {
    for (const value of [Buffer.from('x'), new Uint8Array(1), new Map(), new Set(), 1n]) {
      assert.throws(() => plain.encode({ a: [value] }), refusal('value.a[0]', /plain format/))
      assert.throws(() => plain.encode(value), refusal('value', /plain format/))
    }
    assert.throws(() => plain.encode({ f: () => {} }), refusal('value.f', /a function/))
    assert.throws(() => plain.encode(undefined), refusal('value'))
  })
})

describe('reading', () => {
  test('text that was damaged at random gives a value or an error, and changes nothing else', () => {
    const seed = ownSeed()
    const random = generator(seed)
    const parts = ['__proto__', 'constructor', '"$map":', '"$set":[', '"$date":', '"$bytes":', '"$$', '{', '}', '[', ']', '"', ',', ':', 'null', '9'] // prettier-ignore
    for (let run = 0; run < 5_000; run++) {
      const { payload } = envelope.encode({ some: tree(random, 3) })
      let text = payload.toString()
      for (let damage = between(random, 1, 4); damage > 0; damage--) {
        const at = between(random, 0, text.length)
        text = text.slice(0, at) + oneOf(random, parts) + text.slice(at + between(random, 0, 5))
      }
      for (const kind of [KIND.JSON, KIND.RICH]) {
        try {
          envelope.decode(kind, text)
        } catch (error) {
          assert.ok(error instanceof Error, `SEED=${seed} run ${run}`)
        }
      }
      assert.equal(Object.getOwnPropertyNames(Object.prototype).length, PROTOTYPE, `SEED=${seed} ${text}`)
    }
  })

  test('damaged text throws, for the caller to count as a miss', () => {
    assert.throws(() => envelope.decode(KIND.JSON, '{"a":'))
    assert.throws(() => envelope.decode(KIND.RICH, '{"$soon":1}'), SyntaxError)
    assert.throws(() => envelope.decode(KIND.RICH, '{"$bigint":"x"}'))
    assert.throws(() => envelope.decode(KIND.RICH, '{"$map":5}'))
    assert.throws(() => envelope.decode(KIND.CODED, Buffer.alloc(1)), /codec/)
  })

  test('a value that is none is itself', () => {
    assert.equal(envelope.decode(KIND.VALUE, undefined), undefined)
    assert.equal(envelope.decode(KIND.TEXT, '{'), '{')
  })
})

describe('a codec of the user', () => {
  const v8 = require('node:v8')
  const own = createCodec({
    codec: { encode: (value) => v8.serialize(value), decode: (bytes) => v8.deserialize(bytes) },
  })

  test('is given every value and gets its bytes back', () => {
    for (const value of ['a', 1, null, { a: new Date(1) }, Buffer.from('x')]) {
      const { kind, payload } = own.encode(value)
      assert.equal(kind, KIND.CODED)
      assert.deepEqual(own.decode(kind, payload), value)
    }
    assert.throws(() => own.encode(undefined), refusal('value', /undefined/))
  })

  test('still reads what others wrote as JSON', () =>
    assert.deepEqual(own.decode(KIND.JSON, '{"a":1}'), { a: 1 }))

  test('that throws or returns no bytes refuses the value', () => {
    const cause = new Error('no key')
    const thrower = createCodec({ codec: { encode: () => { throw cause }, decode: () => 0 } }) // prettier-ignore
    assert.throws(() => thrower.encode(1), { code: 'ERR_CACHE_VALUE', cause })
    const wrong = createCodec({ codec: { encode: () => /** @type {any} */ ('text'), decode: () => 0 } })
    assert.throws(() => wrong.encode(1), {
      code: 'ERR_CACHE_VALUE',
      message: 'Expected `codec.encode` to return a Buffer',
    })
  })
})

/** @param {number} levels */
function deep(levels) {
  /** @type {unknown[]} */
  let value = []
  for (let level = 0; level < levels; level++) value = [value]
  return value
}

const NAMES = ['a', 'b', '$date', '$map', '$$', '$', '$bytes', 'toJSON', 'constructor', '', '0', 'ü-x']

/**
 * @param {() => number} random
 * @param {number} levels
 * @returns {unknown}
 */
function tree(random, levels) {
  const pick = (/** @type {number} */ n) => Math.floor(random() * n)
  const leaves = [null, true, false, 0, 1.25, -3, Number.NaN, Number.NEGATIVE_INFINITY, BigInt(pick(1e9)) ** 3n, '', 'text', '{"$date":1}', new Date(pick(1e12)), Buffer.from([pick(256)])] // prettier-ignore
  const some = (/** @type {() => unknown} */ make) => Array.from({ length: pick(4) }, make)
  const inner = () => tree(random, levels - 1)
  const kind = levels === 0 ? 0 : pick(6)
  if (kind === 1) return some(inner)
  if (kind === 2) return new Set(some(inner))
  if (kind === 3) return new Map(/** @type {[unknown, unknown][]} */ (some(() => [inner(), inner()])))
  if (kind >= 4) return Object.fromEntries(some(() => [NAMES[pick(NAMES.length)], inner()]))
  return leaves[pick(leaves.length)]
}
