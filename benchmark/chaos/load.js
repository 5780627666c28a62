'use strict'

// A child process with one contender and the load of a service in it. It knows nothing of phases: it notes what happened
// when, on the clock that all processes of the machine share, and tells at the end.

const contenders = require('./contenders.js')
const { KEYS, ORIGIN_MS, now } = require('./settings.js')

/** How long the last calls may take after the load has ended. */
const DRAIN_MS = 2_000
const WARM_UP_WIDTH = 20

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const notes = { calls: [], origin: [], unhandled: [] }

// Both end a process that does not listen for them. The third is how ioredis reports an `error` event without a listener.
const unhandled = (error) => notes.unhandled.push([now(), String(error?.message ?? error)])
process.on('uncaughtException', unhandled)
process.on('unhandledRejection', unhandled)
console.error = (...words) => {
  if (String(words[0]).includes('Unhandled error event')) unhandled(words.join(' '))
}

const keys = Array.from({ length: KEYS }, (_, index) => `product:${String(index).padStart(5, '0')}`)

/** What the service would have to compute: it names its key, so that another key's value is noticed. */
async function origin(key) {
  notes.origin.push([now(), key])
  await pause(ORIGIN_MS)
  return { key, name: 'Kettle, 1.2 l, brushed', price: 2499, currency: 'EUR', tags: ['kitchen', 'travel'] }
}

/** The same order of keys for every contender: a multiplicative generator, its high bits. */
function* keyOrder() {
  for (let state = 1; ; state = Math.imul(state, 1_664_525) + 1_013_904_223) {
    yield keys[Math.floor(((state >>> 8) * KEYS) / 2 ** 24)]
  }
}

/** One request; its note is there from the start, so that one that never settles is counted too. */
function request(getOrSet, key) {
  const call = { at: now(), ms: undefined, outcome: 'pending' }
  notes.calls.push(call)
  const settle = (outcome) => {
    call.ms = now() - call.at
    call.outcome = outcome
  }
  // A throw before the promise is there is a failure of the call too.
  return Promise.resolve()
    .then(() => getOrSet(key, () => origin(key)))
    .then(
      (value) => settle(value?.key === key ? 'done' : 'wrong'),
      () => settle('failed'),
    )
}

/** Calls at `perSecond` whatever the answers do; a late timer makes up for what was due. Gives a function that ends it. */
function openLoop(getOrSet, perSecond) {
  const order = keyOrder()
  let due = now()
  const timer = setInterval(() => {
    for (; due <= now(); due += 1_000 / perSecond) void request(getOrSet, order.next().value)
  }, 1)
  return () => clearInterval(timer)
}

/** Every key twice: made, then read. What happens meanwhile is not noted. */
async function warmUp(getOrSet) {
  for (let first = 0; first < 2 * KEYS; first += WARM_UP_WIDTH) {
    const some = Array.from({ length: WARM_UP_WIDTH }, (_, index) => keys[(first + index) % KEYS])
    await Promise.all(some.map((key) => request(getOrSet, key)))
  }
  for (const list of Object.values(notes)) list.length = 0
}

async function drain() {
  const deadline = now() + DRAIN_MS
  while (now() < deadline && notes.calls.some(({ outcome }) => outcome === 'pending')) await pause(10)
  for (const call of notes.calls) call.ms ??= now() - call.at
}

async function main([name, perSecond, port]) {
  const getOrSet = await contenders[name](Number(port))
  await warmUp(getOrSet)
  const end = openLoop(getOrSet, Number(perSecond))
  process.once('message', async () => {
    end()
    await drain()
    process.send({ type: 'notes', notes }, () => process.exit())
  })
  process.send({ type: 'ready' })
}

process.once('disconnect', () => process.exit(1))
main(process.argv.slice(2)).catch((error) => {
  process.send({ type: 'failed', message: error.message.split('\n')[0] }, () => process.exit(1))
})
