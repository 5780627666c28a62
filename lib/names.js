'use strict'
/** Finding the name that somebody meant. Pure; knows nothing of options. */

/**
 * The number of insertions, deletions, substitutions and swaps of neighbours between two words, without regard to case
 * (optimal string alignment).
 * @param {string} a
 * @param {string} b
 */
function distance(a, b) {
  const [left, right] = [a.toLowerCase(), b.toLowerCase()]
  /** @type {number[]} */
  let beforeLast = []
  let last = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const row = [i]
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1
      let best = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + same)
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      if (swapped) best = Math.min(best, at(beforeLast, j - 2) + 1)
      row.push(best)
    }
    ;[beforeLast, last] = [last, row]
  }
  return at(last, right.length)
}

/**
 * @param {number[]} row
 * @param {number} index
 */
function at(row, index) {
  return row[index] ?? 0
}

/**
 * The known name closest to a word, or `undefined` if none is close enough to be what was meant.
 * @param {string} word
 * @param {readonly string[]} known
 */
function nearestName(word, known) {
  /** @type {string | undefined} */
  let nearest
  let least = Math.max(2, Math.floor(word.length / 2)) + 1
  for (const name of known) {
    const steps = distance(word, name)
    if (steps < least) [nearest, least] = [name, steps]
  }
  return nearest
}

exports.nearestName = nearestName
