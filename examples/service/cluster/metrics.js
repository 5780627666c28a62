'use strict'

// `/metrics` of the cluster: Prometheus, which reaches a random worker at each scrape, gets the series
// of all of them from any, told apart by the label `worker`.

const { metricsOf } = require('evenkeel')

/** More than the primary waits for a worker that hangs. */
const PAGES_MS = 2_000

/** Of our own, so that a scrape which lacks a worker can be told from one that is whole. */
const UP = `# HELP example_worker_up Whether the worker has answered this scrape
# TYPE example_worker_up gauge
example_worker_up`

/** The line of a sample with one more label. */
function labelled(line, label) {
  const end = line.search(/[{ ]/)
  const [name, rest] = [line.slice(0, end), line.slice(end)]
  return rest[0] === '{' ? `${name}{${label},${rest.slice(1)}` : `${name}{${label}}${rest}`
}

/**
 * One page of several in Prometheus' text format: each family once, with the series of all workers.
 * @param {[worker: number, page: string | null][]} pages null: it did not answer, and has no series
 */
function mergePages(pages) {
  /** @type {Map<string, { help?: string, type?: string, samples: string[] }>} */
  const families = new Map()
  const familyOf = (name) => {
    if (!families.has(name)) families.set(name, { help: undefined, type: undefined, samples: [] })
    return families.get(name)
  }
  for (const [worker, page] of pages) {
    const label = `worker="${worker}"`
    let family
    for (const line of `${UP} ${page === null ? 0 : 1}\n${page ?? ''}`.split('\n')) {
      const head = /^# (?<kind>HELP|TYPE) (?<name>\S+)/.exec(line)?.groups
      if (head) family = familyOf(head.name)
      if (head) family[head.kind.toLowerCase()] ??= line
      else if (line !== '' && line[0] !== '#') family.samples.push(labelled(line, label))
    }
  }
  const lines = [...families.values()].flatMap(({ help, type, samples }) => [help, type].concat(samples))
  return `${lines.filter(Boolean).join('\n')}\n`
}

/**
 * The handler; `ask` asks the primary. A scrape fails (503) only when the primary does not answer.
 * @param {ReturnType<typeof import('./ipc.js').talk>} ask
 * @returns {(req: import('node:http').IncomingMessage, res: import('node:http').ServerResponse) => void}
 */
function metricsOfAll(ask) {
  async function answer(res) {
    try {
      const body = mergePages(await ask('pages', [], PAGES_MS))
      res.writeHead(200, { 'content-type': metricsOf.contentType, 'cache-control': 'no-store' }).end(body)
    } catch (error) {
      res.writeHead(503, { 'content-type': 'text/plain' }).end(`${error.message}\n`)
    }
  }
  return (req, res) => {
    if (req.method === 'GET' || req.method === 'HEAD')
      answer(res) // Node sends no body after HEAD
    else res.writeHead(405, { allow: 'GET, HEAD' }).end()
  }
}

module.exports = { mergePages, metricsOfAll }
