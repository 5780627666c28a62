'use strict'

// How a contender's process and its parent talk: it says that it is ready, measures one round for each message, and checks
// once more before it closes. Why it failed travels by message too; nothing else of a failed contender is worth printing.

/** Says `type`, and ends when that has left. */
function leave(type, message, code) {
  process.send({ type, message }, () => process.exit(code))
}

function fail(error) {
  leave('failed', `${error.code ?? error.name}: ${error.message.split('\n')[0]}`, 1)
}

/** That what is to be measured is not here, which is nobody's fault. */
class Absent extends Error {}

/**
 * Serves the parent with what `prepare` gives: `round`, whose figures are those that figures.js reads, and `close`.
 * @param {() => Promise<{ round: () => object | Promise<object>, close: () => unknown }>} prepare
 */
function serve(prepare) {
  process.on('unhandledRejection', fail)
  // Whatever became of the parent, nobody is left behind.
  process.once('disconnect', () => process.exit())
  async function main() {
    const { round, close } = await prepare()
    process.on('message', async ({ type }) => {
      if (type === 'round') return process.send({ type, ...(await round()) })
      await close()
      leave('closed', undefined, 0)
    })
    process.send({ type: 'ready' })
  }
  main().catch((error) => {
    if (error instanceof Absent) leave('absent', error.message, 0)
    else fail(error)
  })
}

module.exports = { Absent, serve }
