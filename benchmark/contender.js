'use strict'

// A child process with one contender in it, so that no contender runs on another's heap or optimised code. It fills its
// keys, checks every answer, and then runs one round for each message of the parent.

const assert = require('node:assert/strict')
const contenders = require('./contenders.js')

const [suite, name, port, inFlight] = process.argv.slice(2)
const KEYS = 500

const product = (id) => ({
  id,
  name: 'Kettle, 1.2 l, brushed',
  price: 2499,
  currency: 'EUR',
  stock: 17,
  tags: ['kitchen', 'travel'],
  rank: 0.825,
})
const ids = Array.from({ length: KEYS }, (_, index) => `p-${String(index).padStart(5, '0')}`)
const keys = ids.map((id) => `${suite}:${name.replaceAll(/\W+/g, '-')}:${id}`)

/** One caller after another, `get` awaited each time; gives operations a second. */
async function sequence(get, milliseconds) {
  const start = performance.now()
  let done = 0
  let elapsed = 0
  while (elapsed < milliseconds) {
    for (let index = 0; index < KEYS; index += 1) {
      const value = await get(keys[index])
      if (value.id !== ids[index]) throw new Error(`${name} answered ${value.id} for ${ids[index]}`)
    }
    done += KEYS
    elapsed = performance.now() - start
  }
  return (done / elapsed) * 1000
}

/** `width` callers at a time, each on keys of its own, so that no read can be shared. */
async function parallel(get, milliseconds, width) {
  const start = performance.now()
  let done = 0
  async function caller(first) {
    let index = first
    while (performance.now() - start < milliseconds) {
      const value = await get(keys[index])
      const right = typeof value === 'string' ? value.includes(ids[index]) : value.id === ids[index]
      if (!right) throw new Error(`${name} answered ${JSON.stringify(value)} for ${ids[index]}`)
      done += 1
      index = index + width < KEYS ? index + width : first
    }
  }
  await Promise.all(Array.from({ length: width }, (_, first) => caller(first)))
  return (done / (performance.now() - start)) * 1000
}

async function main() {
  const cache = await contenders[suite][name](Number(port))
  for (const [index, key] of keys.entries()) await cache.set(key, product(ids[index]))
  for (const [index, key] of keys.entries()) {
    const value = await cache.get(key)
    assert.deepEqual(typeof value === 'string' ? JSON.parse(value) : value, product(ids[index]))
  }
  const width = Number(inFlight)
  const round = (milliseconds) =>
    width > 1 ? parallel(cache.get, milliseconds, width) : sequence(cache.get, milliseconds)
  process.on('message', async (message) => {
    if (message.type === 'close') {
      await cache.close()
      process.disconnect()
      return
    }
    globalThis.gc()
    process.send({ type: 'round', rate: await round(message.milliseconds) })
  })
  process.send({ type: 'ready', bytes: JSON.stringify(product(ids[0])).length })
}

// The reason travels by message; nothing else of a failed contender is worth printing.
function fail(error) {
  process.send(
    { type: 'failed', message: `${error.code ?? error.name}: ${error.message.split('\n')[0]}` },
    () => process.exit(1),
  )
}
process.on('unhandledRejection', fail)
main().catch(fail)
