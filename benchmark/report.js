'use strict'

// What a run of `npm run bench` says: as text, and what of it stands in the JSON.

const { GOALS, median, standing } = require('./goals.js')
const works = require('./works.js')

/** The median of a contender in the unit of its work. */
function middleOf({ rounds }, unit) {
  const rate = median(rounds.map((round) => round.rate))
  return { ns: 1e9 / rate, µs: 1e6 / rate, 'k/s': rate / 1_000 }[unit]
}

const digits = (figure) => (figure < 10 ? 2 : figure < 100 ? 1 : 0)

/** A work and its contenders, a line each. */
function workText(id, results) {
  const { title, unit } = works[id]
  const lines = results.map((result) => {
    const name = `  ${result.name.padEnd(32)}`
    if (result.failure) return `${name} failed: ${result.failure}`
    const middle = middleOf(result, unit)
    const cpu = median(result.rounds.map((round) => round.cpu))
    return `${name}${middle.toFixed(digits(middle)).padStart(9)} ${unit}${cpu.toFixed(2).padStart(9)} µs of CPU`
  })
  return [`\n${title}`, ...lines].join('\n')
}

/** The goals of which something ran. */
function standings(all, line) {
  return GOALS.flatMap((goal) => {
    const state = standing(goal, all, line)
    return state === undefined ? [] : [{ ...goal, ...state }]
  })
}

function goalsText(goals) {
  const lines = goals.map(({ work, figure, of, reference, ratio, low, high, bar, reached }) => {
    const what = `${works[work].title}, ${figure}`
    const than = reference === undefined ? of : `${of} ÷ ${reference}`
    const ratios = `${ratio.toFixed(2).padStart(6)} (${low.toFixed(2)} to ${high.toFixed(2)})`
    return `  ${what.padEnd(48)} ${than.padEnd(44)} ${ratios}  goal ${bar}: ${reached ? 'reached' : 'MISSED'}`
  })
  return ['\nGoals', ...lines].join('\n')
}

/** What of a run is kept. */
function record(all, goals, about) {
  const worksOf = Object.entries(all).map(([id, results]) => {
    const { title, unit, inFlight } = works[id]
    const contenders = results.map((result) => ({
      name: result.name,
      ...(result.failure
        ? { failure: result.failure }
        : {
            middle: middleOf(result, unit),
            cpu: median(result.rounds.map((round) => round.cpu)),
            delay: median(result.rounds.map((round) => round.delay)),
          }),
    }))
    return { id, title, unit, inFlight, contenders }
  })
  return { ...about, works: worksOf, goals }
}

module.exports = { goalsText, record, standings, workText }
