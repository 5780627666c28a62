'use strict'

// A run as a picture: a panel for each work or trace, in it a bar for each contender, as long as its figure. Below them stands what
// it is a picture of. No script, no font, no library; it turns dark where the reader's system is.

const { isMoreBetter, shown } = require('./figures.js')

const MARGIN = 16
const COLUMN = { width: 470, gap: 32, count: 2 }
const WIDTH = 2 * MARGIN + COLUMN.count * COLUMN.width + (COLUMN.count - 1) * COLUMN.gap
const TOP = 52
const BAR = { left: 200, most: 150, height: 15, step: 19 }
const PANEL = { title: 22, gap: 26 }
/** As many letters as fit into a line of the words below. */
const LETTERS = 165

const css = `
text{font:12px -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.head{font-size:16px;font-weight:600}.title{font-size:13px;font-weight:600}.name{text-anchor:end}
.faint{fill:#57606a}.note{font-size:11px;fill:#57606a}.right{text-anchor:end}
.page{fill:#fff;stroke:#d0d7de}.own{fill:#0072b2}.other{fill:#aab4be}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.faint,.note{fill:#9198a1}.page{fill:#0d1117;stroke:#3d444d}
.own{fill:#56b4e9}.other{fill:#57606a}}`

const escape = (words) => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

const text = (x, y, classes, words) => `<text class="${classes}" x="${x}" y="${y}">${escape(words)}</text>`

/** A contender of a panel, its bar ending where its figure of `most` does. */
function bar({ name, middle }, { unit, most, isOwn }, y) {
  const length = Math.max(1, (middle / most) * BAR.most)
  const classes = isOwn ? 'own' : 'other'
  const size = `width="${length.toFixed(1)}" height="${BAR.height}"`
  return [
    text(BAR.left - 8, y + 12, 'name', name),
    `<rect class="${classes}" x="${BAR.left}" y="${y}" ${size} rx="2"/>`,
    text((BAR.left + length + 6).toFixed(1), y + 12, 'faint', `${shown(middle)} ${unit}`),
  ]
}

/** A work in a group of its own; with its height. */
function panel({ title, unit, contenders }) {
  const ran = contenders.filter(({ middle }) => middle !== undefined)
  const most = Math.max(...ran.map(({ middle }) => middle)) || 1
  // Where evenkeel is alone with itself all bars are its own.
  const isAlone = !ran.some(({ name }) => name.startsWith('evenkeel'))
  const bars = ran.flatMap((contender, index) => {
    const isOwn = isAlone || contender.name.startsWith('evenkeel')
    return bar(contender, { unit, most, isOwn }, PANEL.title + index * BAR.step)
  })
  const better = isMoreBetter(unit) ? 'more is better' : 'less is better'
  const heading = [text(0, 12, 'title', title), text(COLUMN.width, 12, 'note right', better)]
  return { parts: [...heading, ...bars], height: PANEL.title + ran.length * BAR.step + PANEL.gap }
}

/** Puts each panel below the others of the column that is shortest so far. */
function laidOut(panels) {
  const bottoms = Array.from({ length: COLUMN.count }, () => TOP)
  const parts = panels.map(({ parts, height }) => {
    const top = Math.min(...bottoms)
    const column = bottoms.indexOf(top)
    bottoms[column] += height
    const x = MARGIN + column * (COLUMN.width + COLUMN.gap)
    return `<g transform="translate(${x} ${top})">\n${parts.join('\n')}\n</g>`
  })
  return { parts, bottom: Math.max(...bottoms) }
}

/** Words in lines of at most `LETTERS`. */
function wrapped(words) {
  const lines = ['']
  for (const word of words.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trimStart()
    if (longer.length > LETTERS) lines.push(word)
    else lines[lines.length - 1] = longer
  }
  return lines
}

/** On what it was measured, with what, and what was not. */
function words({ machine, redis, rounds, peers, notMeasured }) {
  const versions = Object.entries(peers).map(
    ([name, version]) => `${name} ${version.replace(/^npm:.*@/, '')}`,
  )
  return [
    `${machine}; Redis ${redis} on the same machine; medians of ${rounds} rounds in turns, every answer checked.`,
    `With ${versions.join(', ')}.`,
    `Not measured: ${notMeasured.join('; ')}.`,
  ]
}

/** @returns {string} an SVG document: panels `{ title, unit, contenders: [{ name, middle }] }`, and notes below them */
function picture({ title, panels, notes }) {
  const { parts, bottom } = laidOut(panels.map(panel))
  const lines = notes
    .flatMap(wrapped)
    .map((line, index) => text(MARGIN, bottom + 8 + index * 16, 'note', line))
  const height = bottom + 8 + lines.length * 16
  const box = `viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}"`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${box} role="img" aria-label="${escape(title)}">`,
    `<style>${css}</style>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>`,
    text(MARGIN, 30, 'head', title),
    ...parts,
    ...lines,
    '</svg>\n',
  ].join('\n')
}

/** @returns {string} the SVG of a record of report.js */
function chart(run) {
  return picture({
    title: `evenkeel and its peers on Node ${run.node}`,
    panels: run.works,
    notes: words(run),
  })
}

module.exports = { chart, picture }
