'use strict'

// What a run of `npm run bench` says: as text, and what of it stands in the JSON and is drawn.

const { FIGURES, UNITS, middle, shown } = require('./figures.js')
const { GOALS, standing } = require('./goals.js')
const works = require('./works.js')

/** What is not in the figures, for whoever reads them. */
const NOT_MEASURED = [
  'TLS and clusters',
  'Redis on another machine',
  'other systems and processors',
  'more than two threads or cores',
]

/** A work as often as it has figures to be shown. */
const panelsOf = (id) => [{ id, ...works[id] }, ...(works[id].also ?? [])]

/** What a contender needs beside its figure, where that was measured. */
function costs({ rounds }) {
  const cpu = middle(rounds, FIGURES.cpu)
  const delay = middle(rounds, FIGURES.delay)
  const empty = middle(rounds, FIGURES.empty)
  const parts = []
  if (cpu !== undefined) parts.push(`${cpu.toFixed(2).padStart(9)} µs of CPU`)
  // Between operations that memory answers the event loop has no turn that could be late.
  if (delay >= 0.05) parts.push(`${delay.toFixed(1).padStart(7)} ms late`)
  if (empty !== undefined) parts.push(`, ${shown(empty)} before they were there`)
  return parts.join('')
}

/** A contender in a line, or none where it has no such figure. */
function line(result, { unit, program }) {
  const name = `  ${result.name.padEnd(32)}`
  if (result.failure) return [`${name} failed: ${result.failure}`]
  if (result.absent) return [`${name} skipped: ${result.absent}`]
  const value = middle(result.rounds, UNITS[unit])
  if (value === undefined) return []
  // A further panel of a work has no program, and the costs are told already.
  return [`${name}${shown(value).padStart(9)} ${unit}${program === undefined ? '' : costs(result)}`]
}

/** A work and its contenders, a line each. */
function workText(id, results) {
  return panelsOf(id)
    .map((panel) => [`\n${panel.title}`, ...results.flatMap((result) => line(result, panel))].join('\n'))
    .join('\n')
}

/** The goals of which something ran. */
function standings(all, nodeLine) {
  return GOALS.flatMap((goal) => {
    const state = standing(goal, all, nodeLine)
    return state === undefined ? [] : [{ ...goal, ...state }]
  })
}

function goalsText(goals) {
  const lines = goals.map(({ work, figure, of, reference, ratio, low, high, bar, reached }) => {
    const what = `${works[work].title}, ${figure}`
    const than = reference === undefined ? of : `${of} ÷ ${reference}`
    const ratios = `${ratio.toFixed(2).padStart(6)} (${low.toFixed(2)} to ${high.toFixed(2)})`
    return `  ${what.padEnd(60)} ${than.padEnd(44)} ${ratios}  goal ${bar}: ${reached ? 'reached' : 'MISSED'}`
  })
  return ['\nGoals', ...lines].join('\n')
}

/** What of a contender is kept. */
function kept(result, unit) {
  const { name, rounds, failure, absent } = result
  if (failure || absent) return [{ name, failure, absent }]
  const value = middle(rounds, UNITS[unit])
  const figures = {
    cpu: middle(rounds, FIGURES.cpu),
    delay: middle(rounds, FIGURES.delay),
    empty: middle(rounds, FIGURES.empty),
  }
  return value === undefined ? [] : [{ name, middle: value, ...figures }]
}

/** What of a run is kept. */
function record(all, goals, about) {
  const panels = Object.entries(all).flatMap(([id, results]) =>
    panelsOf(id).map((panel) => ({
      id: panel.id,
      title: panel.title,
      unit: panel.unit,
      inFlight: panel.inFlight,
      contenders: results.flatMap((result) => kept(result, panel.unit)),
    })),
  )
  return { ...about, notMeasured: NOT_MEASURED, works: panels, goals }
}

module.exports = { goalsText, record, standings, workText }
