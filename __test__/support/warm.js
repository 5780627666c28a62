'use strict'

// What is brought by warm(), and what it tells.

const keysOf = (count, name = 'key') => Array.from({ length: count }, (_, index) => `${name}-${index}`)

/** A report in which everything went well, but for what `other` says. */
function report(done, other = {}) {
  const total = done + (other.skipped ?? 0) + (other.failed ?? 0)
  return { done, total, failed: 0, skipped: 0, next: total, failedKeys: [], ...other }
}

module.exports = { keysOf, report }
