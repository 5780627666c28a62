'use strict'

// The tables of docs/servers.md, as their tests read them.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { root } = require('../support/child.js')

const PAGE = fs.readFileSync(path.join(root, 'docs', 'servers.md'), 'utf8')

/** The commands of a cell, `nothing` or `2 × \`SET\`, \`UNLINK\``, in their order. */
function commandsOf(cell) {
  const parts = [...cell.matchAll(/(?:(\d+) × )?`([A-Z ]+)`/g)]
  return parts.flatMap(([, times = '1', name]) => Array(Number(times)).fill(name))
}

/** The rows of the table below a heading of the page: what is done, how many commands, which, and how many PUBLISH. */
function tableOf(heading) {
  const section = PAGE.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`))
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  return rows.slice(2).map((line) => {
    const [what, number, commands, published] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
    return { what, number: Number(number), commands: commandsOf(commands), published: Number(published ?? 0) }
  })
}

/** Every row has its deed here, every deed its row. */
function rowsFor(heading, deeds) {
  const rows = tableOf(heading)
  assert.deepEqual(
    rows.map(({ what }) => what),
    Object.keys(deeds),
    `the table "${heading}" and its tests`,
  )
  for (const { what, number, commands } of rows) assert.equal(commands.length, number, what)
  return rows
}

/** `SET ns:k 1` is a `SET`, `CLIENT SETNAME x` a `CLIENT SETNAME`: as far as the table names it. */
function namesOf(sent, wanted) {
  return sent.map((line, at) => {
    const name = wanted[at] ?? line.split(' ')[0]
    return `${line} `.startsWith(`${name} `) ? name : line
  })
}

module.exports = { namesOf, rowsFor }
