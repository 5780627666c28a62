'use strict'

// One contract, run over every kind of cache. Each file of contract/ exports a function that defines its tests for one
// kind; what only one kind does is in the files of its subject.

const { after, before, describe } = require('node:test')
const { kindsOn } = require('./contract/kinds.js')
const { startRedis } = require('./support/redis.js')

const CHAPTERS = [
  'values',
  'reading',
  'writing',
  'expiry',
  'patterns',
  'counters',
  'loading',
  'staleness',
  'failures',
  'factories',
  'tags',
  'many',
  'many-options',
  'many-meanwhile',
  'warming',
  'refusals',
  'views',
]

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

for (const kind of kindsOn(() => server)) {
  describe(kind.name, () => {
    for (const chapter of CHAPTERS) describe(chapter, () => require(`./contract/${chapter}.js`)(kind))
  })
}
