'use strict'

// Random sequences of all operations, without faults, on every kind of cache: what they are answered is exactly what a model of a few
// lines answers. `MODEL_SEQUENCES` is how many there are, `SEED` repeats them; the words that a complaint ends with repeat one.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { kindsOn } = require('./contract/kinds.js')
const { reportOf } = require('./model/report.js')
const { OPERATIONS, sequencesOf } = require('./model/sequences.js')
const { shrink, smallest } = require('./model/shrink.js')
const { Clock, trial, warmUp } = require('./model/trial.js')
const { UNDECIDED } = require('./model/undecided.js')
const { WRONG_MODELS } = require('./model/wrong-models.js')
const { ownSeed } = require('./support/random.js')
const { startRedis } = require('./support/redis.js')

const SEQUENCES = Number(process.env.MODEL_SEQUENCES ?? 10_000)
/** Sequences of a kind that run at once. */
const BATCH = 200
/** How long a sequence may be made smaller. */
const SHRINK_MS = 60_000
/** What is enough to catch a model that is wrong: a hundred miss one in thirty times. So few need no slow clock. */
const FEW = 500
const FEW_TICK_MS = 150
/** Each operation takes part so often among 10,000 sequences, at least. */
const LEAST_OF_EACH = 200
/** What is asked for again. */
const { MODEL_KIND, MODEL_PATH } = process.env

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

const kinds = kindsOn(() => server)

/** Runs a batch of each part, `{ kind, seed, count, path, model }`; those parts that disagree, with their runs. */
async function tryOut(t, parts, clock) {
  const drawn = parts.map((part) => ({ ...part, sequences: sequencesOf(part.seed, part.count, part.path) }))
  const runs = await trial(t, drawn, clock)
  const tried = parts.map((part, n) => ({ ...part, runs: runs[n] }))
  return { tried, wrong: tried.filter((part) => smallest(part.runs)) }
}

/** What there is to say about a part that disagrees, and the smallest run that does. */
async function complaint(t, { kind, seed, model, runs, path }, clock) {
  const { run, index } = smallest(runs)
  const found = { run, path: path ?? String(index) }
  const shrunk = await shrink(t, { kind, seed, model, clock, path: found.path, ms: SHRINK_MS })
  return { run: shrunk.run, text: reportOf({ kind, seed, found, shrunk }) }
}

/** Batches on all kinds, until one of them disagrees; what ran is counted. */
async function batches(t, seed, clock, counts) {
  for (let done = 0; done < SEQUENCES; done += kinds.length * BATCH) {
    const parts = kinds.map((kind, n) => ({ kind, seed: seed + done + n, count: BATCH, spread: true }))
    const { tried, wrong } = await tryOut(t, parts, clock)
    for (const { record } of tried.flatMap(({ runs }) => runs.flatMap(({ history }) => history)))
      counts[record.op] = (counts[record.op] ?? 0) + 1
    if (wrong.length > 0) return wrong
  }
  return []
}

async function allKinds(t) {
  const [seed, clock, counts] = [ownSeed(), new Clock(), {}]
  t.diagnostic(`seed ${seed}`)
  await warmUp(
    t,
    kinds.map((kind) => ({ kind, sequences: sequencesOf(seed, 50).map((rounds) => rounds.slice(0, 2)) })),
  )
  const wrong = await batches(t, seed, clock, counts)
  t.diagnostic(JSON.stringify({ ...clock, ...counts }))
  for (const kind of kinds) {
    await t.test(kind.name, async (t) => {
      const part = wrong.find((each) => each.kind === kind)
      if (part) assert.fail((await complaint(t, part, clock)).text)
    })
  }
  if (wrong.length > 0) return
  for (const op of Object.keys(OPERATIONS)) {
    const least = (LEAST_OF_EACH * SEQUENCES) / 10_000
    assert.ok(counts[op] >= least, `${op} took part ${counts[op] ?? 0} times only`)
  }
}

async function oneSequence(t) {
  const kind = kinds.find(({ name }) => name === MODEL_KIND)
  assert.ok(kind, `MODEL_KIND is one of ${kinds.map(({ name }) => name).join(', ')}`)
  const clock = new Clock()
  const part = { kind, seed: ownSeed(), count: 1, path: MODEL_PATH }
  const { wrong } = await tryOut(t, [part], clock)
  if (wrong.length > 0) assert.fail((await complaint(t, wrong[0], clock)).text)
}

if (MODEL_PATH === undefined) test('random sequences are answered as the model says', allKinds)
else test(`the sequence ${MODEL_PATH} is answered as the model says`, oneSequence)

describe('a model is caught that', () => {
  const [memory] = kinds
  for (const [mistake, model] of Object.entries(WRONG_MODELS)) {
    test(mistake, async (t) => {
      const clock = new Clock(FEW_TICK_MS)
      const part = { kind: memory, seed: ownSeed(), count: FEW, model }
      const { wrong } = await tryOut(t, [part], clock)
      assert.equal(wrong.length, 1, `seed ${part.seed}`)
      const { run, text } = await complaint(t, wrong[0], clock)
      assert.ok(run?.history.length <= 3, text)
    })
  }
})

describe('sequences go around where it does not hold yet that', () => {
  for (const { what, shows, kinds: concerned } of UNDECIDED)
    for (const kind of kinds.filter(concerned))
      test(`${what} (${kind.name})`, async (t) => {
        const cache = await kind.open(t)
        await assert.rejects(shows(cache), undefined, 'It holds now: take it out of model/undecided.js')
      })
})
