'use strict'

// A worker thread of threads.js, which reads what that one's own thread has set.

const assert = require('node:assert/strict')
const { parentPort, workerData } = require('node:worker_threads')
const works = require('../works.js')
const { entriesOf, OPERATIONS } = require('./operations.js')
const { round } = require('./rounds.js')

const { id, name, port } = workerData

async function main() {
  const work = works[id]
  const entries = entriesOf(id, name, work)
  const cache = await work.open(port)
  // It is in L1 before this thread has asked for anything: there is one L1 for all.
  const checkAll = () =>
    entries.keys.forEach((key, index) => assert.equal(cache.peek(key), entries.values[index]))
  checkAll()
  const operation = OPERATIONS[work.op](cache, entries)
  parentPort.on('message', async (type) => {
    if (type === 'round') return parentPort.postMessage(await round(operation, work))
    checkAll()
    await cache.close()
    parentPort.postMessage('closed')
    parentPort.close()
  })
  parentPort.postMessage('ready')
}

main()
