'use strict'

// redis-benchmark: what a C program that checks nothing gets through one connection with as many reads in flight. A round is
// a run of the program.

const { execFile } = require('node:child_process')
const { promisify } = require('node:util')
const { lengthOf } = require('../redis.js')
const works = require('../works.js')
const { Absent, serve } = require('./child.js')

const [id, , port] = process.argv.slice(2)
const PROGRAM = 'redis-benchmark'
const BYTES = 126
const READS = 200_000
/** It asks for this one, as it is written, unless it is told of several. */
const KEY = 'key:__rand_int__'

/** @returns {Promise<string>} what it prints of so many requests of one kind */
async function run(kind, requests, inFlight) {
  const what = ['-t', kind, '-n', String(requests), '-d', String(BYTES)]
  const words = ['-h', '127.0.0.1', '-p', port, '-c', '1', '-P', String(inFlight), ...what, '--csv']
  const { stdout } = await promisify(execFile)(PROGRAM, words, { timeout: 60_000 })
  return stdout
}

/** Reads a second. */
async function rate(inFlight) {
  const printed = await run('get', READS, inFlight)
  const found = /^"GET","([\d.]+)"/m.exec(printed)
  if (found === null) throw new Error(`${PROGRAM} printed ${printed}`)
  return Number(found[1])
}

serve(async () => {
  await promisify(execFile)(PROGRAM, ['--version']).catch(() => {
    throw new Absent(`${PROGRAM} is not installed`)
  })
  await run('set', 1, 1)
  const length = await lengthOf(Number(port), KEY)
  if (length !== BYTES) throw new Error(`${PROGRAM} set ${length} bytes, not ${BYTES}`)
  return {
    round: async () => ({ rate: await rate(works[id].inFlight) }),
    close: () => {},
  }
})
