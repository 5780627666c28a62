'use strict'

// Questions and answers between two processes of the cluster, in either direction. Every question
// has a deadline, so that a process that hangs or has died makes nobody wait.

/**
 * Answers what is asked on `port` by calling the function of that name, and gives the function to ask
 * with.
 * @param {NodeJS.Process | import('node:cluster').Worker} port `process` in a worker, the worker in the
 *   primary
 * @param {Record<string, (...args: any[]) => unknown>} answers
 * @returns {(name: string, args: unknown[], timeout: number) => Promise<any>} rejects when it is not
 *   answered in time, when the other process is gone, or with the message of what was thrown there
 */
function talk(port, answers) {
  /** @type {Map<number, (reply: { value?: unknown, error?: string }) => void>} */
  const waiting = new Map()
  let asked = 0

  async function answer({ id, name, args }) {
    const reply = { id }
    try {
      reply.value = await answers[name](...args)
    } catch (error) {
      reply.error = error.message
    }
    port.send(reply, () => {}) // who asked may be gone
  }

  port.on('message', (message) => {
    if (message.name) answer(message)
    else waiting.get(message.id)?.(message) // one that comes too late is for nobody
  })
  port.on('disconnect', () => {
    for (const settle of waiting.values()) settle({ error: 'The other process is gone' })
  })

  return (name, args, timeout) =>
    new Promise((resolve, reject) => {
      const id = (asked += 1)
      const settle = ({ value, error }) => {
        clearTimeout(timer)
        waiting.delete(id)
        if (error === undefined) resolve(value)
        else reject(new Error(error))
      }
      const timer = setTimeout(settle, timeout, { error: `No answer to ${name} within ${timeout} ms` })
      waiting.set(id, settle)
      port.send({ id, name, args }, (error) => error && settle({ error: error.message }))
    })
}

module.exports = { talk }
