'use strict'

// A process of the oracle: its threads, and the way between them and whoever started it. It ends with it.

const path = require('node:path')
const { Worker } = require('node:worker_threads')

const settings = JSON.parse(process.argv[2])
process.once('disconnect', () => process.exit(1))

const threads = Array.from({ length: settings.threads }, (_, thread) => {
  const worker = new Worker(path.join(__dirname, 'thread.js'), { workerData: { ...settings, thread } })
  worker.on('message', (message) => process.send({ ...message, thread }))
  worker.on('error', (error) => process.send({ type: 'failed', thread, text: error.stack }))
  return worker
})
process.on('message', (message) => {
  for (const thread of threads) thread.postMessage(message)
})
