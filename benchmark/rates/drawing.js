'use strict'

// A run of `npm run rates` as a picture: a panel for each trace, at one share of its bytes.

const { picture } = require('../chart.js')

const SHARE = 0.1

/** @returns {string} an SVG document */
function drawing({ node, machine, traces }) {
  const panels = traces.map(({ title, cells }) => {
    const { rates } = cells.find(({ share }) => share === SHARE)
    const contenders = Object.entries(rates).map(([name, rate]) => ({ name, middle: rate * 100 }))
    return { title, unit: '%', contenders }
  })
  const title = `Hit rates with room for ${SHARE * 100} % of the bytes`
  return picture({ title, panels, notes: [`${machine}; Node ${node}.`] })
}

module.exports = { drawing }
