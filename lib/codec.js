'use strict'
/**
 * Values into payloads and back. A payload has a kind: TEXT for strings, BYTES for Buffer and Uint8Array, JSON where
 * JSON suffices, RICH where it does not (rich.js), CODED for everything once the user brought a codec. The `plain`
 * format knows JSON only and writes exactly what JSON.stringify does. Headers and lengths are the native side's.
 */
const { types } = require('node:util')
const { CacheError, messageOf } = require('./errors.js')
const { KIND } = require('./kinds.js')
const { encodeRich } = require('./rich.js')
const { decodeRich } = require('./revive.js')

/** @typedef {{ kind: number, payload: string | Buffer }} Encoded */
/** @typedef {{ encode: (value: unknown) => Encoded, decode: (kind: number, value: any) => unknown }} ValueCodec */

/**
 * @param {unknown} value
 * @returns {Encoded}
 */
function encodeEnvelope(value) {
  // UTF-8 has no lone surrogates; JSON text escapes them.
  if (typeof value === 'string')
    return value.isWellFormed()
      ? { kind: KIND.TEXT, payload: value }
      : { kind: KIND.JSON, payload: JSON.stringify(value) }
  if (types.isUint8Array(value) && !hasOwnForm(value)) return { kind: KIND.BYTES, payload: bufferOf(value) }
  const { text, rich } = encodeRich(value, false)
  return { kind: rich ? KIND.RICH : KIND.JSON, payload: text }
}

/** A subclass of Buffer may say itself how it is stored. @param {Uint8Array & { toJSON?: unknown }} bytes */
function hasOwnForm(bytes) {
  return typeof bytes.toJSON === 'function' && bytes.toJSON !== Buffer.prototype.toJSON
}

/**
 * @param {unknown} value
 * @returns {Encoded}
 */
function encodePlain(value) {
  return { kind: KIND.JSON, payload: encodeRich(value, true).text }
}

/** @param {Uint8Array} bytes */
function bufferOf(bytes) {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * @param {import('../index.js').Codec} codec
 * @param {unknown} value
 * @returns {Encoded}
 */
function encodeOwn(codec, value) {
  /** @type {unknown} */
  let bytes
  try {
    bytes = codec.encode(value)
  } catch (error) {
    throw new CacheError('ERR_CACHE_VALUE', `The codec could not encode the value: ${messageOf(error)}`, {
      cause: error,
    })
  }
  if (!types.isUint8Array(bytes))
    throw new CacheError('ERR_CACHE_VALUE', 'Expected `codec.encode` to return a Buffer')
  return { kind: KIND.CODED, payload: bufferOf(bytes) }
}

/**
 * @param {import('../index.js').Codec | undefined} codec
 * @param {number} kind
 * @param {any} value
 * @returns {unknown} throws for text that is damaged and whatever the user's codec throws
 */
function decode(codec, kind, value) {
  switch (kind) {
    case KIND.JSON:
      return JSON.parse(value)
    case KIND.RICH:
      return decodeRich(value)
    case KIND.CODED:
      if (codec === undefined) throw new TypeError('the entry was written with a codec, this cache has none')
      return codec.decode(value)
    default:
      return value
  }
}

/**
 * @param {{ format?: 'envelope' | 'plain' | undefined, codec?: import('../index.js').Codec | undefined }} [options]
 * @returns {ValueCodec} `encode` throws ERR_CACHE_VALUE; `decode` may throw anything
 */
function createCodec({ format, codec } = {}) {
  const inner =
    codec !== undefined ? encodeOwn.bind(undefined, codec) : format === 'plain' ? encodePlain : encodeEnvelope
  return {
    encode(value) {
      if (value === undefined)
        throw new CacheError(
          'ERR_CACHE_VALUE',
          'Expected `value` to be storable, got undefined; delete the key instead',
        )
      return inner(value)
    },
    decode: decode.bind(undefined, codec),
  }
}

exports.createCodec = createCodec
