'use strict'

// Two hosts on one machine, in network namespaces of this process' own: a server's and a client's, with nothing but a
// cable between them. What is true of real networks and of no proxy can be shown there: packets that vanish, sockets
// whose other end does not know it. Needs root, Linux and iproute2.

const { spawn, spawnSync } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')

/** Addresses that are set aside for documentation: they lead nowhere but through the cable. */
const ADDRESS = { server: '192.0.2.1', client: '192.0.2.2' }

function ip(...words) {
  const { status, stderr, error } = spawnSync('ip', words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${error ?? stderr}`)
}

class Hosts {
  #name = { server: `evenkeel-s${process.pid}`, client: `evenkeel-c${process.pid}` }

  constructor() {
    process.once('exit', () => this.close())
    const { server, client } = this.#name
    for (const name of [server, client]) ip('netns', 'add', name)
    ip('-n', server, 'link', 'add', 'cable', 'type', 'veth', 'peer', 'name', 'cable', 'netns', client)
    for (const [host, name] of Object.entries(this.#name)) {
      ip('-n', name, 'address', 'add', `${ADDRESS[host]}/30`, 'dev', 'cable')
      for (const device of ['lo', 'cable']) ip('-n', name, 'link', 'set', device, 'up')
    }
  }

  /** What runs a program on a host: the words that come before it. */
  on(host) {
    return ['ip', 'netns', 'exec', this.#name[host]]
  }

  /** Packets from this host to the other one vanish; it is told nothing. */
  swallowFrom(host) {
    const other = host === 'server' ? 'client' : 'server'
    ip('-n', this.#name[host], 'route', 'replace', 'blackhole', `${ADDRESS[other]}/32`)
  }

  /** They arrive again. */
  passFrom(host) {
    const other = host === 'server' ? 'client' : 'server'
    ip('-n', this.#name[host], 'route', 'delete', 'blackhole', `${ADDRESS[other]}/32`)
  }

  /** Pulls the cable at a host, or plugs it in again. */
  cable(host, state) {
    ip('-n', this.#name[host], 'link', 'set', 'cable', state)
  }

  /** A cache on the client's host, in a process of its own: its methods are those of a cache, `state` one of them. */
  async cache(options) {
    const [program, ...words] = this.on('client')
    const file = path.join(__dirname, '..', 'fixtures', 'remote-cache.js')
    const child = spawn(program, [...words, process.execPath, file, JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    return new Remote(child)
  }

  close() {
    for (const name of Object.values(this.#name)) spawnSync('ip', ['netns', 'delete', name])
  }
}

/** A cache in another process. */
class Remote {
  #child
  #waiting = new Map()
  #next = 0

  constructor(child) {
    this.#child = child
    child.on('message', ({ id, value, error, ms }) => {
      const { resolve, reject } = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) resolve({ value, ms })
      else reject(new Error(error))
    })
  }

  /** What a method of the cache resolves with, and how many ms that took over there. */
  call(method, ...args) {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, method, args })
    })
  }

  async state() {
    return (await this.call('state')).value
  }

  async end() {
    if (this.#child.exitCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.disconnect()
    await gone
  }
}

/** Why there can be no hosts here, or false. */
function unavailable() {
  if (process.platform !== 'linux' || process.getuid() !== 0) return 'network namespaces need root on Linux'
  const name = `evenkeel-probe${process.pid}`
  if (spawnSync('ip', ['netns', 'add', name]).status !== 0) return 'ip netns add does not work here'
  spawnSync('ip', ['netns', 'delete', name])
  return false
}

module.exports = { ADDRESS, Hosts, unavailable }
