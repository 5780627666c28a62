'use strict'

// The figures as text: aligned for a terminal, or Markdown for the README.

const COLUMNS = {
  done: ({ done }) => String(done),
  failed: ({ failed }) => String(failed),
  wrong: ({ wrong }) => String(wrong),
  pending: ({ pending }) => String(pending),
  p50: ({ p50 }) => duration(p50),
  p99: ({ p99 }) => duration(p99),
  max: ({ max }) => duration(max),
  origin: ({ origin }) => String(origin),
  unhandled: ({ unhandled }) => String(unhandled),
}

/** Milliseconds with two to three digits that say something. */
function duration(ms) {
  if (ms === null) return '-'
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`
}

function inUse({ inUseMs }) {
  return inUseMs === null ? 'not within the phase' : `after ${duration(inUseMs)}`
}

/** One block of lines a contender, one line a phase. */
function text(results) {
  const lines = []
  for (const [name, { phases, failure, errors }] of Object.entries(results)) {
    lines.push('', name)
    if (failure) {
      lines.push(`  could not run: ${failure}`)
      continue
    }
    const heads = Object.keys(COLUMNS).map((head) => head.padStart(9))
    lines.push(`  ${'phase'.padEnd(10)}${heads.join(' ')}`)
    for (const [phase, figures] of Object.entries(phases)) {
      const cells = Object.values(COLUMNS).map((cell) => cell(figures).padStart(9))
      lines.push(`  ${phase.padEnd(10)}${cells.join(' ')}`)
    }
    const { frozen, restarted } = phases
    lines.push(
      `  frozen, after its first second: p99 ${duration(frozen.afterFirstSecond.p99)}, max ${duration(frozen.afterFirstSecond.max)}`,
      `  restarted: Redis in use ${inUse(restarted)}, at most ${restarted.originPerKey} origin calls for one key, ${restarted.originPerKeyInUse} once it was in use`,
    )
    for (const message of errors) lines.push(`  unhandled: ${message}`)
  }
  return lines.join('\n')
}

/** One line a contender; of each phase what a caller feels. */
function markdown(results) {
  const heads = [
    '',
    'failed',
    'unhandled errors',
    'healthy',
    'frozen',
    'thawed',
    'killed',
    'restarted',
    'Redis in use',
  ]
  const lines = [
    `| ${heads.join(' | ')} |`,
    `|${heads.map((_, index) => (index === 0 ? '---|' : '--:|')).join('')}`,
  ]
  for (const [name, { phases, failure }] of Object.entries(results)) {
    if (failure) continue
    const all = Object.values(phases)
    const sum = (field) => all.reduce((total, figures) => total + figures[field], 0)
    const cells = all.map(({ p50, p99 }) => `${duration(p50)} / ${duration(p99)}`)
    lines.push(
      `| ${[name, sum('failed') + sum('wrong') + sum('pending'), sum('unhandled'), ...cells, inUse(phases.restarted)].join(' | ')} |`,
    )
  }
  return lines.join('\n')
}

module.exports = { markdown, text }
