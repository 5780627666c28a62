'use strict'

// What evenkeel is to reach: ratios of the same run to the best of those it is compared with, or figures as they are.

const { FIGURES, median, middle } = require('./figures.js')

/** The caches that do as much: two tiers, loaders, copies. */
const CACHES = ['bentocache', 'cacheable', 'cache-manager']
const CLIENTS = ['ioredis', 'ioredis, auto-pipelining', 'node-redis', 'valkey-glide']

const SHARED = 'evenkeel, shareObjects'

/** Time for an operation: at most so many times that of the fastest. */
const time = (work, of, against, most) => ({ work, of, against, figure: 'time', most })
/** Operations a second: at least so many times those of the fastest, on Node 20 and on later lines. */
const rate = (work, least, { later = least, of = 'evenkeel', against = CLIENTS } = {}) => ({
  work,
  of,
  against,
  figure: 'rate',
  least,
  later,
})
/** As it is, in the unit of the figure. */
const absolute = (work, figure, most) => ({ work, of: 'evenkeel', against: [], figure, most })

const GOALS = [
  time('hit-object', SHARED, ['lru-cache'], 1.5),
  time('hit-text', 'evenkeel', ['lru-cache'], 1.5),
  time('hit-object', 'evenkeel', ['lru-cache, copied'], 0.7),
  time('hit-load', 'evenkeel', CACHES, 0.1),
  rate('threads', 1.7, { of: 'two threads', against: ['one thread'] }),
  time('get-1', 'evenkeel', CLIENTS, 1.15),
  time('get-1-ms', 'evenkeel', CLIENTS, 1.02),
  rate('get-10', 1.1),
  rate('get-100', 2.5, { later: 2 }),
  rate('get-100', 0.8, { against: ['redis-benchmark -c 1 -P 100'] }),
  rate('get-1000', 4, { later: 3 }),
  rate('set-100', 2),
  { work: 'get-100', of: 'evenkeel', against: CLIENTS, figure: 'cpu', most: 0.6 },
  absolute('get-1000', 'delay', 5),
  absolute('burst-1000', 'commands', 4),
  { work: 'million', of: 'evenkeel', against: ['lru-cache, objects'], figure: 'pause', most: 0.05 },
  absolute('million', 'bytes', 390),
  absolute('cold', 'start', 15),
  absolute('cold', 'size', 5),
]

/** Those of `names` that ran, by their median: the one that is best at `figure`. */
function best(results, names, figure) {
  const ran = results.filter(
    ({ name, rounds, failure }) => names.includes(name) && !failure && rounds.length > 0,
  )
  const of = ({ rounds }) => middle(rounds, FIGURES[figure])
  const byFigure = ran.toSorted((a, b) => of(a) - of(b))
  return figure === 'rate' ? byFigure.at(-1) : byFigure[0]
}

/**
 * How a goal stands, or `undefined` if what it is about did not run. Neighbours in time are compared with each other.
 * @returns {{ ratio: number, low: number, high: number, bar: string, reached: boolean, reference?: string } | undefined}
 */
function standing({ work, of, against, figure, most, least, later }, all, line) {
  const results = all[work] ?? []
  const own = best(results, [of], figure)
  const other = best(results, against, figure)
  if (own === undefined || (other === undefined && against.length > 0)) return undefined
  const figureOf = FIGURES[figure]
  const ratios = own.rounds.map((round, index) =>
    other === undefined ? figureOf(round) : figureOf(round) / figureOf(other.rounds[index]),
  )
  const ratio = median(ratios)
  const floor = line === 20 ? least : later
  const reached = most === undefined ? ratio >= floor : ratio <= most
  const bar = most === undefined ? `>= ${floor}` : `<= ${most}`
  return { ratio, low: Math.min(...ratios), high: Math.max(...ratios), bar, reached, reference: other?.name }
}

module.exports = { GOALS, standing }
