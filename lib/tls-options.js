'use strict'
/**
 * The option `redis.tls`: what of Node's TLS options is taken, has no effect, or is refused. Whether a certificate can
 * be parsed is found out by the native side.
 */
const { checks, dropNulls, readOptions, refuse, refused, secret, words } = require('./checks.js')

/** @typedef {import('./checks.js').Check} Check */

const IGNORED = words(`
  ALPNProtocols ciphers ecdhCurve honorCipherOrder host maxVersion port secureProtocol session sigalgs
  timeout
`)

/** @type {Check} */
function pem(value, path) {
  const text = Buffer.isBuffer(value) ? value.toString('utf8') : value
  return secret(
    'PEM text, a Buffer of it or the path of a file',
    (each) => typeof each === 'string' && each !== '',
  )(text, path)
}

/** @type {Check} */
function authorities(value, path) {
  const list = Array.isArray(value) ? value : [value]
  return list.map((each, index) => pem(each, Array.isArray(value) ? `${path}[${index}]` : path))
}

/** @type {Check} */
function minVersion(value, path) {
  if (value === 'TLSv1.3')
    throw refused(`Expected \`${path}\` to be at most "TLSv1.2", got "TLSv1.3"; both 1.2 and 1.3 are spoken`)
}

const TLS = {
  ca: authorities,
  cert: pem,
  key: pem,
  servername: checks.text,
  rejectUnauthorized: checks.flag,
  minVersion,
  pfx: refuse('give `cert` and `key` as PEM'),
  passphrase: refuse('give `key` as PEM without a passphrase'),
  secureContext: refuse('give `ca`, `cert` and `key`'),
  checkServerIdentity: refuse('use `servername`, or `rejectUnauthorized: false`'),
  ...Object.fromEntries(IGNORED.map((name) => [name, () => undefined])),
}

/** @type {Check} */
function tls(value, path) {
  if (typeof value === 'boolean') return value || undefined
  const read = readOptions(dropNulls(value), path, TLS)
  const given = Object.entries(read).filter(([, each]) => each !== undefined)
  return given.length === 0 ? true : Object.fromEntries(given)
}

exports.tls = tls
