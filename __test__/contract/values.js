'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { cacheError } = require('../support/cache.js')

const VALUES = {
  'an empty string': '',
  'a string': 'text',
  'a string of digits': '42',
  'a string that is JSON': '{"a":1}',
  'a string beyond latin1': 'ü 漢字 🦉',
  'a lone surrogate': '\ud800',
  zero: 0,
  false: false,
  null: null,
  'a safe integer': Number.MAX_SAFE_INTEGER,
  'a negative integer': -7,
  'a fraction': 0.1,
  'a number beyond the safe integers': 2 ** 60,
  NaN: NaN,
  'minus infinity': -Infinity,
  'an empty object': {},
  'an object': { id: 1, name: 'a', tags: ['x', 'y'], nested: { deep: [null, true] } },
  'an object with keys that look like ours': { $type: 'Date', __proto: 1, '': '~' },
  'an array': [1, 'two', [3], { four: 4 }],
  'a bigint': 12345678901234567890n,
  'a Date': new Date('2026-02-08T07:49:15.123Z'),
  'a Map': new Map([
    ['a', 1],
    [2, { b: 3n }],
  ]),
  'a Set': new Set(['a', 1, null]),
  'an object that holds rich values': {
    at: new Date(0),
    total: 5n,
    seen: new Set([1]),
    odd: [NaN, Infinity],
  },
}

module.exports = (kind) => {
  for (const [name, value] of Object.entries(VALUES)) {
    test(`${name} is read as it was set`, async (t) => {
      const cache = await kind.open(t)
      await cache.set('key', value)
      assert.deepEqual(await cache.get('key'), value)
      assert.deepEqual(await cache.getMany(['key']), [value])
      assert.equal(await cache.has('key'), true)
    })
  }

  test('binary data is read as a Buffer', async (t) => {
    const cache = await kind.open(t)
    const bytes = Buffer.from([0, 1, 0xff, 0x80, 0x7b])
    await cache.setMany({ buffer: bytes, array: new Uint8Array(bytes), empty: Buffer.alloc(0) })
    assert.deepEqual(await cache.getMany(['buffer', 'array', 'empty']), [bytes, bytes, Buffer.alloc(0)])
  })

  test('a part of a larger buffer is stored alone', async (t) => {
    const cache = await kind.open(t)
    await cache.set('part', Buffer.from('0123456789').subarray(3, 6))
    assert.equal(String(await cache.get('part')), '345')
  })

  test('toJSON is honoured and undefined inside objects is as in JSON', async (t) => {
    const cache = await kind.open(t)
    await cache.set('key', { amount: { toJSON: () => '1.00 EUR' }, left: undefined, list: [undefined] })
    assert.deepEqual(await cache.get('key'), { amount: '1.00 EUR', list: [null] })
  })

  test('every caller has a copy of its own', async (t) => {
    const cache = await kind.open(t)
    const value = { list: [1] }
    await cache.set('key', value)
    value.list.push(2)
    const first = await cache.get('key')
    first.list.push(3)
    assert.deepEqual(await cache.get('key'), { list: [1] })
    assert.ok(!Object.isFrozen(value))
  })

  test('as: string and as: buffer decode nothing', async (t) => {
    const cache = await kind.open(t)
    await cache.setMany({ text: 'hello', json: { a: [1] }, bytes: Buffer.from([1, 2]) })
    assert.equal(await cache.get('text', { as: 'string' }), 'hello')
    assert.equal(await cache.get('json', { as: 'string' }), '{"a":[1]}')
    assert.deepEqual(await cache.get('json', { as: 'buffer' }), Buffer.from('{"a":[1]}'))
    assert.deepEqual(await cache.get('bytes', { as: 'buffer' }), Buffer.from([1, 2]))
    assert.equal(await cache.get('none', { as: 'string' }), undefined)
  })

  const circle = { a: {} }
  circle.a.b = circle
  const unstorable = [
    ['undefined', undefined, /undefined/],
    ['a function', { handlers: [() => {}] }, /handlers/],
    ['a symbol', { deep: { mark: Symbol('x') } }, /deep\.mark/],
    ['a cycle', circle, /a\.b/],
  ]
  for (const [name, value, path] of unstorable) {
    test(`${name} cannot be stored, and the error says where it is`, async (t) => {
      const cache = await kind.open(t)
      await assert.rejects(cache.set('key', value), cacheError('ERR_CACHE_VALUE', path))
      assert.equal(await cache.has('key'), false)
    })
  }

  test('a codec of the user writes and reads every value', async (t) => {
    const codec = {
      encode: (value) => Buffer.from(`!${JSON.stringify(value)}`),
      decode: (bytes) => JSON.parse(String(bytes).slice(1)),
    }
    const cache = await kind.open(t, { codec })
    await cache.set('key', { a: 1 })
    assert.deepEqual(await cache.get('key'), { a: 1 })
    assert.equal(String(await cache.get('key', { as: 'buffer' })), '!{"a":1}')
  })
}
