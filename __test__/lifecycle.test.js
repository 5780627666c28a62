'use strict'

// Beginning and ending: what the constructor does, what keeps a process alive, how close ends it.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')
const { openCache, openOn } = require('./support/cache.js')
const { root, runProgram, runScript, temporaryFolder } = require('./support/child.js')
const { startRedis } = require('./support/redis.js')
const { eventOf, timed, until } = require('./support/wait.js')

let server
before(async () => {
  server = await startRedis()
})
after(() => server.stop())

/** Runs `body` in a process of its own, with `cache` on the server; answers what it printed. */
async function ended(body, options = {}, flags = []) {
  const script = `
    const { Cache } = require('evenkeel')
    const options = { redis: ${JSON.stringify(server.url)}, namespace: 'life', ...${JSON.stringify(options)} }
    async function main() {
      const cache = new Cache(options)
      ${body}
    }
    main()`
  const { code, signal, stdout, stderr } = await runScript(script, { timeout: 20_000, flags })
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  return stdout.trim()
}

describe('a process', () => {
  test('ends by itself though its cache was never closed', async () => {
    assert.equal(
      await ended(`await cache.ready(); await cache.set('a', 1); console.log(await cache.get('a'))`),
      '1',
    )
  })

  test('ends by itself when its cache was made and not used', () => ended(''))

  test('is kept alive by a call that is pending', async () => {
    assert.equal(
      await ended(`cache.get('none').then((value) => console.log('answered', value))`, { l1: false }),
      'answered undefined',
    )
  })

  test('ends with process.exit in the middle of everything', async () => {
    await ended(
      `for (let n = 0; n < 1000; n++) cache.set('key-' + n, n).catch(() => {}); setImmediate(() => process.exit(0))`,
    )
  })

  test('ends after close with writes that were not awaited in Redis', async () => {
    await ended(
      `await cache.ready(); for (let n = 0; n < 100; n++) cache.set('drained-' + n, n, { wait: false }); await cache.close()`,
    )
    assert.equal((await server.command('KEYS', 'life:drained-*')).length, 100)
  })

  test('disposes of a cache with await using', async () => {
    const body = `
      const dispose = Symbol.asyncDispose && cache[Symbol.asyncDispose]
      if (dispose) await dispose.call(cache)
      else await cache.close()
      console.log(cache.state)`
    assert.equal(await ended(body), 'closed')
  })

  test('of which a worker thread loads the addon first, and the main thread after it has ended', async () => {
    const body = `
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      async function main() {
        const worker = new Worker(
          "const { Cache } = require('evenkeel'); const cache = new Cache({ redis: process.env.URL });" +
            "cache.set('from', 'worker').then(() => require('node:worker_threads').parentPort.postMessage('set'))",
          { eval: true },
        )
        await once(worker, 'message')
        await worker.terminate()
        const { Cache } = require('evenkeel')
        const cache = new Cache({ redis: process.env.URL })
        console.log(await cache.get('from'))
      }
      main()`
    const { code, stdout, stderr } = await runScript(body, { env: { URL: server.url } })
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'worker\n', stderr: '' })
  })

  test('that node:cluster forks four times has a link for each, and all of them end by themselves', async () => {
    const body = `
      const cluster = require('node:cluster')
      const { once } = require('node:events')
      async function primary() {
        const workers = Array.from({ length: 4 }, () => cluster.fork())
        const heard = workers.map((worker) => once(worker, 'message'))
        const ends = workers.map((worker) => once(worker, 'exit'))
        const values = (await Promise.all(heard)).map(([value]) => value)
        for (const worker of workers) worker.disconnect()
        const codes = (await Promise.all(ends)).map(([code, signal]) => signal ?? code)
        console.log(JSON.stringify({ values, codes }))
      }
      async function worker() {
        const { Cache } = require('evenkeel')
        const redis = { url: process.env.URL, connectionName: 'clustered' }
        const cache = new Cache({ redis, namespace: 'clustered' })
        await cache.set('key-' + cluster.worker.id, cluster.worker.id)
        process.send(await cache.get('key-' + cluster.worker.id))
      }
      if (cluster.isPrimary) primary()
      else worker()`
    const file = path.join(temporaryFolder(), 'cluster.js')
    fs.writeFileSync(file, body.replace("'evenkeel'", JSON.stringify(root)))
    const { code, stdout, stderr } = await runProgram(process.execPath, [file], { env: { URL: server.url } })
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
    const { values, codes } = JSON.parse(stdout)
    assert.deepEqual([values.toSorted(), codes], [[1, 2, 3, 4], [0, 0, 0, 0]]) // prettier-ignore
  })

  test('whose retryStrategy and logger throw goes on and ends', async () => {
    const body = `
      const bad = () => { throw new Error('thrown by the user') }
      const other = new Cache({ redis: { port: 1, retryStrategy: bad }, logger: { info: bad, warn: bad, error: bad, debug: bad } })
      await other.set('a', 1)
      await other.ready({ timeout: 1_000 }).catch((error) => console.log(error.code))
      console.log(await other.get('a'))`
    assert.equal(await ended(body, {}, ['--no-warnings']), 'ERR_CACHE_TIMEOUT\n1')
  })
})

describe('close', () => {
  test('is idempotent, says so, and leaves no connection', async (t) => {
    const cache = await openOn(t, server, { redis: { url: server.url, connectionName: 'closing' } })
    await until(async () => (await server.clients()).includes('closing'))
    const closed = eventOf(cache, 'closed')
    await Promise.all([cache.close(), cache.close()])
    await closed
    await until(async () => !(await server.clients()).includes('closing'))
  })

  test('with a frozen Redis takes about a second at most', async (t) => {
    const own = await startRedis()
    t.after(() => own.stop())
    const cache = await openOn(t, own, { l2: { timeout: 5_000 } })
    own.freeze()
    const pending = cache.get('key')
    const { ms } = await timed(() => cache.close())
    assert.ok(ms < 1_500, `${ms} ms`)
    assert.equal(await pending, undefined)
  })

  test('of a cache that never reached Redis is quick', async (t) => {
    const cache = openCache(t, { redis: 'redis://127.0.0.1:1' })
    const { ms } = await timed(() => cache.close())
    assert.ok(ms < 500, `${ms} ms`)
  })

  test('lets a warning say once that a closed cache is used', async (t) => {
    const cache = openCache(t, {})
    const warnings = []
    cache.on('warning', (warning) => warnings.push(warning))
    await cache.close()
    await cache.get('a')
    await cache.get('b')
    assert.equal(warnings.length, 1)
  })
})

describe('the constructor', () => {
  test('is quick whatever the network does', async (t) => {
    const { ms } = await timed(async () => openCache(t, { redis: 'redis://no-such-host.invalid' }))
    assert.ok(ms < 200, `${ms} ms`)
  })

  test('emits ready once Redis is usable', async (t) => {
    const cache = openCache(t, { redis: server.url })
    await eventOf(cache, 'ready')
    assert.equal(cache.state, 'up')
  })

  test('names unnamed caches', async (t) => {
    const caches = [openCache(t), openCache(t)]
    const names = caches.map((cache) => /cache="([^"]*)"/.exec(cache.metrics())[1])
    assert.match(names[0], /^default(-\d+)?$/)
    assert.notEqual(names[0], names[1])
  })
})

test('a listener that throws is reported as a warning of the process', async () => {
  const body = `
    process.on('warning', (warning) => console.log(warning.message, warning.detail))
    cache.on('ready', () => { throw new Error('thrown by a listener') })
    await cache.ready()
    console.log(await cache.has('none'))`
  const script = `
    const { Cache } = require('evenkeel')
    async function main() {
      const cache = new Cache({ redis: ${JSON.stringify(server.url)}, namespace: 'life' })
      ${body}
    }
    main()`
  const { code, stdout } = await runScript(script, { flags: ['--no-warnings'] })
  assert.equal(code, 0)
  assert.match(stdout, /thrown by a listener/)
  assert.match(stdout, /false/)
})
