'use strict'

// OpenTelemetry on the channel `evenkeel:operation` (README, "Health and metrics"): a duration for each
// operation of every cache of this thread, and a span for each that memory did not answer, a child of
// the caller's. In a service: `const stop = instrument(require('@opentelemetry/api'))`.
//
// `node examples/otel.js` shows the spans of a few operations, with the package if it is installed and
// with a stand-in that prints if not. With REDIS_URL there is a Redis behind the memory.

const diagnostics = require('node:diagnostics_channel')
const { Cache } = require('evenkeel')

/**
 * @param {any} api `@opentelemetry/api`
 * @param {{ keys?: boolean }} [options] `keys`: spans tell the keys, which may be somebody's data
 * @returns {() => void} ends it
 */
function instrument(api, { keys = false } = {}) {
  const tracer = api.trace.getTracer('evenkeel')
  const unit = { unit: 's', description: 'From the call to its result' }
  const durations = api.metrics.getMeter('evenkeel').createHistogram('cache.operation.duration', unit)

  function listener({ cache, operation, key, tier, outcome, duration, error }) {
    const attributes = {
      'cache.name': cache,
      'cache.operation': operation,
      'cache.tier': tier,
      'cache.outcome': outcome,
    }
    durations.record(duration / 1_000, attributes)
    if (tier === 'l1' && outcome === 'hit') return // microseconds, and by far the most
    const end = performance.timeOrigin + performance.now()
    const span = tracer.startSpan(`cache ${operation}`, {
      startTime: end - duration,
      attributes: keys && key !== undefined ? { ...attributes, 'cache.key': key } : attributes,
    })
    if (outcome === 'error') {
      span.recordException(error)
      span.setStatus({ code: api.SpanStatusCode.ERROR, message: String(error?.message ?? error) })
    }
    span.end(end)
  }

  diagnostics.subscribe('evenkeel:operation', listener)
  return () => diagnostics.unsubscribe('evenkeel:operation', listener)
}

const print = (name, { startTime, attributes }) => ({
  recordException() {},
  setStatus() {},
  end: (time) => console.log(name, `${(time - startTime).toFixed(1)} ms`, Object.values(attributes).join()),
})

/** As much of the package as is used here. */
const standIn = {
  SpanStatusCode: { ERROR: 2 },
  metrics: { getMeter: () => ({ createHistogram: () => ({ record() {} }) }) },
  trace: { getTracer: () => ({ startSpan: print }) },
}

function installed() {
  try {
    return require('@opentelemetry/api')
  } catch {
    return standIn
  }
}

async function main() {
  const stop = instrument(installed(), { keys: true })
  const cache = new Cache({ name: 'shop', namespace: 'otel', redis: process.env.REDIS_URL || false })
  const slow = () => new Promise((resolve) => setTimeout(resolve, 80, { name: 'Kettle' }))
  await cache.delete('product:1')
  await cache.getOrSet('product:1', slow)
  await cache.getOrSet('product:1', slow) // a hit in memory: no span
  await cache.getOrSet('product:2', () => Promise.reject(new Error('the origin is away'))).catch(() => {})
  stop()
  await cache.close()
}

if (require.main === module) main()
module.exports = { instrument }
