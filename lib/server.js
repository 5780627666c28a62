'use strict'
/** What speaks to Redis itself: raw commands, the ping, and waiting for the link. */
const { OPTIONS, readCall } = require('./calls.js')
const { describe, refused } = require('./checks.js')
const { errorOf } = require('./errors.js')
const { attempt, operate } = require('./handle.js')
const { plain } = require('./reads.js')

/** @typedef {import('./handle.js').Handle} Handle */
/** @typedef {import('./completions.js').Finish} Finish */

/**
 * A part of a command as Redis takes it.
 * @param {unknown} part
 * @param {string} path
 * @returns {string | Buffer}
 */
function partOf(part, path) {
  if (typeof part === 'string') return part
  if (typeof part === 'bigint' || (typeof part === 'number' && !Number.isNaN(part))) return String(part)
  if (part instanceof Uint8Array) return Buffer.from(part.buffer, part.byteOffset, part.byteLength)
  throw refused(`Expected \`${path}\` to be a string, a number or a Buffer, got ${describe(part)}`)
}

/**
 * @param {unknown} list
 * @param {string} path
 */
function partsOf(list, path) {
  if (!Array.isArray(list) || typeof list[0] !== 'string' || list[0] === '')
    throw refused(`Expected \`${path}\` to be [name, ...args], got ${describe(list)}`)
  return list.map((part, index) => partOf(part, `${path}[${index}]`))
}

/**
 * Replies that are errors inside an array become instances.
 * @param {any} reply
 * @returns {unknown}
 */
function replyOf(reply) {
  if (Array.isArray(reply)) return reply.map(replyOf)
  return reply?.error === undefined || Buffer.isBuffer(reply) ? reply : errorOf(reply.error)
}

/** @type {Finish} */
const one = (_ticket, _kind, reply) => {
  if (reply?.error !== undefined) throw errorOf(reply.error)
  return replyOf(reply)
}

/** @type {Finish} */
const pipeline = (_ticket, _kind, replies) =>
  replies.map((/** @type {any} */ reply) =>
    reply?.error === undefined ? [null, replyOf(reply)] : [errorOf(reply.error), undefined],
  )

/**
 * @param {Handle} handle
 * @param {string} name
 * @param {readonly unknown[]} args
 * @param {unknown} opts
 */
function command(handle, name, args, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.command)
    if (typeof name !== 'string' || name === '')
      throw refused(`Expected \`name\` to be a non-empty string, got ${describe(name)}`)
    if (!Array.isArray(args)) throw refused(`Expected \`args\` to be an array, got ${describe(args)}`)
    const parts = [name, ...args.map((arg, index) => partOf(arg, `args[${index}]`))]
    return operate({ handle, name: 'command', call, finish: one }, (own, ticket) =>
      own.command(ticket, parts, call['timeout'], call['buffers'] === true),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {readonly unknown[]} list
 * @param {unknown} opts
 */
function commands(handle, list, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.command)
    if (!Array.isArray(list)) throw refused(`Expected \`commands\` to be an array, got ${describe(list)}`)
    const parts = list.map((each, index) => partsOf(each, `commands[${index}]`))
    if (parts.length === 0) return Promise.resolve([])
    return operate({ handle, name: 'commands', call, finish: pipeline }, (own, ticket) =>
      own.commands(ticket, parts, call['timeout'], call['buffers'] === true),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {unknown} opts
 */
function ping(handle, opts) {
  return attempt(() =>
    operate({ handle, name: 'ping', call: readCall(opts, OPTIONS.call), finish: plain }, (own, ticket) =>
      own.ping(ticket),
    ),
  )
}

/**
 * @param {Handle} handle
 * @param {unknown} opts
 */
function ready(handle, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.wait)
    return operate({ handle, name: 'ready', call, finish: () => undefined }, (own, ticket) =>
      own.ready(ticket, call['timeout']),
    )
  })
}

/**
 * @param {Handle} handle
 * @param {unknown} opts
 */
function settled(handle, opts) {
  return attempt(() => {
    const call = readCall(opts, OPTIONS.wait)
    return operate(
      { handle, name: 'settled', call, finish: () => undefined, absent: () => undefined },
      (own, ticket) => own.settled(ticket, call['timeout']),
    )
  })
}

exports.command = command
exports.commands = commands
exports.ping = ping
exports.ready = ready
exports.settled = settled
