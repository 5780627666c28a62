'use strict'
/** Writing and removing: arguments are checked and values encoded here, at the call; the rest is the native side's. */
const { OPTIONS, checkEntry, checkKey, checkKeys, checkTags, checkTtl, readCall } = require('./calls.js')
const { checks, describe, isObject, readOptions, refused } = require('./checks.js')
const { CacheError, errorOf } = require('./errors.js')
const { attempt, operate } = require('./handle.js')
const { KIND } = require('./kinds.js')
const { plain } = require('./reads.js')
const trace = require('./trace.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */

/** @type {Finish} */
const nothing = () => undefined

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} value
 * @param {unknown} opts
 */
function set(handle, key, value, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.set)
    checkKey(key)
    checkEntry(call, handle)
    const { kind, payload } = encode(handle, value, key)
    const short = opts === undefined ? setText(handle, key, kind, payload) : undefined
    if (short !== undefined) return short
    const { signal: _signal, ...options } = call
    const finish = call['onlyIf'] === undefined ? nothing : plain
    return operate({ handle, name: 'set', key, call, finish }, (own, ticket) =>
      own.set(ticket, key, kind, payload, opts === undefined ? undefined : options),
    )
  })
}

/**
 * The short way of a set without options; `undefined` where it does not lead.
 * @param {Handle} handle
 * @param {string} key
 * @param {number} kind
 * @param {string | Buffer} payload
 */
function setText(handle, key, kind, payload) {
  // Who listens is told by the other way.
  if (typeof payload !== 'string' || handle.shared.closed || trace.begin() !== 0) return undefined
  const ticket = handle.tickets.borrow(handle, done)
  return handle.promised(ticket, handle.put(key, kind, payload, ticket.id))
}

/** @type {Finish} */
function done(_ticket, kind, value) {
  if (kind === KIND.ERROR) throw errorOf(value)
  return undefined
}

/**
 * The payload of a value; a refusal says for which key.
 * @param {Handle} handle
 * @param {unknown} value
 * @param {string} key
 */
function encode(handle, value, key) {
  try {
    return handle.shared.codec.encode(value)
  } catch (error) {
    if (error instanceof CacheError) error.key = key
    throw error
  }
}

/**
 * @param {Handle} handle
 * @param {unknown} entries
 * @param {unknown} opts
 */
function setMany(handle, entries, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.setMany)
    const { signal: _signal, strict, ...shared } = call
    checkEntry(call, handle)
    /** @type {string[]} */ const keys = []
    /** @type {number[]} */ const kinds = []
    /** @type {(string | Buffer)[]} */ const payloads = []
    /** @type {(object | undefined)[]} */ const options = []
    for (const entry of entriesOf(entries)) {
      const { key, value, ...own } = readEntry(entry, keys.length, handle)
      const { kind, payload } = encode(handle, value, key)
      keys.push(key)
      kinds.push(kind)
      payloads.push(payload)
      options.push({ ...shared, ...own })
    }
    if (keys.length === 0) return Promise.resolve()
    return operate({ handle, name: 'setMany', call, finish: nothing }, (own, ticket) =>
      own.setMany(ticket, keys, kinds, payloads, options, strict),
    )
  })
}

/**
 * @param {unknown} entries
 * @param {string} [path]
 * @returns {Iterable<unknown>}
 */
function entriesOf(entries, path = 'entries') {
  if (typeof entries === 'object' && entries !== null)
    return Symbol.iterator in entries ? /** @type {Iterable<unknown>} */ (entries) : Object.entries(entries)
  throw refused(`Expected \`${path}\` to be an object, a Map or an iterable, got ${describe(entries)}`)
}

/**
 * @param {unknown} entry
 * @param {number} index
 * @param {Handle} handle
 * @param {string} [within]
 * @returns {Record<string, any>}
 */
function readEntry(entry, index, handle, within = 'entries') {
  const path = `${within}[${index}]`
  if (Array.isArray(entry)) return { key: checked(entry[0], path), value: entry[1] }
  if (!isObject(entry))
    throw refused(`Expected \`${path}\` to be [key, value] or { key, value }, got ${describe(entry)}`)
  const read = readOptions(entry, path, OPTIONS.entry)
  checkEntry(read, handle)
  checkKey(read['key'], `${path}.key`)
  return read
}

/**
 * @param {unknown} key
 * @param {string} path
 */
function checked(key, path) {
  checkKey(key, `${path}[0]`)
  return key
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 */
function remove(handle, key, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKey(key)
    return operate({ handle, name: 'delete', key, call, finish: plain }, (own, ticket) =>
      own.delete(ticket, key, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {readonly string[]} keys
 * @param {unknown} opts
 */
function removeMany(handle, keys, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKeys(keys)
    if (keys.length === 0) return Promise.resolve(0)
    return operate({ handle, name: 'deleteMany', call, finish: plain }, (own, ticket) =>
      own.deleteMany(ticket, keys, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {number | null} life
 * @param {unknown} opts
 */
function touch(handle, key, life, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKey(key)
    const ttl = checkTtl(life)
    return operate({ handle, name: 'touch', key, call, finish: plain }, (own, ticket) =>
      own.touch(ticket, key, ttl, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {unknown} opts
 */
function markStale(handle, key, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.call)
    checkKey(key)
    return operate({ handle, name: 'markStale', key, call, finish: plain }, (own, ticket) =>
      own.markStale(ticket, key, call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {string} key
 * @param {number} by
 * @param {unknown} opts
 */
function increment(handle, key, by, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.increment)
    checkKey(key)
    if (!Number.isSafeInteger(by)) throw refused(`Expected \`by\` to be a safe integer, got ${describe(by)}`)
    return operate({ handle, name: 'increment', key, call, finish: plain }, (own, ticket) =>
      own.increment(ticket, key, by, call['ttl'], call['strict']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {readonly unknown[]} names
 */
function invalidateTags(handle, names) {
  return attempt(() => {
    const given = isObject(names.at(-1)) ? names.slice(0, -1) : names
    const call = readCall(given === names ? undefined : names.at(-1), OPTIONS.call)
    const tags = checks.tags(given, 'tags')
    checkTags(tags, handle)
    if (tags.length === 0) return Promise.resolve()
    return operate({ handle, name: 'invalidateTags', call, finish: nothing }, (own, ticket) =>
      own.invalidateTags(ticket, tags, call['strict']),
    )
  })
}

exports.entriesOf = entriesOf
exports.increment = increment
exports.invalidateTags = invalidateTags
exports.markStale = markStale
exports.readEntry = readEntry
exports.remove = remove
exports.removeMany = removeMany
exports.set = set
exports.setMany = setMany
exports.touch = touch
