'use strict'

// Measures the contenders of one work in turn, each in a process of its own that ends with this one.

const { fork } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { startLink } = require('./link.js')
const works = require('./works.js')

/** Longer than anything takes that a contender is asked for: the million entries are it. */
const SILENCE_MS = 300_000

/** What a contender's process says next. One that says nothing, or ends without a word, has failed. */
function heard(child) {
  return new Promise((resolve) => {
    const settle = (message) => {
      clearTimeout(timer)
      child.off('message', settle).off('disconnect', ended)
      resolve(message)
    }
    // Not 'exit', which may come before the last message.
    const ended = () => settle({ type: 'failed', message: 'its process ended' })
    const timer = setTimeout(() => {
      settle({ type: 'failed', message: 'it did not answer' })
      child.kill('SIGKILL')
    }, SILENCE_MS)
    if (!child.connected) return ended()
    child.on('message', settle).on('disconnect', ended)
  })
}

/** Asks for the next message, and notes why there will be no more. */
async function ask(contender, type) {
  // One that is gone is heard of below.
  if (type !== undefined) contender.child.send({ type }, () => {})
  const message = await heard(contender.child)
  if (message.type === 'failed') contender.failure = message.message
  if (message.type === 'absent') contender.absent = message.message
  return message
}

/** Starts one contender's process and waits until it has filled and checked its keys. */
async function start(name, program, args) {
  const file = path.join(__dirname, 'contenders', program)
  const child = fork(file, args.map(String), { execArgv: ['--expose-gc'] })
  const contender = { name, child, rounds: [] }
  await ask(contender)
  return contender
}

/** One round of one contender, while all others are idle. */
async function round(contender) {
  const message = await ask(contender, 'round')
  if (message.type === 'round') contender.rounds.push(message)
}

async function close(contender) {
  await ask(contender, 'close')
  if (contender.child.exitCode === null) await once(contender.child, 'exit')
}

/** @returns the names of a work's contenders with the programs that measure them */
function programsOf({ contenders, program, outsiders = {} }, without) {
  const own = Object.keys(contenders).map((name) => [name, program])
  return [...own, ...Object.entries(outsiders)].filter(
    ([name]) => !without.some((word) => name.startsWith(word)),
  )
}

async function measureAt(id, port, redis, { rounds, without }) {
  const contenders = []
  for (const [name, program] of programsOf(works[id], without))
    contenders.push(await start(name, program, [id, name, port, redis.port]))
  const running = () => contenders.filter(({ failure, absent }) => !failure && !absent)
  for (const contender of running()) await round(contender) // warm-up, not counted
  for (const contender of running()) contender.rounds.length = 0
  const reads = await redis.reads()
  for (let turn = 0; turn < rounds; turn++) {
    const order = running()
    order.push(...order.splice(0, turn % order.length)) // nobody always runs after the same neighbour
    for (const contender of order) await round(contender)
  }
  const sent = (await redis.reads()) - reads
  if (works[id].isLocal && sent > 0)
    throw new Error(`${sent} gets went to Redis that were to be answered from memory`)
  for (const contender of running()) await close(contender)
  return contenders
}

/**
 * @param {string} id a name of works.js
 * @param {{ port: number, reads(): Promise<number> }} redis
 * @param {{ rounds: number, without: string[] }} options whose names begin with a word of `without` do not run
 * @returns {Promise<{ name: string, rounds: object[], failure?: string, absent?: string }[]>}
 */
async function measure(id, redis, options) {
  if (!works[id].isFar) return measureAt(id, redis.port, redis, options)
  const link = await startLink(redis.port)
  try {
    return await measureAt(id, link.port, redis, options)
  } finally {
    link.stop()
  }
}

module.exports = { measure }
