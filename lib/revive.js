'use strict'
/** Reading the rich notation that rich.js writes and describes. */

/** @type {Record<string, (content: any) => unknown>} */
const READERS = {
  $date: (content) => new Date(content ?? Number.NaN),
  $map: (content) =>
    new Map(content.map((/** @type {[unknown, unknown]} */ [key, value]) => [revive(key), revive(value)])),
  $set: (content) => new Set(content.map(revive)),
  $bigint: (content) => BigInt(content),
  $number: (content) => Number(content),
  $bytes: (content) => Buffer.from(content, 'base64'),
}

/**
 * The value of a parsed tree; arrays and objects of the tree are changed in place and become part of it.
 * @param {unknown} node
 * @returns {unknown}
 */
function revive(node) {
  if (typeof node !== 'object' || node === null) return node
  if (Array.isArray(node)) {
    for (let index = 0; index < node.length; index++) node[index] = revive(node[index])
    return node
  }
  const tree = /** @type {Record<string, unknown>} */ (node)
  const names = Object.keys(tree)
  const only = names.length === 1 ? names[0] : undefined
  return only?.startsWith('$') ? reviveTag(only, tree[only]) : reviveProperties(tree, names)
}

/**
 * @param {Record<string, unknown>} tree
 * @param {string[]} names
 */
function reviveProperties(tree, names) {
  for (const name of names) {
    const value = tree[name]
    if (typeof value !== 'object' || value === null) continue
    // By assignment, a key `__proto__` would change the prototype.
    if (name === '__proto__')
      Object.defineProperty(tree, name, {
        value: revive(value),
        configurable: true,
        enumerable: true,
        writable: true,
      })
    else tree[name] = revive(value)
  }
  return tree
}

/**
 * @param {string} name
 * @param {unknown} content
 */
function reviveTag(name, content) {
  if (name.startsWith('$$')) return { [name.slice(1)]: revive(content) }
  const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined
  if (read === undefined) throw new SyntaxError(`unknown notation ${name}`)
  return read(content)
}

/**
 * @param {string} text in the rich notation
 * @returns {unknown} throws a SyntaxError for a text that is not
 */
function decodeRich(text) {
  return revive(JSON.parse(text))
}

exports.decodeRich = decodeRich
