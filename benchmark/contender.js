'use strict'

// A child process with one contender in it, so that no contender runs on another's heap or optimised code. It fills its
// keys, checks every answer, and then runs one round for each message of the parent.

const assert = require('node:assert/strict')
const { monitorEventLoopDelay } = require('node:perf_hooks')
const works = require('./works.js')

const [id, name, port] = process.argv.slice(2)
const work = works[id]
const ids = Array.from({ length: work.keys }, (_, index) => `p-${String(index).padStart(5, '0')}`)
const keys = ids.map((each) => `${id}:${name.replaceAll(/\W+/g, '-')}:${each}`)
const values = ids.map((each) => work.value(each))

/** Whether an answer is that to the key at `index`: of an object its id is looked at, which costs all the same. */
const isRight = (answer, index) =>
  typeof answer === 'string' ? answer === values[index] : answer.id === ids[index]

function check(answer, index) {
  if (!isRight(answer, index)) throw new Error(`${name} answered ${JSON.stringify(answer)} for ${ids[index]}`)
}

const made = () => assert.fail('the factory ran for a key that is cached')

/** How one operation on the key at `index` is begun and its answer checked. */
const OPERATIONS = {
  get: (cache) => ({ call: (index) => cache.get(keys[index]), check }),
  getOrSet: (cache) => ({ call: (index) => cache.getOrSet(keys[index], made), check }),
  set: (cache) => ({ call: (index) => cache.set(keys[index], values[index]), check: () => {} }),
}

/** One caller after another; gives how many there were. */
async function sequence({ call, check }, until) {
  let done = 0
  while (performance.now() < until) {
    for (let index = 0; index < keys.length; index++) check(await call(index), index)
    done += keys.length
  }
  return done
}

/** `work.inFlight` callers at a time, each on keys of its own. */
async function parallel({ call, check }, until) {
  let done = 0
  async function caller(first) {
    for (let index = first; performance.now() < until; index += work.inFlight) {
      if (index >= keys.length) index = first
      check(await call(index), index)
      done++
    }
  }
  await Promise.all(Array.from({ length: work.inFlight }, (_, first) => caller(first)))
  return done
}

/** @returns operations a second, µs of CPU for each, and the p99 of the event loop's delay in ms */
async function round(operation) {
  globalThis.gc()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const [start, cpu] = [performance.now(), process.cpuUsage()]
  const run = work.isLocal ? sequence : parallel
  const done = await run(operation, start + work.ms)
  const seconds = (performance.now() - start) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  delay.disable()
  return { rate: done / seconds, cpu: (user + system) / done, delay: delay.percentile(99) / 1e6 }
}

async function main() {
  const cache = await work.contenders[name](Number(port))
  for (const [index, key] of keys.entries()) await cache.set(key, values[index])
  for (const [index, key] of keys.entries()) assert.deepEqual(await cache.get(key), values[index])
  const operation = OPERATIONS[work.op](cache)
  process.on('message', async ({ type }) => {
    if (type === 'round') return process.send({ type, ...(await round(operation)) })
    for (const [index, key] of keys.entries()) assert.deepEqual(await cache.get(key), values[index])
    await cache.close()
    process.disconnect()
  })
  // Whatever became of the parent, nobody is left behind.
  process.once('disconnect', () => process.exit())
  process.send({ type: 'ready' })
}

// The reason travels by message; nothing else of a failed contender is worth printing.
function fail(error) {
  const message = `${error.code ?? error.name}: ${error.message.split('\n')[0]}`
  process.send({ type: 'failed', message }, () => process.exit(1))
}
process.on('unhandledRejection', fail)
main().catch(fail)
