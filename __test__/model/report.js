'use strict'

// A disagreement in words.

const { inspect } = require('node:util')

const LINE = { compact: true, breakLength: Infinity, depth: 6, maxArrayLength: 4, maxStringLength: 60 }

/** What a sequence did and was answered, one line a record. */
function storyOf({ history, disagreement, tick }) {
  const lines = history.map(({ round, record: { op, ...fields }, expected }) => {
    return `  round ${round}: ${op} ${JSON.stringify(fields)} → ${inspect(expected, LINE)}`
  })
  if (disagreement)
    lines.push(
      `  but the cache says ${inspect(disagreement.seen, LINE)}; the last line is what the model says`,
    )
  return [`  (durations are ticks of ${tick} ms)`, ...lines].join('\n')
}

/** The words with which a sequence is run again. */
function repeat(kind, seed, path) {
  const undecided = process.env.MODEL_UNDECIDED ? 'MODEL_UNDECIDED=1 ' : ''
  return `${undecided}MODEL_KIND='${kind.name}' SEED=${seed} MODEL_PATH=${path}`
}

/** All there is to say about a disagreement: how it was found, and what is left of it after shrinking. */
function reportOf({ kind, seed, found, shrunk }) {
  const { path, run, steps } = shrunk
  const head = `${kind.name} and its model disagree; again with ${repeat(kind, seed, path)}`
  const asFound = `as it was found (${repeat(kind, seed, found.path)}):\n${storyOf(found.run)}`
  if (run === undefined) return `${head}\nbut not when it runs alone\n${asFound}`
  return `${head}\nafter ${steps} steps of shrinking:\n${storyOf(run)}\n${asFound}`
}

module.exports = { reportOf }
