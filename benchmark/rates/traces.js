'use strict'

// What is asked of a cache, request by request. A trace is `{ title, keys, sizes, requests }`: the key and the bytes of each
// object, and the number of the object that each request is for. The generated ones are the same in every run.

const fs = require('node:fs')
const { generator } = require('../../__test__/support/random.js')
const { ensureTraces } = require('../../scripts/traces.js')
const { SEED, zipf } = require('../zipf.js')

const OBJECTS = 50_000
/** Bytes of a generated value. */
const SIZE = { least: 100, most: 1_000 }
/** Of the trace of a disk the blocks are objects, of one size as they are there. */
const BLOCK = 512

/** The trace of requests `{ key, size }`; an object has the size that its first one tells. */
function traceOf(title, asked) {
  const known = new Map()
  const sizes = []
  const requests = asked.map(({ key, size }) => {
    if (!known.has(key)) {
      known.set(key, known.size)
      sizes.push(size)
    }
    return known.get(key)
  })
  return { title, keys: [...known.keys()], sizes, requests }
}

/** A trace of the objects that `next` gives for the number of each request. */
function generated(title, count, next) {
  const random = generator(SEED + 1)
  const size = () => SIZE.least + Math.floor(random() * (SIZE.most - SIZE.least))
  return traceOf(
    title,
    Array.from({ length: count }, (_, index) => ({ key: `object:${next(index)}`, size: size() })),
  )
}

const zipfian = (skew) => (count) => generated(`Zipf ${skew}`, count, zipf(OBJECTS, skew, generator(SEED)))

/** After each 20,000 requests, 5,000 objects that are read once and never again. */
function scan(count) {
  const [each, length] = [20_000, 5_000]
  const draw = zipf(OBJECTS, 0.9, generator(SEED))
  return generated('Zipf 0.9 and scans', count, (index) => {
    const [turn, at] = [Math.floor(index / (each + length)), index % (each + length)]
    return at < each ? draw() : OBJECTS + turn * length + at - each
  })
}

/** One object after the other, over and over. */
const loop = (count) => generated('loop', count, (index) => index % (OBJECTS / 2))

/** The 2,000 hottest are others after each 20,000 requests. */
function shifting(count) {
  const draw = zipf(OBJECTS, 0.9, generator(SEED))
  const moved = (index) => Math.floor(index / 20_000) * 2_000
  return generated('Zipf 0.9, hot set moves', count, (index) => (draw() + moved(index)) % OBJECTS)
}

/** The first lines of a trace in a file, of which `parse` tells key and bytes. */
function recorded(title, file, count, parse) {
  const lines = fs
    .readFileSync(file, 'latin1')
    .split('\n', count + 1)
    .slice(1)
  return traceOf(
    title,
    lines.filter(Boolean).map((line) => parse(line.split(','))),
  )
}

const twitter = (count, files) =>
  recorded('Twitter, cluster 52', files['twitter_cluster52.csv'], count, ([, key, size]) => ({
    key: key.trim(),
    size: Number(size),
  }))

const cloudPhysics = (count, files) =>
  recorded('CloudPhysics, a disk', files['cloudPhysicsIO.csv'], count, (words) => ({
    key: words[4],
    size: BLOCK,
  }))

const RECORDED = { twitter, 'cloud-physics': cloudPhysics }
const GENERATED = { 'zipf-0.7': zipfian(0.7), 'zipf-0.99': zipfian(0.99), scan, loop, shifting }

/** The traces named `ids`, of at most `count` requests. */
async function tracesOf(ids, count) {
  const makers = { ...GENERATED, ...RECORDED }
  const files = ids.some((id) => id in RECORDED) ? await ensureTraces() : undefined
  return ids.map((id) => ({ id, ...makers[id](count, files) }))
}

module.exports = { TRACES: Object.keys({ ...RECORDED, ...GENERATED }), tracesOf }
