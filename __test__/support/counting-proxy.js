'use strict'

// A TCP proxy that counts: how many connections it accepted, how many are open, how many were open at most. It can also
// be the network that breaks.

const { once } = require('node:events')
const net = require('node:net')

class CountingProxy {
  accepted = 0
  mostOpen = 0
  /** Every chunk that clients have sent, in order of arrival. */
  sent = []
  /** How many milliseconds the answers on connections accepted from now on take longer. */
  delay = 0
  #target
  #pairs = new Set()
  #server
  #silent = false

  constructor(target) {
    this.#target = target
  }

  get open() {
    return this.#pairs.size
  }

  get port() {
    return this.#port
  }

  #port = 0

  /** Accepts connections, after `down` on the same port as before. */
  async up() {
    this.#server = net.createServer((client) => this.#accept(client))
    this.#server.unref()
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = this.#server.address().port
  }

  #accept(client) {
    const upstream = net.connect(this.#target)
    const pair = { client, upstream }
    const { delay } = this
    const late = (chunk) => setTimeout(() => client.writable && client.write(chunk), delay)
    this.accepted += 1
    this.#pairs.add(pair)
    this.mostOpen = Math.max(this.mostOpen, this.#pairs.size)
    client.on('data', (chunk) => this.sent.push(chunk))
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      const pass = to === client && delay > 0 ? late : (chunk) => to.write(chunk)
      from.on('data', (chunk) => this.#silent || pass(chunk))
      from.on('error', () => {})
      from.on('close', () => {
        to.destroy()
        this.#pairs.delete(pair)
      })
    }
  }

  /** Ends every connection; new ones are accepted. */
  sever() {
    for (const { client } of this.#pairs) client.resetAndDestroy()
  }

  /** Ends every connection and refuses new ones. */
  async down() {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.sever()
    await closed
  }

  /** Swallows every byte in both directions from now on (or no longer): connections stay open and nothing arrives. */
  silence(on = true) {
    this.#silent = on
  }

  async close() {
    if (this.#server.listening) await this.down()
  }
}

/** A proxy in front of `target`, `{ port }` or `{ path }`. */
async function startProxy(target) {
  const proxy = new CountingProxy(target.path ? target : { host: '127.0.0.1', port: target.port })
  await proxy.up()
  return proxy
}

module.exports = { startProxy }
