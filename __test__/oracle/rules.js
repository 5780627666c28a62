'use strict'

// What must be true of every read of a run, by docs/coherence.md and docs/failure-modes.md. Each rule answers what breaks it, in
// words, or undefined. A run is `{ history, timeline, start, way, shardOf, l1Ttl }`.

const { ownerOf } = require('./registers.js')

/** What is promised of a healthy stream on loopback, and what a busy machine adds. */
const HEARS_MS = 50
const SLACK_MS = 450
/** With tracking, how long L1 may serve what it held when the link was lost. */
const DEAF_MS = 60_000
/** What is added to a long bound: until a link is known to be lost, and for timers. */
const NOTICE_MS = 5_000

const nameOf = ({ process, incarnation, thread }) => `process ${process}.${incarnation} thread ${thread}`
const isSame = (one, other) => one.process === other.process && one.incarnation === other.incarnation

class Rules {
  #run
  /** The newest version by reader, key and epoch. */
  #newest = new Map()
  /** Reads that the strictest bound was held against, and for how long those that were old had been. */
  judged = 0
  ages = []
  /** For how long the oldest had been replaced that was read at all. */
  oldest = 0

  constructor(run) {
    this.#run = run
  }

  /** What is wrong with a read; empty if nothing is. Reads of one reader are to be asked about in their order. */
  judge(read) {
    const rules = [this.#exists, this.#backwards, this.#own, this.#stale, this.#deaf, this.#old]
    return rules.map((rule) => rule.call(this, read)).filter(Boolean)
  }

  #told(read, text) {
    const { start, timeline } = this.#run
    const at = ((read.from - start) / 1_000).toFixed(3)
    const [from, to] = [read.from - 3_000, read.to]
    return `${at} s: ${nameOf(read.who)} reader ${read.reader}, ${read.by} of ${read.key} gave ${read.version}${
      read.epoch ? `, in epoch ${read.epoch.number} (${read.epoch.token})` : ''
    }: ${text}; lately: ${timeline.between(from, to, start) || 'nothing'}`
  }

  #changes(key) {
    return this.#run.history.changes.get(key) ?? []
  }

  /** Nothing is read that was not written before. */
  #exists(read) {
    const written = this.#changes(read.key).find(({ version }) => version === read.version)
    if (written?.change !== 'set' || written.at > read.to) return this.#told(read, 'nobody has written that')
    return undefined
  }

  /**
   * (a) A reader never gets an older version than one that it was given before, as long as the link is the same and has missed
   * nothing. Redis may hold older data after a failover: then the link was lost, which begins another epoch.
   */
  #backwards(read) {
    if (read.epoch === null) return undefined
    const { process, incarnation, thread } = read.who
    const place = `${process}.${incarnation}.${thread}.${read.reader} ${read.key} ${read.epoch.number}`
    const before = this.#newest.get(place) ?? 0
    this.#newest.set(place, Math.max(before, read.version))
    return read.version < before
      ? this.#told(read, `backwards, it was given ${before} before over the same link`)
      : undefined
  }

  /**
   * In the process that writes it nothing is read that is older than a change which had resolved: Redis has it, or it is
   * journaled and what Redis has is not read. But where a failover brought older data back, without the process being able to know.
   */
  #own(read) {
    const owner = ownerOf(read.key)
    if (owner.process !== read.who.process) return undefined
    const since = this.#run.timeline.lostUntil(this.#run.shardOf(read.key), read.to, { older: true })
    const newer = this.#changes(read.key).find(
      ({ version, ok, end, at, who }) =>
        version > read.version && ok && end < read.from && at > since && isSame(who, read.who),
    )
    return newer && this.#told(read, `its own process had changed it, ${wordsOf(newer, read)}`)
  }

  /** The change that made a version old before any other, and before it was read: one that Redis acknowledged, and has not lost since. */
  #superseded(read, isMeant = () => true) {
    const since = this.#run.timeline.lostUntil(this.#run.shardOf(read.key), read.to, { older: true })
    let first
    for (const change of this.#changes(read.key)) {
      const isNewer = change.version > read.version && change.end < read.from
      const counts = isNewer && change.strict && change.ok && change.at > since
      if (counts && isMeant(change) && change.end < (first?.end ?? Infinity)) first = change
    }
    return first
  }

  /**
   * (b) While the reader is healthy and hears of changes, nothing is served that is older than 50 ms; with `pubsub` the writer has to be
   * healthy too, since it is the writer that tells. What L1 holds from before it heard is not served any more either. Nothing is
   * said of times at which the server, the network or the process stood still.
   */
  #stale(read) {
    if (!read.epoch?.healthy) return undefined
    const { timeline, way } = this.#run
    const calm = timeline.calmSince(read.who.process, read.to)
    const isHeard = ({ healthy }) => way !== 'pubsub' || healthy
    const newer = this.#superseded(read, isHeard)
    this.judged += 1
    if (newer === undefined) return undefined
    const age = read.from - Math.max(newer.end, read.epoch.at, calm)
    if (age > 0) this.ages.push(age)
    return age > HEARS_MS + SLACK_MS
      ? this.#told(read, `stale by ${age.toFixed(0)} ms though it hears, ${wordsOf(newer, read)}`)
      : undefined
  }

  /**
   * (b) With tracking, once the link is lost, L1 serves what it held for 60 s at most. Only from then on: what it held through an
   * earlier loss, and was not asked for since, is as old as its life in L1 allows.
   */
  #deaf(read) {
    if (this.#run.way !== 'tracking' || !(read.epoch?.lastHeard < read.from)) return undefined
    const newer = this.#superseded(read)
    const deaf = read.from - read.epoch.lastHeard
    return newer !== undefined && deaf > DEAF_MS + NOTICE_MS
      ? this.#told(read, `served ${deaf.toFixed(0)} ms after it heard last, ${wordsOf(newer, read)}`)
      : undefined
  }

  /** (b) Whatever happened, nothing is served from L1 for longer than its time there, and what pushes kept current than a minute. */
  #old(read) {
    const newer = this.#superseded(read)
    if (newer === undefined) return undefined
    const age = read.from - newer.end
    this.oldest = Math.max(this.oldest, age)
    const ttl = this.#run.l1Ttl[read.who.process]
    const bound = this.#run.way === 'tracking' ? Math.min(ttl, DEAF_MS) : ttl
    return age > bound + NOTICE_MS
      ? this.#told(read, `older by ${age.toFixed(0)} ms than anything may be, ${wordsOf(newer, read)}`)
      : undefined
  }
}

function wordsOf(change, read) {
  return `a ${change.strict ? 'strict ' : ''}${change.change} made ${change.version}, ${(
    read.from - change.end
  ).toFixed(0)} ms before the read`
}

module.exports = { Rules, nameOf }
