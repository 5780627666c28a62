'use strict'

// `npm test`: every stage of stages.js, one line for each at the end, and last the sum: `N passed, N failed`.
// `npm test -- rust node` runs these two only.

const { FAILED, STAGES } = require('./stages.js')

async function runStage([name, stage]) {
  console.log(`\n== ${name}`)
  const started = Date.now()
  const counts = await stage().catch((error) => {
    console.error(error.message)
    return FAILED
  })
  return { name, counts, seconds: Math.round((Date.now() - started) / 1000) }
}

function sumOf(results) {
  const sum = { passed: 0, failed: 0, skipped: 0 }
  for (const { counts } of results) for (const key of Object.keys(sum)) sum[key] += counts[key]
  return sum
}

function line({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

async function main() {
  const asked = process.argv.slice(2)
  const unknown = asked.filter((name) => !STAGES.some(([known]) => known === name))
  if (unknown.length > 0)
    throw new Error(`No such stage: ${unknown}. There are ${STAGES.map(([name]) => name)}`)
  const results = []
  for (const stage of STAGES) {
    if (asked.length === 0 || asked.includes(stage[0])) results.push(await runStage(stage))
    // Without its dependencies nothing after the set-up can tell anything.
    if (results[0]?.name === 'set-up' && results[0].counts.failed > 0) break
  }
  console.log('')
  for (const { name, counts, seconds } of results)
    console.log(`${name.padEnd(12)} ${line(counts)} (${seconds} s)`)
  const sum = sumOf(results)
  console.log(line(sum))
  process.exitCode = sum.failed > 0 ? 1 : 0
}

main().catch((error) => {
  console.error(error.message)
  console.log('0 passed, 1 failed')
  process.exitCode = 1
})
