'use strict'

// Whether a process grew while it ran: what it occupied at regular times, and what of that is too much.

/** The first part of a run is warm-up: pools and tables reach their size. */
const WARM_UP = 1 / 3
/** Growth per minute and in all that RSS may show: allocators keep what bursts needed. */
const RSS = { perMinute: 0.5 * 2 ** 20, inAll: 16 * 2 ** 20 }
/** Sockets and threads come and go with links; what counts is where they end. */
const MORE_AT_THE_END = 2

/** The slope of `values` over `times` by least squares. */
function slope(times, values) {
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length
  const [atMean, valueMean] = [mean(times), mean(values)]
  const [above, below] = times.reduce(
    ([above, below], at, index) => [
      above + (at - atMean) * (values[index] - valueMean),
      below + (at - atMean) ** 2,
    ],
    [0, 0],
  )
  return below === 0 ? 0 : above / below
}

/** What is wrong with the samples `{ at, rss, descriptors, threads }` of one process, in words; and its figures. */
function judge(samples) {
  const rest = samples.slice(Math.floor(samples.length * WARM_UP))
  const times = rest.map(({ at }) => at / 60_000)
  const minutes = times.at(-1) - times[0]
  const perMinute = slope(
    times,
    rest.map(({ rss }) => rss),
  )
  const complaints = []
  if (perMinute > RSS.perMinute && perMinute * minutes > RSS.inAll)
    complaints.push(`RSS grows by ${(perMinute / 2 ** 20).toFixed(2)} MiB a minute`)
  const thirds = [rest.slice(0, Math.ceil(rest.length / 3)), rest.slice(-Math.ceil(rest.length / 3))]
  for (const name of ['descriptors', 'threads']) {
    const [early, late] = thirds.map((part) => Math.min(...part.map((sample) => sample[name])))
    if (late > early + MORE_AT_THE_END) complaints.push(`${name} grew from ${early} to ${late}`)
  }
  return { complaints, perMinute, last: samples.at(-1) }
}

module.exports = { judge }
