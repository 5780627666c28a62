'use strict'

// What happened in a run, as its threads saw it: each appends to a file of its own, which survives a kill -9 of its process.
// What is to be read by others before it takes effect (that a write is sent) is in the file before it is sent.

const fs = require('node:fs')
const path = require('node:path')

/** What is written together, in characters. */
const BATCH = 16_384

/**
 * @typedef {{ is: 'sent', key: string, version: number, change: 'set' | 'delete', by: string, strict: boolean, at: number, healthy: boolean }} Sent
 * @typedef {{ is: 'done', keys: string[], version: number, at: number, ok: boolean, healthy: boolean }} Done `ok`: it resolved
 * @typedef {{ is: 'read', reader: number, key: string, version: number, by: string, from: number, to: number, epoch: number | null }} Read
 * @typedef {{ is: 'epoch', number: number, at: number, hears: boolean, healthy: boolean, token: string }} Epoch
 * @typedef {{ is: 'wrong', at: number, text: string }} Wrong
 */

/** One thread's file. */
class Log {
  #file
  #waiting = ''

  constructor(folder, { process, incarnation, thread }) {
    this.#file = fs.openSync(path.join(folder, `${process}.${incarnation}.${thread}.jsonl`), 'a')
  }

  /** Appends soon. */
  note(record) {
    this.#waiting += `${JSON.stringify(record)}\n`
    if (this.#waiting.length > BATCH) this.flush()
  }

  /** Appends at once, with all that waits. */
  noteNow(record) {
    this.note(record)
    this.flush()
  }

  flush() {
    if (this.#waiting !== '') fs.writeSync(this.#file, this.#waiting)
    this.#waiting = ''
  }
}

function* recordsOf(file) {
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
    // The last line of a process that was killed may be half of one.
    if (line.endsWith('}')) yield JSON.parse(line)
  }
}

/** A change of a key, by all that is known of it: `end` is when it was known to have ended, Infinity if never. */
function changeOf(record, who) {
  const { key, version, change, by, strict, at, healthy } = record
  return { key, version, change, by, strict, at, end: Infinity, ok: false, healthy, who }
}

class History {
  /** By key, in the order of their versions. */
  changes = new Map()
  reads = []
  wrong = []

  #sent = new Map()

  /** Takes in what one thread wrote. */
  take(records, who) {
    const epochs = new Map()
    let lastHeard
    for (const record of records) {
      if (record.is === 'sent') this.#take(changeOf(record, who))
      else if (record.is === 'done') this.#end(record)
      else if (record.is === 'epoch') {
        // When it heard last: until the first epoch in which it does not.
        if (epochs.get(record.number - 1)?.hears) lastHeard = record.at
        epochs.set(record.number, { ...record, lastHeard: record.hears ? Infinity : lastHeard })
      } else if (record.is === 'read')
        this.reads.push({ ...record, who, epoch: record.epoch === null ? null : epochs.get(record.epoch) })
      else this.wrong.push({ ...record, who })
    }
    for (const list of this.changes.values()) list.sort((a, b) => a.version - b.version)
  }

  #take(change) {
    const list = this.changes.get(change.key) ?? []
    this.changes.set(change.key, list)
    list.push(change)
    this.#sent.set(`${change.key} ${change.version}`, change)
  }

  #end({ keys, version, at, ok, healthy }) {
    for (const key of keys) {
      const change = this.#sent.get(`${key} ${version}`)
      Object.assign(change, { end: at, ok, healthy: healthy && change.healthy })
    }
  }

  /** Reads all files of a run. */
  static read(folder) {
    const history = new History()
    for (const name of fs.readdirSync(folder).toSorted()) {
      const [process, incarnation, thread] = name.split('.').map(Number)
      history.take(recordsOf(path.join(folder, name)), { process, incarnation, thread })
    }
    return history
  }
}

module.exports = { History, Log }
