'use strict'

// What must be true of every register once nothing goes wrong any more, and every cache has settled. A run is as in rules.js.

/**
 * What may be found under a key: nothing older than `floor`, which is of the last change that must have come about; and `must` is the
 * version that has to be found, if one has.
 *
 * A change that resolved counts: with `strict` Redis has it. Without, it is in Redis or in the journal of its process, which has been
 * replayed; unless the process was killed before. One that rejected may have come about or not. What was sent before older data came
 * back says nothing.
 *
 * The last change of a register has to be found if it is a value, strict, and was sent after the last loss of data.
 */
function expectationOf(changes, shard, timeline) {
  const since = timeline.lostUntil(shard, Infinity, { older: true })
  const counts = ({ ok, strict, at, who }) => ok && at > since && (strict || timeline.lives(who))
  const floor = Math.max(0, ...changes.filter(counts).map(({ version }) => version))
  const last = changes.at(-1)
  const isThere = last.change === 'set' && last.strict && last.ok
  const lost = timeline.lostUntil(shard, Infinity, { older: false })
  const isDeleted = changes.find(({ version }) => version === floor)?.change === 'delete'
  return { floor, isDeleted, must: isThere && last.at > lost ? last.version : undefined }
}

/** Which versions under `key` are not what they must be; `found` are `{ where, version }`, 0 for none. */
function problemsOf(key, changes, expectation, found) {
  const { floor, isDeleted, must } = expectation
  const problems = []
  for (const { where, version } of found) {
    const made = changes.find((change) => change.version === version)
    if (version !== 0 && made?.change !== 'set')
      problems.push(`${where} has ${version} of ${key}, a value that nobody wrote`)
    else if (version !== 0 && version < floor)
      problems.push(`${where} has ${version} of ${key}, ${isDeleted ? 'deleted' : 'replaced'} by ${floor}`)
    else if (must !== undefined && version !== must)
      problems.push(`${where} has ${version || 'nothing'} of ${key}, not ${must}, which was acknowledged`)
  }
  return problems
}

/** Whether Redis may lack what the L1 of `process` holds. */
function mayLack(changes, process, version, { way, timeline }) {
  // With pubsub nobody tells of a flush: until `l1.ttl` L1 holds what Redis has lost.
  if (way === 'pubsub' && timeline.losses.some(({ older }) => !older)) return true
  // What a process set while Redis was away stays in it and is never sent.
  const made = changes.find((change) => change.version === version)
  return made?.who.process === process && !(made.strict && made.ok)
}

/** Where an L1 and Redis disagree; `found` are `{ where, process, version }`. */
function disagreements(key, changes, inRedis, found, run) {
  return found
    .filter(({ version }) => version !== inRedis)
    .filter(({ process, version }) => inRedis !== 0 || !mayLack(changes, process, version, run))
    .map(
      ({ where, version }) => `${where} has ${version || 'nothing'} of ${key}, Redis ${inRedis || 'nothing'}`,
    )
}

module.exports = { disagreements, expectationOf, problemsOf }
