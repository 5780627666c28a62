'use strict'

// Answers: what a call comes to, and what the model says that it must have come to, `{ value }` or `{ rejects }` with the code of a
// CacheError or else the text of the error.

async function outcomeOf(call) {
  try {
    return { value: await call() }
  } catch (error) {
    return { rejects: error.code ?? error.message }
  }
}

const value = (value) => ({ value })
const rejection = (code) => ({ rejects: code })

/** What was seen if it is a number in this range, else the least of it. */
const within = (seen, [least, most]) => value(seen.value >= least && seen.value <= most ? seen.value : least)

module.exports = { outcomeOf, rejection, value, within }
