'use strict'

// Processes of their own that a test starts from a file of fixtures/, tells things and hears of; and the diary that they
// keep in Redis, which tells who was where when.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { until } = require('./wait.js')

/**
 * Starts `fixtures/<name>.js` with `words` as its one argument, killed with the test `t`. `heard(type, count)` resolves with
 * the message of this type once there are `count`; `kill()` resolves once it is gone, with the time of the kill.
 */
function startProcess(t, name, words, { flags = [] } = {}) {
  const file = path.join(__dirname, '..', 'fixtures', `${name}.js`)
  const child = fork(file, [JSON.stringify(words)], { execArgv: ['--unhandled-rejections=strict', ...flags] })
  const gone = once(child, 'exit')
  const messages = []
  child.on('message', (message) => messages.push(message))
  const all = (type) => messages.filter((message) => message.type === type)
  const started = {
    pid: child.pid,
    all,
    gone,
    tell: (type) => child.send(type),
    heard(type, count = 1) {
      const message = `${name} ${child.pid} tells of "${type}"`
      return until(() => all(type).at(count - 1), { timeout: 30_000, message })
    },
    async kill() {
      child.kill('SIGKILL')
      await gone
    },
  }
  t.after(() => started.kill())
  return started
}

/**
 * How many were inside at once at most, by a diary of `enter <who>`, `leave <who>` and `killed <who>`. Redis put the lines
 * in order.
 */
function mostInside(diary) {
  const inside = new Set()
  let most = 0
  for (const line of diary) {
    const [what, who] = line.split(' ')
    if (what === 'enter') inside.add(who)
    else inside.delete(who)
    most = Math.max(most, inside.size)
  }
  return most
}

module.exports = { mostInside, startProcess }
