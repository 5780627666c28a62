'use strict'

// Figures as a picture: panels below each other, in each a bar for each contender, as long as its figure.

const WIDTH = 860
const LABEL = 230
const BAR = { height: 16, gap: 4, most: WIDTH - LABEL - 110 }
const PANEL_GAP = 30
const COLORS = { own: '#0b7285', other: '#adb5bd', text: '#212529', faint: '#6c757d' }
/** One look for light and dark pages. */
const BACKGROUND = '#ffffff'
const MORE_IS_BETTER = ['k/s', '%']

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

const label = (figure, unit) => `${figure.toFixed(figure < 10 ? 2 : figure < 100 ? 1 : 0)} ${unit}`

function text(x, y, content, { color = COLORS.text, anchor = 'start', size = 12, weight = 400 } = {}) {
  const style = `font-size="${size}" font-weight="${weight}" fill="${color}" text-anchor="${anchor}"`
  return `<text x="${x}" y="${y}" ${style}>${escape(content)}</text>`
}

/** The bars of a work below `top`; where they end. */
function panel({ title, unit, contenders }, top) {
  const better = MORE_IS_BETTER.includes(unit) ? 'more is better' : 'less is better'
  const ran = contenders.filter(({ middle }) => middle !== undefined)
  const most = Math.max(...ran.map(({ middle }) => middle)) || 1
  const parts = [text(0, top + 14, `${title} (${better})`, { size: 13, weight: 600 })]
  let y = top + 24
  for (const { name, middle } of ran) {
    const length = Math.max(1, (middle / most) * BAR.most)
    const color = name.startsWith('evenkeel') ? COLORS.own : COLORS.other
    parts.push(
      text(LABEL - 8, y + 12, name, { anchor: 'end' }),
      `<rect x="${LABEL}" y="${y}" width="${length.toFixed(1)}" height="${BAR.height}" fill="${color}"/>`,
      text(LABEL + length + 6, y + 12, label(middle, unit), { color: COLORS.faint }),
    )
    y += BAR.height + BAR.gap
  }
  return { parts, bottom: y }
}

/** @returns {string} an SVG document of panels `{ title, unit, contenders: [{ name, middle }] }` */
function picture({ title, note, panels }) {
  let top = 40
  const parts = []
  for (const each of panels) {
    const made = panel(each, top)
    parts.push(...made.parts)
    top = made.bottom + PANEL_GAP
  }
  const box = `width="${WIDTH}" height="${top}" viewBox="-12 0 ${WIDTH} ${top}"`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${box} font-family="system-ui, sans-serif" role="img" aria-label="${escape(title)}">`,
    `<rect x="-12" width="${WIDTH}" height="${top}" fill="${BACKGROUND}"/>`,
    text(0, 20, title, { size: 16, weight: 700 }),
    text(WIDTH - 24, 20, note, { color: COLORS.faint, anchor: 'end', size: 11 }),
    ...parts,
    '</svg>\n',
  ].join('\n')
}

/** A run of `npm run bench`, a panel for each work. */
function chart({ node, machine, rounds, works }) {
  const note = `${machine}; medians of ${rounds} rounds; Redis on the same machine`
  return picture({ title: `evenkeel and its peers on Node ${node}`, note, panels: works })
}

module.exports = { chart, picture }
