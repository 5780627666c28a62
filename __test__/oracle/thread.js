'use strict'

// A thread of the oracle: writes its own registers, reads everybody's, and notes both. It judges nothing but what needs no
// knowledge of others: values that name another key, and calls that reject though nobody asked for that.

const { parentPort, workerData: settings } = require('node:worker_threads')
const { Cache } = require('evenkeel')
const { generator } = require('../support/random.js')
const { until } = require('../support/wait.js')
const { earOf } = require('./ear.js')
const { Log } = require('./history.js')
const { readers } = require('./readers.js')
const { now } = require('./registers.js')
const { writers } = require('./writers.js')

const FLUSH_MS = 100
/** How long a cache may take to be well again: a breaker that opened again and again stays open for up to 90 s. */
const LOST_MS = 100_000

const log = new Log(settings.folder, settings)
const wrong = (text) => log.noteNow({ is: 'wrong', at: now(), text })
process.on('uncaughtException', (error) => wrong(`uncaught: ${error.stack}`))
process.on('unhandledRejection', (error) => wrong(`unhandled: ${error?.stack ?? error}`))

const cache = new Cache(settings.cache)
const random = generator(settings.seed + 100 * settings.incarnation + 10 * settings.process + settings.thread)
const ear = earOf(cache, settings.cache.invalidation, log)
const end = new AbortController()
const self = { cache, ear, log, random, settings, wrong, signal: end.signal }
const work = [...writers(self), ...readers(self)]
setInterval(() => log.flush(), FLUSH_MS)

/** Once nothing goes wrong any more: all that was begun ends, and Redis is told of what it missed. */
async function finish() {
  end.abort()
  await Promise.all(work)
  const isWell = () => ear.look().healthy
  await until(isWell, { timeout: LOST_MS, message: 'it is healthy and hears' }).catch(({ message }) =>
    wrong(`${message}, it is ${JSON.stringify(cache.health())}`),
  )
  await cache.settled({ timeout: LOST_MS })
  const { pending_invalidations: left } = cache.health().cache
  if (left > 0) wrong(`left: ${left} in the journal`)
  log.flush()
}

/** The versions that this process finds under `keys`, 0 for none. */
async function audit(keys) {
  const values = await cache.getMany(keys)
  return values.map((value) => value?.version ?? 0)
}

const TASKS = {
  finish,
  audit: ({ keys }) => audit(keys),
  close: () => cache.close(),
}

parentPort.on('message', (message) => {
  const answer = (result) => parentPort.postMessage({ type: 'answer', id: message.id, result })
  TASKS[message.type](message).then(answer, (error) => {
    wrong(`${message.type} failed: ${error.stack}`)
    answer(undefined)
  })
})
parentPort.postMessage({ type: 'begun' })
