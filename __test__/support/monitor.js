'use strict'

// What a redis-server is really asked, by its own MONITOR: the judge of what a client claims to send.

const { once } = require('node:events')
const net = require('node:net')
const { until } = require('./wait.js')

/** `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"` */
const LINE = /^\+[\d.]+ \[\d+ (?<from>\S+)\] (?<words>.*)$/

/**
 * Watches `server` until `close()`. `commands()` answers what the clients whose connection has the name `client` asked since
 * the last call, one text each, without quotes. Subscribers, whose connections have no name, count as theirs.
 */
async function monitor(server, client) {
  const socket = net.connect({ host: '127.0.0.1', port: server.port })
  let text = ''
  socket.on('data', (chunk) => (text += chunk))
  socket.write('MONITOR\r\n')
  await once(socket, 'data')
  const addresses = new Set()
  /** Ours are those that came after the last mark, which the server has seen once it answers. */
  async function lines() {
    const mark = `mark-${Math.random()}`
    await server.command('ECHO', mark)
    await until(() => text.includes(mark))
    const seen = text
    text = ''
    return seen.split('\r\n').map((line) => LINE.exec(line)?.groups)
  }
  return {
    async commands() {
      const list = await server.command('CLIENT', 'LIST')
      const ours = new RegExp(` addr=(\\S+) .* (?:name=${client}|sub=[1-9]\\d*) `, 'g')
      for (const [, address] of list.matchAll(ours)) addresses.add(address)
      const seen = await lines()
      return seen.filter((line) => addresses.has(line?.from)).map(({ words }) => words.replaceAll('"', ''))
    },
    close: () => socket.destroy(),
  }
}

module.exports = { monitor }
