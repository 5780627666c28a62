'use strict'

// Prometheus' text format 0.0.4, read as strictly as its description is: a page that this takes is valid.
// https://prometheus.io/docs/instrumenting/exposition_formats/

const assert = require('node:assert/strict')

const HEAD = /^# (?<what>HELP|TYPE) (?<name>[a-zA-Z_:][\w:]*) (?<text>.+)$/
const SAMPLE = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>[^ ]+)$/
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/gy
const VALUE = /^(?:NaN|[+-]Inf|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped']

/** @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample */

function parseLabels(text, line) {
  const found = [...text.matchAll(LABEL)]
  assert.equal(found.map(([part]) => part).join(''), text, line)
  const labels = Object.fromEntries(found.map(([, name, value]) => [name, value]))
  assert.equal(Object.keys(labels).length, found.length, `a label twice: ${line}`)
  return labels
}

function parseSample(line) {
  const { name, labels = '', value } = SAMPLE.exec(line)?.groups ?? assert.fail(`no sample: ${line}`)
  assert.match(value, VALUE, line)
  return { name, labels: parseLabels(labels, line), value: number(value) }
}

/** The labels in one order, as text, without those that `but` names. */
function keyOf({ name, labels }, ...but) {
  const pairs = Object.entries(labels).filter(([label]) => !but.includes(label))
  return `${name}${JSON.stringify(pairs.toSorted())}`
}

const number = (text) => Number(text.replace('Inf', 'Infinity'))

/** The buckets of each series grow with `le` and end with all, which is its count. */
function checkHistogram(samples, family) {
  const of = (suffix) => samples.filter(({ name }) => name === family + suffix)
  const series = (sample) => keyOf({ ...sample, name: family }, 'le')
  const counts = new Map(of('_count').map((count) => [series(count), count.value]))
  let last = { key: '', le: Infinity, value: 0 }
  for (const bucket of of('_bucket')) {
    const next = { key: series(bucket), le: number(bucket.labels.le), value: bucket.value }
    const isFirst = last.le === Infinity
    assert.ok(isFirst || (next.key === last.key && next.le > last.le && next.value >= last.value), next.key)
    if (next.le === Infinity) assert.equal(next.value, counts.get(next.key), next.key)
    last = next
  }
  assert.deepEqual([last.le, of('_bucket').length > 0], [Infinity, counts.size > 0], family)
  assert.equal(of('_bucket').filter(({ labels }) => labels.le === '+Inf').length, counts.size, family)
}

/**
 * The samples of a page, which fails unless every family is there once, in one piece, with HELP and TYPE before it, and
 * every series once.
 * @returns {Sample[]}
 */
function parseExposition(text) {
  assert.ok(text.endsWith('\n'))
  const families = new Map()
  let family
  for (const line of text.slice(0, -1).split('\n')) {
    const head = HEAD.exec(line)?.groups
    if (head?.what === 'HELP') {
      assert.ok(!families.has(head.name), `twice: ${line}`)
      families.set(head.name, (family = { name: head.name, samples: [] }))
    } else if (head) {
      assert.ok(family?.name === head.name && !family.type && family.samples.length === 0, line)
      assert.ok(TYPES.includes(head.text), line)
      family.type = head.text
    } else {
      const sample = parseSample(line)
      const suffix = family?.type === 'histogram' ? /^_(bucket|sum|count)$/ : /^$/
      assert.ok(sample.name.startsWith(family?.name), `not of ${family?.name}: ${line}`)
      assert.match(sample.name.slice(family.name.length), suffix, line)
      family.samples.push(sample)
    }
  }
  for (const { name, type, samples } of families.values()) {
    assert.ok(type, `no TYPE: ${name}`)
    if (type === 'histogram') checkHistogram(samples, name)
  }
  const samples = [...families.values()].flatMap((one) => one.samples)
  const keys = samples.map((sample) => keyOf(sample))
  assert.equal(new Set(keys).size, keys.length, 'a series twice')
  return samples
}

/** The sum of the samples called `name` whose labels hold those of `labels`. */
function sumOf(samples, name, labels = {}) {
  const fits = (sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
  const found = samples.filter((sample) => sample.name === name && fits(sample))
  assert.ok(found.length > 0, `no ${name} with ${JSON.stringify(labels)}`)
  return found.reduce((sum, { value }) => sum + value, 0)
}

module.exports = { keyOf, parseExposition, sumOf }
