'use strict'

// One of the processes that serve: the same service as `npm start` has, with the origin and the figures
// of the other workers behind the primary.

const cluster = require('node:cluster')
const { createService } = require('../service.js')
const { talk } = require('./ipc.js')
const { metricsOfAll } = require('./metrics.js')

const ORIGIN_MS = 5_000
const NUMBER = process.env.WORKER_NUMBER

const ask = talk(process, { page: () => service.cache.metrics() })
const origin = {
  read: (id) => ask('read', [id], ORIGIN_MS),
  find: (name) => ask('find', [name], ORIGIN_MS),
  write: (id, product) => ask('write', [id, product], ORIGIN_MS),
  remove: (id) => ask('remove', [id], ORIGIN_MS),
}
const service = createService({ origin, metrics: metricsOfAll(ask) })
let stopped

async function end() {
  await service.close()
  cluster.worker.disconnect() // nothing else keeps this process
}

// In a terminal Ctrl-C reaches every process, and the primary hands it on as well.
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => (stopped ??= end()))

service.server.prependListener('request', (req, res) => res.setHeader('x-worker', NUMBER))
service.start().catch(() => {
  if (!stopped) process.exitCode = 1 // the server has said why
  stopped ??= end()
})
