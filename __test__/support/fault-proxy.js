'use strict'

// A TCP proxy that is the network that breaks: it passes, delays, trickles, swallows, cuts, resets, refuses, and drops,
// doubles or replaces replies, all switchable while it runs. It counts what it accepts and what it passes.

const { once } = require('node:events')
const net = require('node:net')
const { performance } = require('node:perf_hooks')
const { replyEnd } = require('./resp.js')

/**
 * Ends a connection with a reset. One that is being closed in order already cannot be reset any more: libuv would keep it,
 * and with it the process, for ever.
 */
function reset(socket) {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** One client and its connection to the target. `up` leads to the server, `down` to the client. */
class Pair {
  #proxy
  #received = Buffer.alloc(0)
  #passed = { up: 0, down: 0 }

  constructor(proxy, client, target) {
    this.#proxy = proxy
    this.client = client
    this.upstream = net.connect(target)
    this.delay = proxy.delay
    this.#join('up', client, this.upstream)
    this.#join('down', this.upstream, client)
  }

  #join(way, from, to) {
    from.on('data', (chunk) => this.#pass(way, chunk, to))
    from.on('error', () => {})
    // A reset goes on as a reset: closed in order instead, what the server had not read yet would still be carried out.
    from.on('close', (hadError) => {
      if (hadError) reset(to)
      else to.destroy()
      this.#proxy.pairs.delete(this)
    })
  }

  #pass(way, chunk, to) {
    const proxy = this.#proxy
    proxy.bytes[way] += chunk.length
    if (proxy.swallows[way]) return
    const left = (proxy.limit?.way === way ? proxy.limit.bytes : Infinity) - this.#passed[way]
    const bytes = chunk.subarray(0, Math.max(0, Math.min(chunk.length, left)))
    this.#passed[way] += bytes.length
    if (way === 'down' && proxy.onReply !== undefined) this.#answer(bytes)
    else this.#write(way, bytes, to)
    if (chunk.length > left) this.end(proxy.limit.end)
  }

  /** Lets `onReply` decide about each whole reply. */
  #answer(bytes) {
    this.#received = Buffer.concat([this.#received, bytes])
    for (let end; (end = replyEnd(this.#received, 0)) !== undefined;) {
      const reply = this.#received.subarray(0, end)
      this.#received = this.#received.subarray(end)
      this.#write('down', this.#proxy.onReply?.(reply) ?? reply, this.client)
    }
  }

  #write(way, bytes, to) {
    const { trickle } = this.#proxy
    if (way === 'down' && trickle > 0) return void this.#trickle(bytes, to, trickle)
    if (way === 'down' && this.delay > 0) {
      setTimeout(() => to.writable && to.write(bytes), this.delay).unref()
    } else if (to.writable) to.write(bytes)
  }

  #trickle(bytes, to, every) {
    const rest = [...bytes]
    const timer = setInterval(() => {
      if (rest.length === 0 || !to.writable) return clearInterval(timer)
      to.write(Buffer.of(rest.shift()))
    }, every)
    timer.unref()
  }

  /** `fin`, `reset` or `stall`. */
  end(how) {
    if (how === 'stall') return
    if (how === 'fin') {
      this.client.end()
      this.upstream.destroy()
    } else [this.client, this.upstream].forEach(reset)
  }
}

class FaultProxy {
  accepted = 0
  mostOpen = 0
  /** When each connection was accepted, in ms of `performance.now()`. */
  acceptedAt = []
  bytes = { up: 0, down: 0 }
  swallows = { up: false, down: false }
  pairs = new Set()
  /** `pass`, or what happens to a connection that was accepted: `fin`, `reset`, `stall` (nothing is ever said). */
  onAccept = 'pass'
  /** How many ms the answers on connections accepted from now on take longer. */
  delay = 0
  /** Ms between single bytes of an answer; 0 sends them as they come. */
  trickle = 0
  /** `{ way, bytes, end }`: each connection ends so after so many bytes in one direction. */
  limit
  /** Called with each whole reply; answers the bytes to send instead, an empty Buffer to drop it. */
  onReply
  #target
  #server
  #port = 0

  constructor(target) {
    this.#target = target
  }

  get open() {
    return this.pairs.size
  }

  get port() {
    return this.#port
  }

  /** Accepts connections, after `down` on the same port as before. */
  async up() {
    this.#server = net.createServer((client) => this.#accept(client))
    this.#server.unref()
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = this.#server.address().port
  }

  #accept(client) {
    this.accepted += 1
    this.acceptedAt.push(performance.now())
    client.on('error', () => {})
    if (this.onAccept === 'fin') return void client.resume().end()
    if (this.onAccept === 'reset') return void reset(client)
    if (this.onAccept === 'stall') return void this.#hold(client)
    this.pairs.add(new Pair(this, client, this.#target))
    this.mostOpen = Math.max(this.mostOpen, this.open)
  }

  /** A connection on which nothing is ever said. */
  #hold(client) {
    const held = { client, end: () => client.destroy() }
    this.pairs.add(held)
    client.on('close', () => this.pairs.delete(held))
    client.resume()
  }

  /** Sends bytes to every client, as if the server had. */
  inject(bytes) {
    for (const { client } of this.pairs) client.write(bytes)
  }

  /** Resets every connection; new ones are accepted. */
  sever() {
    for (const pair of this.pairs) pair.end('reset')
  }

  /** Resets every connection and refuses new ones. */
  async down() {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.sever()
    await closed
  }

  /** Swallows every byte in both directions from now on (or no longer): connections stay open and nothing arrives. */
  silence(on = true) {
    this.swallows = { up: on, down: on }
  }

  async close() {
    if (this.#server.listening) await this.down()
  }
}

/** A proxy in front of `target`, `{ port }` or `{ path }`. */
async function startProxy(target) {
  const proxy = new FaultProxy(target.path ? target : { host: '127.0.0.1', port: target.port })
  await proxy.up()
  return proxy
}

module.exports = { startProxy }
