'use strict'
/** What concerns many keys at once: deleting and listing by glob, clearing; and the guards against emptying too much. */
const { OPTIONS, readCall } = require('./calls.js')
const { describe, refused } = require('./checks.js')
const { attempt, operate } = require('./handle.js')
const { plain } = require('./reads.js')

/** @typedef {import('./handle.js').Handle} Handle */

/**
 * @param {unknown} glob
 * @returns {asserts glob is string}
 */
function checkGlob(glob) {
  if (typeof glob !== 'string' || glob === '')
    throw refused(`Expected \`glob\` to be a non-empty string, got ${describe(glob)}`)
}

/**
 * The glob is matched after the namespace; somebody who writes the namespace as well matches nothing.
 * @param {Handle} handle
 * @param {string} glob
 */
function warnOfNamespace(handle, glob) {
  if (handle.prefix === '' || !glob.startsWith(handle.prefix)) return
  handle.warn(
    'pattern-has-namespace',
    `A glob begins with the namespace "${handle.prefix}", which is put before it anyway`,
  )
}

/**
 * @param {Handle} handle
 * @param {string} glob
 * @param {unknown} opts
 */
function deletePattern(handle, glob, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.pattern)
    checkGlob(glob)
    const everything =
      /^\*+$/.test(glob) && handle.prefix === '' && handle.shared.config['redis'] !== undefined
    if (everything && call['wholeDatabase'] !== true) {
      throw refused(
        'Expected `glob` to name some keys, got "*" without a namespace, which is other programs’ keys too; pass { wholeDatabase: true }',
      )
    }
    warnOfNamespace(handle, glob)
    const progress = call['onProgress'] !== undefined
    return operate({ handle, name: 'deletePattern', call, finish: plain, detail: call }, (own, ticket) =>
      own.deletePattern(ticket, glob, call['strict'], progress),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} glob
 * @param {unknown} opts
 * @returns {AsyncGenerator<string, void, undefined>}
 */
async function* keys(handle, glob, opts) {
  const call = readCall(opts, OPTIONS.keys)
  checkGlob(glob)
  warnOfNamespace(handle, glob)
  let left = call['limit'] ?? Number.POSITIVE_INFINITY
  let cursor = '0'
  do {
    const from = cursor
    /** @type {string[]} */
    const [next = '0', ...page] = await operate(
      { handle, name: 'keys', call, finish: plain, absent: () => [] },
      (own, ticket) => own.scan(ticket, glob, from),
    )
    for (const key of page.slice(0, left)) yield key
    left -= page.length
    cursor = String(next)
  } while (cursor !== '0' && left > 0)
}

/**
 * @param {Handle} handle
 * @param {unknown} opts
 */
function clear(handle, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.clear)
    const finish = () => undefined
    return operate({ handle, name: 'clear', call, finish }, (own, ticket) =>
      own.clear(ticket, call['wholeDatabase'] === true, call['strict']),
    )
  })
}

exports.clear = clear
exports.deletePattern = deletePattern
exports.keys = keys
