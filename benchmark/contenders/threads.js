'use strict'

// One cache, and hits in its L1 by as many worker threads as the contender says: what they make together. This thread fills
// the cache, and only waits while they read.

const { once } = require('node:events')
const path = require('node:path')
const { Worker } = require('node:worker_threads')
const works = require('../works.js')
const { serve } = require('./child.js')
const { entriesOf } = require('./operations.js')

const [id, name, port] = process.argv.slice(2)
const THREAD = path.join(__dirname, 'thread.js')

async function heard(worker) {
  const [message] = await once(worker, 'message')
  return message
}

serve(async () => {
  const work = works[id]
  const { keys, values } = entriesOf(id, name, work)
  const cache = await work.open(Number(port))
  for (const [index, key] of keys.entries()) await cache.set(key, values[index])
  const workerData = { id, name, port: Number(port) }
  const threads = Array.from({ length: work.contenders[name] }, () => new Worker(THREAD, { workerData }))
  await Promise.all(threads.map(heard))
  const ask = (type) => {
    const answers = threads.map(heard)
    for (const thread of threads) thread.postMessage(type)
    return Promise.all(answers)
  }
  return {
    async round() {
      const rounds = await ask('round')
      // Each thread measures the CPU of the whole process, over its own operations.
      return {
        rate: rounds.reduce((sum, { rate }) => sum + rate, 0),
        cpu: 1 / rounds.reduce((sum, { cpu }) => sum + 1 / cpu, 0),
        delay: Math.max(...rounds.map(({ delay }) => delay)),
      }
    },
    async close() {
      await ask('close')
      await cache.close()
    },
  }
})
