'use strict'

// Real servers for the tests, each on a port of its own: started, killed, frozen, thawed and restarted. Whatever is still
// there when the process ends is killed by its own process id, and nothing else is. EVENKEEL_TEST_SERVER names the program
// that is started, redis-server without it.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const path = require('node:path')
const { temporaryFolder } = require('./child.js')
const { connect } = require('./resp.js')
const { until } = require('./wait.js')

/** The server's program. */
const PROGRAM = process.env.EVENKEEL_TEST_SERVER ?? 'redis-server'

const running = new Set()

function killAll() {
  for (const child of running) child.kill('SIGKILL')
}
process.once('exit', killAll)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))

/** A port that was free a moment ago. */
async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

function serverArguments(
  { port, password, tls, clientCertificates, unixsocket, databases, persist, on, args = [] },
  folder,
) {
  const words = ['--bind', '127.0.0.1', '-::1', '--dir', folder, '--save', '', '--daemonize', 'no']
  words.push(...(tls ? ['--port', '0', '--tls-port', port] : ['--port', port]))
  // Every write is on disk before it is acknowledged, so that a kill loses nothing.
  words.push(...(persist ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']))
  if (password !== undefined) words.push('--requirepass', password)
  if (databases !== undefined) words.push('--databases', databases)
  if (unixsocket || on) words.push('--unixsocket', path.join(folder, 'redis.sock'))
  if (tls) {
    words.push('--tls-cert-file', tls.server.files('crt'), '--tls-key-file', tls.server.files('key'))
    words.push('--tls-ca-cert-file', tls.authority.files('crt'))
    words.push('--tls-auth-clients', clientCertificates ? 'yes' : 'no')
  }
  return [...words, ...args].map(String)
}

class RedisServer {
  #options
  #folder = temporaryFolder('evenkeel-redis')
  #child
  #client

  constructor(options) {
    this.#options = options
  }

  get port() {
    return this.#options.port
  }

  get pid() {
    return this.#child.pid
  }

  /** The path of the unix socket, if one was asked for. */
  get socket() {
    return path.join(this.#folder, 'redis.sock')
  }

  /** The URL with the password, if there is one. */
  get url() {
    const { password, tls, port } = this.#options
    const login = password === undefined ? '' : `:${encodeURIComponent(password)}@`
    return `${tls ? 'rediss' : 'redis'}://${login}${tls ? 'localhost' : '127.0.0.1'}:${port}`
  }

  /** Starts the process, with further words on its command line, and waits until it answers. */
  async start(more = []) {
    const own = this.#options.config
      ? [this.#writeConfig(this.#options.config), ...(this.#options.args ?? [])]
      : serverArguments(this.#options, this.#folder)
    const words = [...own, ...more]
    const [program, ...rest] = [...(this.#options.on ?? []), PROGRAM, ...words]
    this.#child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(this.#child)
    let printed = ''
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (chunk) => (printed += chunk))
      stream.unref()
    }
    this.#child.unref()
    this.#child.once('exit', () => running.delete(this.#child))
    try {
      await until(() => this.#answers(), { message: `${PROGRAM} answers` })
    } catch (error) {
      throw new Error(`${PROGRAM} did not start: ${printed}`, { cause: error })
    }
  }

  /** A file, since a sentinel keeps its state there. */
  #writeConfig(lines) {
    const file = path.join(this.#folder, 'server.conf')
    fs.writeFileSync(file, [`dir ${this.#folder}`, ...lines, ''].join('\n'))
    return file
  }

  async #answers() {
    if (this.#child.exitCode !== null) throw new Error('It has exited')
    this.#client = await this.connect()
    return (await this.#client.command('PING')) === 'PONG'
  }

  /** A raw client of its own. */
  connect() {
    const { port, password, tls, on } = this.#options
    if (on) return connect({ path: this.socket })
    const secure = tls && { ca: tls.authority.cert, key: tls.client.key, cert: tls.client.cert }
    return connect({ port, ...(secure && { tls: secure }), ...(password !== undefined && { password }) })
  }

  /** The client for assertions; a new one if the server hung up on the last, as it does when its role changes. */
  async #asserting() {
    if (this.#client.isClosed) this.#client = await this.connect()
    return this.#client
  }

  /** One command for an assertion, with replies as text. */
  async command(...words) {
    return (await this.#asserting()).command(...words)
  }

  /** One command for an assertion, with replies as Buffers. */
  async buffers(...words) {
    return (await this.#asserting()).buffers(...words)
  }

  /** A field of INFO as text. */
  async info(field, section = 'all') {
    const text = await this.command('INFO', section)
    return new RegExp(`^${field}:(.*)\\r?$`, 'm').exec(text)?.[1].trim()
  }

  /** How often the server was asked `command` (`get`, `client|list`), as INFO commandstats tells. */
  async calls(command) {
    const stats = await this.info(`cmdstat_${command.replace('|', '\\|')}`, 'commandstats')
    return Number(/calls=(\d+)/.exec(stats ?? '')?.[1] ?? 0)
  }

  /** The names of the connections that the server holds, without those of the tests. */
  async clients() {
    const list = await this.command('CLIENT', 'LIST')
    const names = [...list.matchAll(/ name=(\S*) /g)].map(([, name]) => name)
    return names.filter((name) => name !== '')
  }

  /** Ends each connection whose line in CLIENT LIST has `words` (`name=app`, `sub=1`); how many. */
  async killClients(words) {
    const list = await this.command('CLIENT', 'LIST')
    const ids = list.split('\n').filter((line) => ` ${line} `.includes(` ${words} `))
    for (const line of ids) await this.command('CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(line)[1])
    return ids.length
  }

  /** SIGKILL: the connections are reset, the port refuses. */
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.ref()
    this.#child.kill('SIGKILL')
    await gone
    this.#client?.close()
  }

  /** SIGSTOP: the connections stay open, the port accepts, nothing is answered. */
  freeze() {
    this.#child.kill('SIGSTOP')
  }

  /** SIGCONT. */
  thaw() {
    this.#child.kill('SIGCONT')
  }

  /** Starts it again on the same port; what it held is gone unless it was started with `persist`. */
  async restart() {
    await this.kill()
    await this.start()
  }

  /** Ends it for good. */
  stop() {
    return this.kill()
  }
}

/**
 * A running server. `port` (default: a free one), `password`, `tls` (what makeCertificates answers),
 * `clientCertificates` (required ones), `unixsocket`, `databases`, `persist` (what is acknowledged survives `restart`),
 * `args` (further words of the command line), `config` (the lines of a configuration file instead of all of these), `on` (what runs a program on another host: then it is spoken to through its
 * unix socket).
 */
async function startRedis(options = {}) {
  const server = new RedisServer({ ...options, port: options.port ?? (await freePort()) })
  await server.start()
  return server
}

module.exports = { PROGRAM, freePort, startRedis }
