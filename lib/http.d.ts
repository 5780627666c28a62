import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CacheView } from '../index.js'

/** Works with node:http and whatever is built on it. */
export type Handler = (req: IncomingMessage, res: ServerResponse) => void

/**
 * `health()` as JSON: 200 when healthy or degraded, 503 when closed. With `?strict` 503 when degraded as well, which is
 * not for Kubernetes probes: a restart does not bring Redis back.
 */
export function healthHandler(cache: CacheView<any>): Handler

/** The metrics of all these caches as Prometheus text. */
export function metricsHandler(...caches: CacheView<any>[]): Handler
