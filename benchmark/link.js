'use strict'

// A network of 1 ms in a process of its own: a TCP proxy that holds what it gets for half a millisecond in each direction.
// Timers know whole milliseconds only and are late by up to one; a wait on shared memory knows fractions and is late by
// some tens of microseconds, which the clock is watched for. It holds the whole proxy, so this is for one call in flight.
// `startLink` is what the parent calls; all contenders of a work share the one that it starts.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const net = require('node:net')

const HELD_MS = 0.5
/** How much later than it should a wait may end. */
const LATE_MS = 0.15

const nobody = new Int32Array(new SharedArrayBuffer(4))

function hold() {
  const until = performance.now() + HELD_MS
  Atomics.wait(nobody, 0, 0, HELD_MS - LATE_MS)
  while (performance.now() < until);
}

function join(from, to) {
  from.setNoDelay(true)
  from.on('data', (chunk) => {
    hold()
    to.write(chunk)
  })
  from.on('error', () => {})
  from.on('close', () => to.destroy())
}

async function main(target) {
  process.once('disconnect', () => process.exit())
  const server = net.createServer((client) => {
    const upstream = net.connect(target, '127.0.0.1')
    join(client, upstream)
    join(upstream, client)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  process.send(server.address().port)
}

/** @returns {Promise<{ port: number, stop: () => void }>} a link to the server on the port `target` */
async function startLink(target) {
  const child = fork(__filename, [String(target)])
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`The link ended with ${code}`)))
  ended.catch(() => {})
  const [port] = await Promise.race([once(child, 'message'), ended])
  return { port, stop: () => child.disconnect() }
}

if (require.main === module) main(Number(process.argv[2]))

module.exports = { startLink }
