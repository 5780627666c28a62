'use strict'

// What a server is really asked, by its own MONITOR: the judge of what a client claims to send.

const { once } = require('node:events')
const net = require('node:net')
const { until } = require('./wait.js')

/** `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"` */
const LINE = /^\+[\d.]+ \[\d+ (?<from>\S+)\] (?<words>.*)$/

/** The addresses of the connections in a CLIENT LIST of which `words` are said. */
const addressesOf = (list, words) =>
  [...list.matchAll(new RegExp(` addr=(\\S+) .* ${words} `, 'g'))].map(([, address]) => address)

/**
 * Watches `server` until `close()`. `commands()` answers what the clients whose connection has the name `client` asked since
 * the last call, one text each, without quotes. Subscribers, whose connections have no name, count as theirs. Without `client`
 * it is what all clients asked but the test's own. What a script does inside of the server nobody asked.
 */
async function monitor(server, client) {
  const socket = net.connect({ host: '127.0.0.1', port: server.port })
  let text = ''
  socket.on('data', (chunk) => (text += chunk))
  socket.write('MONITOR\r\n')
  await once(socket, 'data')
  const own = addressesOf(await server.command('CLIENT', 'INFO'), 'name=')
  const addresses = new Set()
  const isMeant = ({ from }) =>
    client === undefined ? from !== 'lua' && !own.includes(from) : addresses.has(from)
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
      for (const address of addressesOf(list, `(?:name=${client}|sub=[1-9]\\d*)`)) addresses.add(address)
      const seen = await lines()
      return seen.filter((line) => line && isMeant(line)).map(({ words }) => words.replaceAll('"', ''))
    },
    close: () => socket.destroy(),
  }
}

module.exports = { monitor }
