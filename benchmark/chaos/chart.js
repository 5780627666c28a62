'use strict'

// The latency of all contenders over time as an SVG of its own: no script, no font, no library. It has a background, so
// that it can be read on a light page and on a dark one, and turns dark where the reader's system is.

const WIDTH = 900
const HEIGHT = 430
const PLOT = { left: 62, right: 884, top: 98, bottom: 386 }
const DECADES = [1, 10, 100, 1_000, 10_000]
const LABELS = ['1 ms', '10 ms', '100 ms', '1 s', '10 s']
/** Told apart by people who see no red or no green too (Okabe and Ito); dashes where lines lie on each other. */
const STYLES = {
  evenkeel: { light: '#0072b2', dark: '#56b4e9', width: 3.5 },
  ioredis: { light: '#d55e00', dark: '#ff7f2a' },
  'tuned ioredis': { light: '#b58900', dark: '#f0c040' },
  bentocache: { light: '#a8487f', dark: '#e08bbb', dash: '7 4' },
  cacheable: { light: '#00805f', dark: '#2fc79c', dash: '3 3' },
  'cache-manager': { light: '#6e7781', dark: '#9aa4ae', dash: '9 3 2 3' },
}
const SHADED = { frozen: 'cold', killed: 'dead' }
const NOTES = { frozen: 'SIGSTOP', killed: 'SIGKILL' }

const css = () => `
text{font:12px -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#57606a}
.title{font-size:15px;font-weight:600;fill:#1f2328}.phase{font-weight:600;fill:#1f2328;text-anchor:middle}
.note{font-size:11px;text-anchor:middle}.tick{text-anchor:end}.time{text-anchor:middle}
.page{fill:#fff;stroke:#d0d7de}.grid{stroke:#d8dee4}.cold{fill:#ddf4ff}.dead{fill:#ffebe9}
path{fill:none;stroke-width:1.8;stroke-linejoin:round}
${rules('light')}
@media (prefers-color-scheme:dark){text{fill:#9198a1}.title,.phase{fill:#f0f6fc}.page{fill:#0d1117;stroke:#3d444d}
.grid{stroke:#262c36}.cold{fill:#12283f}.dead{fill:#3a1a1d}${rules('dark')}}`

function rules(theme) {
  const line = ({ width, dash, ...colours }, index) => {
    const extra = `${width ? `;stroke-width:${width}` : ''}${dash ? `;stroke-dasharray:${dash}` : ''}`
    return `.c${index}{stroke:${colours[theme]}${extra}}`
  }
  return Object.values(STYLES).map(line).join('')
}

const classOf = (name) => `c${Object.keys(STYLES).indexOf(name)}`
const fixed = (value) => String(Math.round(value * 10) / 10)

/** The vertical place of a latency; what is quicker than the lowest line lies on it. */
function heightOf(ms) {
  const [low, high] = [Math.log10(DECADES[0]), Math.log10(DECADES.at(-1))]
  const share = (Math.log10(Math.max(ms, DECADES[0])) - low) / (high - low)
  return PLOT.bottom - Math.min(share, 1) * (PLOT.bottom - PLOT.top)
}

function scaleOf(seconds) {
  const total = Object.values(seconds).reduce((sum, value) => sum + value, 0)
  return { total, x: (second) => PLOT.left + (second / total) * (PLOT.right - PLOT.left) }
}

function phases(seconds, { x }) {
  const parts = []
  let from = 0
  for (const [name, length] of Object.entries(seconds)) {
    const [left, right] = [x(from), x(from + length)].map(fixed)
    const middle = fixed(x(from + length / 2))
    if (SHADED[name]) {
      parts.push(
        `<rect class="${SHADED[name]}" x="${left}" y="${PLOT.top}" width="${fixed(right - left)}" height="${PLOT.bottom - PLOT.top}"/>`,
      )
    }
    parts.push(`<text class="phase" x="${middle}" y="${PLOT.top - 20}">${name}</text>`)
    if (NOTES[name]) parts.push(`<text class="note" x="${middle}" y="${PLOT.top - 6}">${NOTES[name]}</text>`)
    from += length
  }
  return parts
}

function axes({ total, x }) {
  const parts = DECADES.flatMap((ms, index) => {
    const y = fixed(heightOf(ms))
    return [
      `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${y}" y2="${y}"/>`,
      `<text class="tick" x="${PLOT.left - 8}" y="${fixed(heightOf(ms) + 4)}">${LABELS[index]}</text>`,
    ]
  })
  for (let second = 0; second <= total; second += 1) {
    parts.push(`<text class="time" x="${fixed(x(second))}" y="${PLOT.bottom + 18}">${second}</text>`)
  }
  parts.push(`<text class="time" x="${(PLOT.left + PLOT.right) / 2}" y="${PLOT.bottom + 35}">seconds</text>`)
  return parts
}

/** One line through the middles of its buckets; a bucket without a call interrupts it. */
function line(name, timeline, bucketMs, { x, total }) {
  let pen = 'M'
  const points = timeline.map((ms, index) => {
    if (ms === null) {
      pen = 'M'
      return ''
    }
    const second = Math.min(((index + 0.5) * bucketMs) / 1_000, total)
    const point = `${pen}${fixed(x(second))} ${fixed(heightOf(ms))}`
    pen = 'L'
    return point
  })
  return `<path class="${classOf(name)}" d="${points.join('')}"/>`
}

function legend(names) {
  let left = PLOT.left
  return names.flatMap((name) => {
    const at = left
    left += 48 + name.length * 7
    return [
      `<path class="${classOf(name)}" d="M${at} 50H${at + 26}"/>`,
      `<text x="${at + 32}" y="54">${name}</text>`,
    ]
  })
}

/** @returns {string} the SVG of a report of chaos.js */
function chart({ contenders, seconds, bucketMs, load }) {
  const ran = Object.entries(contenders).filter(([, { failure }]) => !failure)
  const scale = scaleOf(seconds)
  // evenkeel's line is drawn last, above the others.
  const lines = ran.toReversed().map(([name, { timeline }]) => line(name, timeline, bucketMs, scale))
  const title = `Slowest answers (p99) while Redis fails: ${load.perSecond} requests a second, origin ${load.originMs} ms`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">`,
    `<style>${css()}</style>`,
    `<rect class="page" x=".5" y=".5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="6"/>`,
    `<text class="title" x="${PLOT.left}" y="28">${title}</text>`,
    ...legend(ran.map(([name]) => name)),
    ...phases(seconds, scale),
    ...axes(scale),
    ...lines,
    '</svg>\n',
  ].join('\n')
}

module.exports = { chart }
