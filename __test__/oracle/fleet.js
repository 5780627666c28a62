'use strict'

// The processes of a run: started, asked, killed and started again, frozen and thawed. Whatever is left of them when this process ends is
// killed by its own id.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { THREADS } = require('./registers.js')

const ANSWER_MS = 250_000

const running = new Set()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

class Member {
  incarnation = 0
  #settings
  #child
  #asked = new Map()
  #next = 0
  /** What it printed, and why threads of it failed. */
  printed = ''

  constructor(settings) {
    this.#settings = settings
  }

  get index() {
    return this.#settings.process
  }

  /** Starts it; resolves once its threads are at work. */
  async start() {
    this.incarnation += 1
    const settings = { ...this.#settings, threads: THREADS, incarnation: this.incarnation }
    const child = fork(path.join(__dirname, 'process.js'), [JSON.stringify(settings)], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#child = child
    running.add(child)
    child.once('exit', (code, signal) => {
      running.delete(child)
      for (const { reject } of this.#asked.values())
        reject(new Error(`process ${this.index} ended with ${code ?? signal}`))
    })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (this.printed += text))
    let begun = 0
    await new Promise((resolve, reject) => {
      child.once('exit', (code, signal) =>
        reject(new Error(`it ended with ${code ?? signal}: ${this.printed}`)),
      )
      child.on('message', (message) => {
        if (message.type === 'begun' && ++begun === THREADS) resolve()
        if (message.type === 'answer') this.#hear(message)
        if (message.type === 'failed') this.printed += message.text
      })
    })
  }

  #hear({ id, thread, result }) {
    const asked = this.#asked.get(id)
    asked.results[thread] = result
    if (--asked.missing > 0) return
    this.#asked.delete(id)
    asked.resolve(asked.results)
  }

  /** What each of its threads answers. */
  ask(type, more = {}) {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`process ${this.index}: no answer to ${type}`)),
        ANSWER_MS,
      )
      const settle = (results) => {
        clearTimeout(late)
        resolve(results)
      }
      this.#asked.set(id, { results: [], missing: THREADS, resolve: settle, reject })
      this.#child.send({ id, type, ...more })
    })
  }

  /** SIGKILL. */
  async kill() {
    if (this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }

  freeze() {
    this.#child.kill('SIGSTOP')
  }

  thaw() {
    this.#child.kill('SIGCONT')
  }
}

module.exports = { Member }
