'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { openCache, ownNamespace } = require('./support/cache.js')
const { makeCertificates } = require('./support/certs.js')
const { startSentinels } = require('./support/sentinels.js')

test('the master is found with TLS and passwords of its own and of the sentinels', async (t) => {
  const tls = makeCertificates()
  const all = await startSentinels(t, { tls, masterPassword: 'for-the-master', password: 'for-sentinels' })
  const secure = { ca: tls.authority.cert, servername: 'localhost' }
  const redis = {
    ...all.redis,
    tls: secure,
    password: 'for-the-master',
    sentinelTLS: secure,
    sentinelPassword: 'for-sentinels',
  }
  const cache = openCache(t, { redis, namespace: ownNamespace() })
  await cache.ready()
  await cache.set('k', 1, { strict: true })
  assert.equal(await all.master.command('DBSIZE'), 1)
})
