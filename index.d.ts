/** The public contract of evenkeel. Durations are milliseconds, sizes are bytes; defaults are the native side's. */
import { EventEmitter } from 'node:events'

type Ms = number
type Key<S> = Extract<keyof S, string>
/** Any key, for a cache without a schema; nothing for one with. */
type Open<S> = string extends keyof S ? string : never
/** T where it has no say in what T is: NoInfer, which does not know the lists of arguments. */
type Fixed<T> = [T][T extends unknown ? 0 : never]

export type CacheErrorCode =
  | 'ERR_CACHE_OPTIONS'
  | 'ERR_CACHE_KEY'
  | 'ERR_CACHE_VALUE'
  | 'ERR_CACHE_VALUE_TOO_LARGE'
  | 'ERR_CACHE_L2_UNAVAILABLE'
  | 'ERR_CACHE_TIMEOUT'
  | 'ERR_CACHE_REDIS_REPLY'
  | 'ERR_CACHE_FACTORY_TIMEOUT'
  | 'ERR_CACHE_LOCKED'
  | 'ERR_CACHE_CLOSED'
  | 'ERR_CACHE_ABORTED'
  | 'ERR_CACHE_PLATFORM'
  | 'ERR_CACHE_INTERNAL'

export class CacheError extends Error {
  constructor(
    code: CacheErrorCode,
    message: string,
    details?: { cause?: unknown; retryable?: boolean; key?: string },
  )
  readonly code: CacheErrorCode
  /** The same call may succeed later. */
  readonly retryable: boolean
  /** The key it was about, if it was about one. */
  readonly key?: string
}

/* ---------------------------------------------------------------- options */

export interface CacheOptions {
  /** A `redis://` or `rediss://` URL, the options of ioredis, or `false` (as when absent): memory only. */
  redis?: string | RedisOptions | false | undefined
  /** Caches of one process with the same name and options share L1 and link, across worker threads too. */
  name?: string | undefined
  /** Prefix of every key in Redis, joined with `:`. */
  namespace?: string | undefined
  /** Start with Redis switched off. `USE_MEMORY_MODE=true` in the environment wins. */
  memoryMode?: boolean | undefined
  /** Default of every call's `strict`. */
  strict?: boolean | undefined
  l1?: L1Options | false | undefined
  l2?: L2Options | undefined
  /** Defaults of getOrSet. */
  loader?: LoaderOptions | undefined
  /** TTLs are shortened by a random share up to this. Default 0.1. */
  jitter?: number | undefined
  /** How other processes' writes reach this L1. Default 'auto': tracking where there is a namespace and the server can, else pubsub unless there is a quota. */
  invalidation?: 'auto' | 'tracking' | 'pubsub' | 'off' | undefined
  /** The ping of an idle link; `interval: 0` switches it off. */
  health?: { interval?: Ms; timeout?: Ms } | undefined
  breaker?: BreakerOptions | undefined
  quota?: QuotaOptions | undefined
  logger?: Logger | undefined
  codec?: Codec | undefined
  /** Let log lines name keys. */
  logKeys?: boolean | undefined
}

export interface L1Options {
  ttl?: Ms
  maxBytes?: number
  maxEntries?: number
  /** A hit on an object returns one deep-frozen object shared by all callers. */
  shareObjects?: boolean
  /** Life in L1 of what other programs wrote. */
  plainTtl?: Ms
}

export interface L2Options {
  ttl?: Ms | null
  /** `plain` writes exactly what JSON.stringify does, for keys that other programs read. */
  format?: 'envelope' | 'plain'
  maxValueBytes?: number
  /** Compress (LZ4) what is larger than `above` bytes; `true`: than 1,024. */
  compress?: boolean | { above?: number }
  /** The deadline of an operation. */
  timeout?: Ms
  /** How long getOrSet waits for Redis when it can make the value. */
  softTimeout?: Ms | 'auto' | false
}

export interface LoaderOptions extends Entry, Loading {}

export interface BreakerOptions {
  window?: Ms
  minCalls?: number
  failureRate?: number
  slowRate?: number
  openFor?: Ms
  maxOpenFor?: Ms
  probes?: number
}

export interface QuotaOptions {
  commands: number
  window: 'day' | 'month'
  connections?: number | 'server'
  warnAt?: readonly number[]
}

/** Options of ioredis, by its names. `null` counts as absent. */
export interface RedisOptions {
  /** The other options override its parts. */
  url?: string | undefined
  host?: string | null | undefined
  port?: number | string | null | undefined
  /** Of a unix socket. */
  path?: string | null | undefined
  username?: string | null | undefined
  password?: string | null | undefined
  db?: number | string | null | undefined
  tls?: TlsOptions | boolean | null | undefined
  connectTimeout?: Ms | undefined
  /** Another name of `l2.timeout`. */
  commandTimeout?: Ms | undefined
  /** Tries of a read inside its deadline; `null`: as many as fit. */
  maxRetriesPerRequest?: number | null | undefined
  retryStrategy?: ((times: number) => unknown) | null | undefined
  credentials?: (() => Credentials | Promise<Credentials>) | undefined
  keepAlive?: Ms | undefined
  lazyConnect?: boolean | undefined
  enableReadyCheck?: boolean | undefined
  connectionName?: string | null | undefined
  /** Used as it is, instead of `namespace`. */
  keyPrefix?: string | undefined
  family?: 0 | 4 | 6 | undefined
  /** Connections to the server at most. Default 1. */
  maxConnections?: number | undefined
  /** Who knows where the master called `name` is; `host` and `port` are not used then. The port's default is 26379. */
  sentinels?: readonly ServerAddress[] | null | undefined
  /** What the sentinels call the master. */
  name?: string | null | undefined
  role?: 'master' | undefined
  sentinelUsername?: string | null | undefined
  sentinelPassword?: string | null | undefined
  /** TLS with the sentinels; `tls` is for the master. */
  sentinelTLS?: TlsOptions | boolean | null | undefined
  /** Some nodes of a cluster; the others are found. */
  nodes?: readonly ServerAddress[] | undefined
  /** Options beside the servers, as for ioredis' Cluster; those of the same name beside it win. */
  redisOptions?: Omit<RedisOptions, 'nodes' | 'sentinels' | 'redisOptions'> | null | undefined
  /* Options of ioredis whose purpose is served anyway: accepted without effect. */
  autoPipeliningIgnoredCommands?: unknown
  autoResendUnfulfilledCommands?: unknown
  autoResubscribe?: unknown
  disconnectTimeout?: unknown
  dnsLookup?: unknown
  enableAutoPipelining?: unknown
  enableOfflineQueue?: unknown
  enableTLSForSentinelMode?: unknown
  failoverDetector?: unknown
  maxLoadingRetryTime?: unknown
  monitor?: unknown
  noDelay?: unknown
  preferredSlaves?: unknown
  reconnectOnError?: unknown
  scaleReads?: unknown
  sentinelCommandTimeout?: unknown
  sentinelMaxConnections?: unknown
  sentinelReconnectStrategy?: unknown
  sentinelRetryStrategy?: unknown
  showFriendlyErrorStack?: unknown
  slotsRefreshInterval?: unknown
  slotsRefreshTimeout?: unknown
  socketTimeout?: unknown
  updateSentinels?: unknown
}

export interface ServerAddress {
  host?: string | undefined
  port?: number | string | undefined
}

/** `ca`, `cert` and `key` are PEM text or the paths of files with it (`/…`, `./…`), which are read at every connect. */
export interface TlsOptions {
  ca?: string | Buffer | readonly (string | Buffer)[] | undefined
  cert?: string | Buffer | undefined
  key?: string | Buffer | undefined
  servername?: string | undefined
  rejectUnauthorized?: boolean | undefined
  /** At most `TLSv1.2`; 1.2 and 1.3 are spoken. */
  minVersion?: string | undefined
}

export interface Credentials {
  username?: string
  password: string
}

/** console, winston, pino (recognised by `bindings`) or Nest’s, which has `log` for `info`. */
export type Logger = ({ info(...args: any[]): unknown } | { log(...args: any[]): unknown }) & {
  error?(...args: any[]): unknown
  warn?(...args: any[]): unknown
  debug?(...args: any[]): unknown
  bindings?(...args: any[]): unknown
}

export interface Codec {
  encode(value: unknown): Uint8Array
  decode(bytes: Buffer): unknown
}

/* ------------------------------------------------------------------ calls */

export interface Call {
  /** Aborting it rejects the call with ERR_CACHE_ABORTED. */
  signal?: AbortSignal
  /** Reject with ERR_CACHE_L2_UNAVAILABLE where Redis is needed and cannot be had. A hit in L1 needs none. */
  strict?: boolean
}

export interface Entry {
  /** `null`: never expires in Redis. */
  ttl?: Ms | null
  l1Ttl?: Ms
  /** How long past its TTL it is kept for fail-safe. */
  staleFor?: Ms
  /** `invalidateTags` with one of them, and the entry is gone everywhere. At most 255 bytes each. */
  tags?: readonly string[]
  jitter?: number
}

export interface FactoryContext {
  readonly key: string
  /** Aborts when the last caller has left. */
  readonly signal: AbortSignal
  readonly stale: { readonly value: unknown; readonly age: Ms } | undefined
  /** Return the value without storing it. */
  skip(): void
  setTtl(ttl: Ms | null): void
  /** Instead of the call's. */
  setTags(...tags: string[]): void
}

/** What getOrSet may be told beside the entry's options, in a call or, as `loader`, for the whole cache. */
export interface Loading {
  /** Reject with ERR_CACHE_L2_UNAVAILABLE rather than load without Redis. */
  strict?: boolean
  /** How long to wait for the factory when there is a stale value, before that is served. Default: not at all. */
  factorySoftTimeout?: Ms
  /** How long to wait for the factory at all. Default 30 s. */
  factoryTimeout?: Ms | false
  /** How long to wait for Redis before the factory is called; default `l2.softTimeout`. */
  l2SoftTimeout?: Ms | 'auto' | false
  /** The share of its TTL, above 0 and below 1, from which on an entry is renewed behind those who get it. */
  eagerRefresh?: number
  /** For how long a factory that failed is not called again while there is a stale value. Default 30 s. */
  retryAfter?: Ms
  /** The TTL of `null`. */
  nullTtl?: Ms
  /** For how long the error of a factory is the answer to everybody in this process. Default: not at all. */
  errorTtl?: Ms
  /** Let one process at a time make the value. */
  lock?: boolean
  /** Ignore what is cached. */
  fresh?: boolean
}

export interface LoadOptions extends Entry, Call, Loading {
  strict?: boolean
}

/** Options of every call of a wrapped function; functions among them are called with its `this`. */
export interface WrapOptions<A extends readonly unknown[], R> extends Omit<LoadOptions, 'ttl' | 'tags'> {
  /**
   * A prefix, below which the arguments make the key: their JSON, with the names of objects in order, joined by `:`, such
   * as `user:7:{"full":true}`; the prefix alone if there are none. Or a function that makes the whole key.
   *
   * Below one prefix, other arguments have other keys. Nothing but the prefix tells functions apart: two wraps with one
   * prefix share their entries, and so does a wrap with `user:7` with the call `(7)` of one with `user`. `-0` is 0, a
   * property that is `undefined` is absent, and arguments at the end that are `undefined` were not given.
   *
   * What JSON would not tell apart rejects with ERR_CACHE_KEY, naming the place: functions, symbols, bigint, NaN,
   * Date, Map, Buffer, instances of classes, an AbortSignal … For these, and for `this`, write a function.
   */
  key: string | ((...args: A) => string)
  /**
   * `null`: never expires in Redis. A function decides once the value is there. If it throws or gives no TTL, the value
   * is returned and not stored, and the warning `wrap-option-failed` says why.
   */
  ttl?: Ms | null | ((value: R, ...args: A) => Ms | null)
  /** A function decides once the value is there; what it cannot is as with `ttl`. */
  tags?: readonly string[] | ((value: R, ...args: A) => readonly string[])
}

/**
 * A function with a cache before it. Arguments must not be changed before the call settles: the function may be called
 * later, for the key that they made at first.
 */
export interface Wrapped<A extends readonly unknown[], R> {
  (...args: A): Promise<R>
  /** Calls the function whatever is cached, and stores what it gives. For a method: `fresh.call(object, …)`. */
  fresh(...args: A): Promise<R>
  /** Removes the entry of these arguments; whether either tier had it. */
  delete(...args: A): Promise<boolean>
  /** The key of these arguments. Throws ERR_CACHE_KEY if they have none. */
  keyOf(...args: A): string
}

export interface SetOptions extends Entry, Call {
  /** `false`: resolve once L1 holds it. */
  wait?: boolean
}

/** For `setMany`; what the entry says wins over the call's options. */
export type KeyedEntry<K = string, V = unknown> = { key: K; value: V } & Entry

export interface WarmOptions extends Entry {
  signal?: AbortSignal
  /** Entries that are made or stored at the same time, in batches. Default 4. */
  concurrency?: number
  /** Entries in a batch: one command to Redis, one call of `load`. Default 100. */
  batch?: number
  /** How many items of the source to leave out: the `next` of a report. */
  start?: number
  /** Called after each batch. */
  onProgress?: (report: WarmReport) => void
}

export interface WarmReport {
  /** Brought and kept. */
  readonly done: number
  /** Items of the source so far. */
  readonly total: number
  /** The loader failed (once a run, the warning `warm-failed` says why), or gave nothing. */
  readonly failed: number
  /** There already, or, without Redis, without room in L1. */
  readonly skipped: number
  /** Where to go on: every item before it is settled. */
  readonly next: number
  readonly failedKeys: readonly string[]
}

/** What a factory for many keys gives: in the order of the keys, or by key. What is missing or `undefined` is not stored. */
export type Loaded<K extends string, V> =
  readonly (V | undefined)[] | ReadonlyMap<string, V> | { readonly [key in K]?: V }

export interface LockOptions {
  /** The lease: how long the lock outlives a process that was killed. It is renewed at half its life. Default 10 s. */
  ttl?: Ms
  /** How long to wait for one that somebody else holds. Default 5 s. */
  wait?: Ms
  signal?: AbortSignal
}

/** A lock that is held: see docs/loading.md for what it promises and what it cannot. */
export interface Lock extends AsyncDisposable {
  readonly key: string
  /** Grows from owner to owner: let who is written to refuse a smaller one. From the server's clock, in microseconds. */
  readonly fence: bigint
  /** Aborts when the lock is lost. */
  readonly signal: AbortSignal
  /** Gives it another life from now on; `false` if it is lost. */
  extend(ms: Ms): Promise<boolean>
  /** Whether it was still held. */
  release(): Promise<boolean>
}

export interface CommandOptions {
  signal?: AbortSignal
  timeout?: Ms
  /** Replies as Buffers. */
  buffers?: boolean
}
export interface WaitOptions {
  signal?: AbortSignal
  timeout?: Ms
}
export type CommandPart = string | number | bigint | Uint8Array

/* ------------------------------------------------------ events and figures */

export type Mode = 'tiered' | 'reads-only' | 'partial' | 'memory'
export type LinkState = 'idle' | 'connecting' | 'recovering' | 'up' | 'suspect' | 'down' | 'closed'
export type AdviceCode =
  | 'hit-rate-low-at-full-l1'
  | 'l1-ttl-short'
  | 'one-command-dominates'
  | 'value-near-limit'
  | 'quota-nearly-used'
  | 'connections-nearly-used'
  | 'pattern-scans-much'
  | 'namespace-empty'
  | 'no-logger'
  | 'ttl-looks-like-seconds'

export interface CacheEvents {
  ready: object
  mode: { from: Mode; to: Mode; reason: string; error?: CacheError }
  reconnecting: { attempt: number; delayMs: Ms }
  warning: { code: string; message: string }
  quota: { used: number; limit: number; ratio: number }
  invalidated: { kind: string; source: string }
  closed: object
  /** Never emitted; listening for it is allowed. */
  error: never
}

/**
 * What the channel `evenkeel:operation` of node:diagnostics_channel is told of each operation of this thread, once, when its
 * caller has the result. What is refused before it begins (wrong arguments, a signal that aborted before, a closed cache) is
 * not told, nor is what goes on behind.
 */
export interface OperationMessage {
  /** The name of the cache. */
  readonly cache: string
  /** The method: `get`, `getOrSet`, `set`, … */
  readonly operation: string
  /** As the caller gave it; absent for what is about several keys or none. */
  readonly key?: string
  /** What answered: memory, Redis, or a factory. */
  readonly tier: 'l1' | 'l2' | 'origin'
  /** `ok` for what neither hits nor misses. */
  readonly outcome: 'hit' | 'miss' | 'stale' | 'loaded' | 'ok' | 'error'
  /** From the call to its result, in milliseconds. */
  readonly duration: Ms
  readonly error?: unknown
}

export interface Health {
  status: 'healthy' | 'degraded' | 'closed'
  cache: {
    mode: Mode
    l1: {
      hits: number
      misses: number
      sets: number
      deletes: number
      size: number
      hitRate: number
      bytes: number
      maxBytes: number
      evictions: number
    }
    l2: L2Health
    pending_invalidations: number
    quota: QuotaHealth | null
    advice: { code: AdviceCode | (string & {}); message: string }[]
  }
}

/** Figures that are not known are `null`; `total_*` are the server's own, sampled at the tick. */
export interface L2Health {
  total_commands: number | null
  total_connections: number | null
  total_keys: number | null
  state: LinkState
  latency_ms: number | null
  last_ping: string | null
  last_error: { code: string; message: string; at: string } | null
  commands: number
  reconnects: number
  in_flight: number
  breaker: 'closed' | 'open' | 'half-open'
  admission: number
  invalidation: {
    mode: 'tracking' | 'pubsub' | 'off'
    reason: string | null
    losses: number
    lag_ms: number | null
  }
  /** Each master of a cluster; absent elsewhere. */
  shards?: {
    endpoint: string
    state: LinkState
    mode: Mode
    breaker: 'closed' | 'open' | 'half-open'
    latency_ms: number | null
    pending_invalidations: number
  }[]
}

export interface QuotaHealth {
  used: number
  limit: number
  ratio: number
  window: 'day' | 'month'
  resets_at: string
  source: 'server' | 'process'
  forecast_at: string | null
}

export interface VerboseHealth extends Health {
  events: unknown[]
  info: Record<string, string> | null
}

/** Prometheus text 0.0.4, or OpenMetrics. */
export interface Metrics {
  (opts?: { openMetrics?: boolean }): string
  readonly contentType: string
}

/* -------------------------------------------------------------- the caches */

/** What a cache and its views have in common. */
export interface CacheView<S extends object = Record<string, unknown>> {
  get<K extends Key<S>>(key: K, opts: Call & { as: 'string' }): Promise<string | undefined>
  get<K extends Key<S>>(key: K, opts: Call & { as: 'buffer' }): Promise<Buffer | undefined>
  get<K extends Key<S>>(key: K, opts?: Call & { as?: undefined }): Promise<S[K] | undefined>
  get<T = unknown>(key: Open<S>, opts?: Call & { as?: undefined }): Promise<T | undefined>
  getMany<const K extends readonly Key<S>[]>(
    keys: K,
    opts?: Call,
  ): Promise<{ -readonly [I in keyof K]: S[K[I] & keyof S] | undefined }>
  getMany<T = unknown>(keys: readonly Open<S>[], opts?: Call): Promise<(T | undefined)[]>
  has(key: Key<S>, opts?: Call): Promise<boolean>
  /** Milliseconds of life left, `null` for no expiry, `undefined` for no such key. */
  ttl(key: Key<S>, opts?: Call): Promise<Ms | null | undefined>
  /** The value in L1, without I/O. */
  peek<K extends Key<S>>(key: K): S[K] | undefined
  peek<T = unknown>(key: Open<S>): T | undefined
  /** By SCAN: a key may come twice, as in Redis. */
  keys(glob: string, opts?: Call & { limit?: number }): AsyncIterableIterator<string>

  set<K extends Key<S>>(
    key: K,
    value: S[K],
    opts: SetOptions & { onlyIf: 'absent' | 'present' },
  ): Promise<boolean>
  set<K extends Key<S>>(key: K, value: S[K], opts?: SetOptions & { onlyIf?: undefined }): Promise<void>
  setMany(
    entries:
      | { readonly [K in keyof S]?: S[K] }
      | Iterable<readonly [Key<S>, S[Key<S>]] | KeyedEntry<Key<S>, S[Key<S>]>>,
    opts?: SetOptions,
  ): Promise<void>
  /** Whether either tier had it. */
  delete(key: Key<S>, opts?: Call): Promise<boolean>
  del(key: Key<S>, opts?: Call): Promise<boolean>
  deleteMany(keys: readonly Key<S>[], opts?: Call): Promise<number>
  /** Every entry that carries one of the tags is gone, everywhere. */
  invalidateTags(...tags: readonly string[]): Promise<void>
  invalidateTags(...tags: readonly [...string[], Call]): Promise<void>
  /** Calls `loadMissing` once, with exactly the keys that nobody has and nobody else is making. Values in the order of `keys`. */
  getOrSetMany<K extends Key<S>, V extends S[K]>(
    keys: readonly K[],
    loadMissing: (
      keys: K[],
      context: { readonly signal: AbortSignal },
    ) => Loaded<K, V> | Promise<Loaded<K, V>>,
    opts?: LoadOptions,
  ): Promise<(V | undefined)[]>
  /** Brings entries, or the values of keys by `load`, as far as they are not cached already. Rejects only for its arguments, `signal` and `close`. */
  warm(
    source:
      | { readonly [K in keyof S]?: S[K] }
      | Iterable<readonly [Key<S>, S[Key<S>]] | KeyedEntry<Key<S>, S[Key<S>]>>
      | AsyncIterable<readonly [Key<S>, S[Key<S>]] | KeyedEntry<Key<S>, S[Key<S>]>>,
    opts?: WarmOptions & { load?: undefined },
  ): Promise<WarmReport>
  warm<K extends Key<S>>(
    source: Iterable<K> | AsyncIterable<K>,
    opts: WarmOptions & {
      load: (
        keys: K[],
        context: { readonly signal: AbortSignal },
      ) => Loaded<K, S[K]> | Promise<Loaded<K, S[K]>>
    },
  ): Promise<WarmReport>
  /** Rejects with ERR_CACHE_LOCKED if somebody else holds it all along. Without Redis configured it holds in this process. */
  lock(key: Key<S>, opts?: LockOptions): Promise<Lock>
  /** Calls `fn` with the lock and releases it after that. */
  withLock<T>(key: Key<S>, opts: LockOptions | undefined, fn: (lock: Lock) => T | Promise<T>): Promise<T>
  /** Redis glob syntax on the key after the namespace; the number of keys removed. */
  deletePattern(
    glob: string,
    opts?: Call & { onProgress?: (progress: { removed: number }) => void; wholeDatabase?: boolean },
  ): Promise<number>
  /** Everything in the namespace; without one it takes `wholeDatabase: true`. */
  clear(opts?: Call & { wholeDatabase?: boolean }): Promise<void>
  touch(key: Key<S>, ttl: Ms | null, opts?: Call): Promise<boolean>
  markStale(key: Key<S>, opts?: Call): Promise<boolean>
  /** No TTL unless given, and then only when the key is created. Beyond 2^53 it rejects; the counter in Redis has counted on. */
  increment(key: Key<S>, by?: number, opts?: Call & { ttl?: Ms | null }): Promise<number>
  decrement(key: Key<S>, by?: number, opts?: Call & { ttl?: Ms | null }): Promise<number>

  getOrSet<T>(
    key: Open<S>,
    factory: (context: FactoryContext) => T | Promise<T>,
    opts?: LoadOptions,
  ): Promise<T>
  getOrSet<K extends Key<S>, T extends S[K]>(
    key: K,
    factory: (context: FactoryContext) => T | Promise<T>,
    opts?: LoadOptions,
  ): Promise<T>
  /**
   * The function with a cache before it: each list of arguments has an entry, made as by getOrSet. The function keeps its
   * `this`, its name and its length; errors are passed on unchanged. Throws ERR_CACHE_OPTIONS for wrong options.
   */
  wrap<A extends readonly unknown[], R>(
    fn: (...args: A) => R | PromiseLike<R>,
    opts: WrapOptions<Fixed<A>, Fixed<R>>,
  ): Wrapped<A, R>

  /** A raw command, its keys as they are in Redis. */
  command<T = unknown>(name: string, args?: readonly CommandPart[], opts?: CommandOptions): Promise<T>
  /** One pipeline. */
  commands(
    commands: readonly (readonly [name: string, ...args: CommandPart[]])[],
    opts?: CommandOptions,
  ): Promise<([null, unknown] | [CacheError, undefined])[]>
  /** The round trip in milliseconds. */
  ping(opts?: Call): Promise<Ms>
  /** Once Redis is usable; at once in memory mode. Rejects only by its timeout. */
  ready(opts?: WaitOptions): Promise<void>
  /** Once no late write or replay is pending. */
  settled(opts?: WaitOptions): Promise<void>

  /** A view that shares link, L1, statistics and events; its keys are `<prefix>:<key>`. */
  namespaced<P extends string>(
    prefix: P,
  ): CacheView<
    string extends keyof S ? S : { [K in keyof S as K extends `${P}:${infer R}` ? R : never]: S[K] }
  >
  readonly state: LinkState
  health(opts: { verbose: true }): VerboseHealth
  health(opts?: { verbose?: boolean }): Health
  /** The same figures, cumulative and flat. */
  stats(): Record<string, number | string | null>
  metrics: Metrics

  on<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
  once<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
  off<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
}

export interface Cache<S extends object = Record<string, unknown>> extends CacheView<S> {}
export class Cache<S extends object = Record<string, unknown>> extends EventEmitter {
  constructor(options?: CacheOptions)
  on<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
  once<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
  off<E extends keyof CacheEvents>(event: E, listener: (event: CacheEvents[E]) => void): this
  /** Force memory mode, or leave it. */
  setMemoryMode(on: boolean): void
  /** Drains for at most a second. Afterwards reads find nothing, factories run uncached, writes reject. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** The metrics of several caches, each family once. */
export function metricsOf(...caches: CacheView<any>[]): string
export namespace metricsOf {
  const contentType: string
}

/** The text with everything escaped that a glob gives a meaning. */
export function escapeGlob(text: string): string
