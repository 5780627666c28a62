'use strict'

// The slow thing behind the cache: a table of products in this process, as slow as a database.

const { setTimeout: sleep } = require('node:timers/promises')

const DELAY_MS = 80
const NAMES = ['Kettle', 'Lamp', 'Chair', 'Teapot', 'Rucksack', 'Clock', 'Blanket', 'Bicycle bell']

/** @typedef {{ id: string, name: string, price: number, stock: number }} Product prices are in cents */

/** @type {Map<string, Product>} */
const table = new Map()
for (let number = 1; number <= 100; number += 1) {
  const id = String(number)
  const name = NAMES[number % NAMES.length]
  table.set(id, { id, name, price: 990 + 170 * (number % 13), stock: number % 7 })
}

/** @returns {Promise<(Product & { readAt: number }) | null>} the row and when it was read, or null */
async function read(id) {
  const row = table.get(id)
  await sleep(DELAY_MS)
  return row ? { ...row, readAt: Date.now() } : null
}

/** @returns {Promise<{ products: Product[], readAt: number }>} the rows of that name, and when they were read */
async function find(name) {
  const products = [...table.values()].filter((row) => row.name.toLowerCase() === name.toLowerCase())
  await sleep(DELAY_MS)
  return { products, readAt: Date.now() }
}

/** Creates or replaces a row. */
async function write(id, { name, price, stock }) {
  await sleep(DELAY_MS)
  table.set(id, { id, name, price, stock })
}

/** @returns {Promise<boolean>} whether there was such a row */
async function remove(id) {
  await sleep(DELAY_MS)
  return table.delete(id)
}

module.exports = { read, find, write, remove }
