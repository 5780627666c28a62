'use strict'

// How long a process that has just begun takes until it has a cache, by many such processes. A round is a few of them.

const { execFile } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { promisify } = require('node:util')
const { builtBinary } = require('../../scripts/setup.js')
const { median } = require('../figures.js')
const { serve } = require('./child.js')

const [, name] = process.argv.slice(2)
const STARTS = 3
const PROGRAM = path.join(__dirname, 'cold-start.js')

/** @returns {Promise<number>} ms */
async function start() {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, name], { timeout: 30_000 })
  return Number(stdout)
}

/** Of what evenkeel loads, in bytes; the others are JavaScript. */
const sizeOf = () => fs.statSync(process.env.EVENKEEL_BINARY ?? builtBinary()).size

serve(async () => {
  const size = name === 'evenkeel' ? sizeOf() : undefined
  return {
    async round() {
      const starts = []
      for (let turn = 0; turn < STARTS; turn++) starts.push(await start())
      return { start: median(starts), size }
    },
    close: () => {},
  }
})
