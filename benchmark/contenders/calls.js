'use strict'

// A child process with one contender in it, so that no contender runs on another's heap or optimised code. It fills its
// keys, checks every answer, and then runs one round for each message of the parent.

const { commandsOf } = require('../redis.js')
const works = require('../works.js')
const { serve } = require('./child.js')
const { entriesOf, OPERATIONS } = require('./operations.js')
const { bursts, round } = require('./rounds.js')

const [id, name, port, redisPort] = process.argv.slice(2)

serve(async () => {
  const work = works[id]
  const entries = entriesOf(id, name, work)
  const cache = await work.contenders[name](Number(port))
  const operation = OPERATIONS[work.op](cache, entries)
  async function checkAll() {
    for (const [index, key] of entries.keys.entries()) operation.checkAll(await cache.get(key), index)
  }
  for (const [index, key] of entries.keys.entries()) await cache.set(key, entries.values[index])
  await checkAll()
  const count = () => commandsOf(Number(redisPort))
  return {
    round: () => (work.bursts ? bursts(operation, { count, times: work.bursts }) : round(operation, work)),
    async close() {
      await checkAll()
      await cache.close()
    },
  }
})
