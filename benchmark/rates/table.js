'use strict'

// Hit rates as text: a block for each trace in a terminal, one table for the docs, where a rate that is more than half a
// point below lru-cache's is bold.

const REFERENCE = 'lru-cache'
const BEHIND = 0.005

const percent = (share) => `${(share * 100).toFixed(1)}`

function text({ title, objects, requests, cells }) {
  const names = Object.keys(cells[0].rates)
  const line = (first, rest) => `  ${first.padEnd(8)}${rest.map((word) => word.padStart(20)).join('')}`
  return [
    `\n${title}: ${requests} requests for ${objects} objects, hits in %`,
    line('room', names),
    ...cells.map(({ share, rates }) => line(`${share * 100} %`, Object.values(rates).map(percent))),
  ].join('\n')
}

function shown(rates) {
  return Object.entries(rates).map(([name, rate]) =>
    name !== REFERENCE && rate < rates[REFERENCE] - BEHIND ? `**${percent(rate)}**` : percent(rate),
  )
}

function markdown(traces) {
  const names = Object.keys(traces[0].cells[0].rates)
  const row = (words) => `| ${words.join(' | ')} |`
  return [
    row(['trace', 'room', ...names]),
    `|---|--:|${names.map(() => '--:|').join('')}`,
    ...traces.flatMap(({ title, cells }) =>
      cells.map(({ share, rates }, at) => row([at === 0 ? title : '', `${share * 100} %`, ...shown(rates)])),
    ),
  ].join('\n')
}

module.exports = { markdown, text }
