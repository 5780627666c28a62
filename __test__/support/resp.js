'use strict'

// A Redis client of the plainest kind for assertions: one connection, RESP2, replies in order. Errors are rejected with
// the server's words.

const { once } = require('node:events')
const net = require('node:net')
const tls = require('node:tls')

const CRLF = '\r\n'

function encode(words) {
  const parts = [Buffer.from(`*${words.length}${CRLF}`)]
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word))
    parts.push(Buffer.from(`$${bytes.length}${CRLF}`), bytes, Buffer.from(CRLF))
  }
  return Buffer.concat(parts)
}

/** The reply that begins at `at`, as `{ value, end }`; `undefined` if not all of it is there yet. */
function parse(buffer, at) {
  const lineEnd = buffer.indexOf(CRLF, at)
  if (lineEnd < 0) return undefined
  const line = buffer.toString('utf8', at + 1, lineEnd)
  const end = lineEnd + 2
  switch (buffer[at]) {
    case 0x2b: // +
      return { value: line, end }
    case 0x2d: // -
      return { value: new Error(line), end }
    case 0x3a: // :
      return { value: Number(line), end }
    case 0x24: // $
      return parseBulk(buffer, end, Number(line))
    default:
      return parseArray(buffer, end, Number(line))
  }
}

function parseBulk(buffer, start, length) {
  if (length < 0) return { value: null, end: start }
  const end = start + length + 2
  return buffer.length < end ? undefined : { value: buffer.subarray(start, end - 2), end }
}

function parseArray(buffer, start, length) {
  if (length < 0) return { value: null, end: start }
  const value = []
  let end = start
  for (let index = 0; index < length; index++) {
    const item = parse(buffer, end)
    if (item === undefined) return undefined
    value.push(item.value)
    end = item.end
  }
  return { value, end }
}

const asText = (reply) =>
  Buffer.isBuffer(reply) ? reply.toString() : Array.isArray(reply) ? reply.map(asText) : reply

class RawClient {
  #socket
  #received = Buffer.alloc(0)
  #waiting = []

  constructor(socket) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#read(chunk))
    socket.on('error', (error) => this.#end(error))
    socket.on('close', () => this.#end(new Error('The connection is closed')))
    socket.unref()
  }

  #read(chunk) {
    this.#received = Buffer.concat([this.#received, chunk])
    for (let reply; (reply = parse(this.#received, 0)) !== undefined;) {
      this.#received = this.#received.subarray(reply.end)
      const { resolve, reject } = this.#waiting.shift()
      if (reply.value instanceof Error) reject(reply.value)
      else resolve(reply.value)
    }
    if (this.#waiting.length === 0) this.#socket.unref()
  }

  #end(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  /** The reply with every bulk string as a Buffer. */
  buffers(...words) {
    if (this.#socket.destroyed) return Promise.reject(new Error('The connection is closed'))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#socket.ref()
      this.#socket.write(encode(words))
    })
  }

  /** The reply with every bulk string as text. */
  async command(...words) {
    return asText(await this.buffers(...words))
  }

  get isClosed() {
    return this.#socket.destroyed
  }

  close() {
    this.#socket.destroy()
  }
}

/** Connects to `{ port }` or `{ path }`, over TLS when `tls` options are given, and logs in when there is a password. */
async function connect({ tls: secure, username = 'default', password, ...address }) {
  const to = address.path ? address : { host: '127.0.0.1', ...address }
  const socket = secure ? tls.connect({ ...to, ...secure, servername: 'localhost' }) : net.connect(to)
  await once(socket, secure ? 'secureConnect' : 'connect')
  const client = new RawClient(socket)
  if (password !== undefined) await client.command('AUTH', username, password)
  return client
}

/**
 * Where the reply that begins at `at` ends, RESP3 included; `undefined` if not all of it is there yet.
 * @param {Buffer} buffer
 * @param {number} at
 */
function replyEnd(buffer, at) {
  const lineEnd = buffer.indexOf(CRLF, at)
  if (lineEnd < 0) return undefined
  const type = buffer.toString('latin1', at, at + 1)
  const count = Number(buffer.toString('latin1', at + 1, lineEnd))
  let end = lineEnd + 2
  if ('$=!'.includes(type)) {
    if (count >= 0) end += count + 2
    return end <= buffer.length ? end : undefined
  }
  const items = '*>~'.includes(type) ? count : type === '%' ? 2 * count : 0
  for (let item = 0; item < items && end !== undefined; item++) end = replyEnd(buffer, end)
  return end
}

module.exports = { connect, replyEnd }
