'use strict'

const assert = require('node:assert/strict')
const { performance } = require('node:perf_hooks')
const { describe, test } = require('node:test')
const { openCache, ownNamespace } = require('./support/cache.js')
const { startSentinels, switched } = require('./support/sentinels.js')
const { eventOf, steadily, until } = require('./support/wait.js')

function open(t, { redis }, options = {}) {
  return openCache(t, { redis: { ...redis, ...options }, namespace: ownNamespace() })
}

/** Resolves once one strict write was acknowledged; how long after `from` that was. */
async function usable(cache, from) {
  await until(() => cache.set('usable', 1, { strict: true }).then(() => true), { timeout: 20_000 })
  return performance.now() - from
}

describe('the master that sentinels name', () => {
  test('is found, used and named in health()', async (t) => {
    const all = await startSentinels(t)
    const cache = open(t, all)
    await cache.ready()
    await cache.set('k', 1, { strict: true })
    assert.equal(await all.master.command('DBSIZE'), 1)
    assert.equal(cache.health().cache.l2.state, 'up')
  })

  test('is not there under another name, and that is said', async (t) => {
    const all = await startSentinels(t)
    const cache = open(t, all, { name: 'other' })
    const said = () => cache.health().cache.l2.last_error
    await until(() => said()?.code === 'ENOMASTER')
    assert.match(said().message, /no master called other \(check redis\.name\)/)
  })

  test('stays what it was when all sentinels are gone', async (t) => {
    const all = await startSentinels(t)
    const cache = open(t, all)
    await cache.ready()
    for (const sentinel of all.sentinels) await sentinel.kill()
    const lost = eventOf(cache, 'mode', { matches: ({ to }) => to === 'memory' })
    await all.master.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await lost
    await usable(cache, performance.now())
    assert.equal(await all.master.command('EXISTS', ...(await all.master.command('KEYS', '*:usable'))), 1)
  })
})

describe('another master', () => {
  for (const [how, stop] of [
    ['killed', (master) => master.kill()],
    ['frozen', (master) => master.freeze()],
  ]) {
    test(`is in use within 2 s of the switch when the old one was ${how}`, async (t) => {
      const all = await startSentinels(t)
      const cache = open(t, all)
      await cache.ready()
      const work = steadily(100, () => cache.set('steady', Math.round(performance.now())))
      await all.master.command('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
      await all.master.command('CONFIG', 'SET', 'slowlog-max-len', '100000')
      await stop(all.master)
      await until(() => switched(all.sentinels, all.master), { timeout: 30_000 })
      const announced = performance.now()
      const ms = await usable(cache, announced)
      t.diagnostic(`in use ${Math.round(ms)} ms after the switch`)
      assert.ok(ms < 2_000, `${ms} ms`)
      if (how === 'frozen') {
        all.master.thaw()
        await until(async () => (await all.master.info('role')) === 'slave', { timeout: 20_000 })
        const written = (await all.master.command('SLOWLOG', 'GET', '-1'))
          .filter(([, , , [name], , client]) => name === 'SET' && client.startsWith('evenkeel:'))
          .map(([, , , words]) => Number(words[2]))
        assert.ok(written.length > 0, 'the old master was written to before')
        assert.ok(Math.max(...written) <= announced, 'a stray was written to after the switch was announced')
      }
      const settled = await work.stop()
      assert.ok(
        settled.every(({ error }) => error === undefined),
        'no write failed',
      )
      assert.ok(Math.max(...settled.map(({ ms }) => ms)) < 2_000, 'no write hung')
      const port = Number(await all.replica.command('CONFIG', 'GET', 'port').then(([, text]) => text))
      assert.equal(port, all.replica.port)
      assert.equal(await all.replica.info('role'), 'master')
    })
  }

  test('is followed when the sentinels are asked to switch', async (t) => {
    const all = await startSentinels(t)
    const cache = open(t, all)
    await cache.ready()
    await all.sentinels[0].command('SENTINEL', 'FAILOVER', 'mymaster')
    await until(() => switched(all.sentinels, all.master), { timeout: 30_000 })
    // What the old one acknowledges until it hears of the switch is lost with it.
    const arrives = async () => {
      await cache.set('k', 1)
      return (await all.replica.command('KEYS', '*:k')).length === 1
    }
    await until(arrives, { timeout: 2_000 })
  })
})
