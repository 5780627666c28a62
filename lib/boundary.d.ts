/**
 * The native side as JavaScript sees it: what binding.js exports. Kinds are those of kinds.js. An operation answers
 * `[kind, value]` at once or `undefined`, and then its ticket is settled through `Completions`; it never throws.
 */
export type Answer = [kind: number, value: unknown]
export type Payload = string | Buffer

export interface EntryOptions {
  ttl?: number | null
  l1Ttl?: number
  staleFor?: number
  jitter?: number
  tags?: readonly string[]
}
export interface SetOptions extends EntryOptions {
  wait?: boolean
  onlyIf?: 'absent' | 'present'
  strict?: boolean
}
export interface LoadedOptions extends EntryOptions {
  /** Keep it in L1 only if there is room. */
  gentle?: boolean
  /** Hand the value to the waiting callers and store nothing. */
  skip?: boolean
}
export interface NativeLoadOptions {
  strict?: boolean
  factorySoftTimeout?: number
  factoryTimeout?: number | false
  l2SoftTimeout?: number | 'auto' | false
  retryAfter?: number
  errorTtl?: number
  tags?: readonly string[]
  lock?: boolean
  /** Take nothing from the tiers: the caller does not want it, or could not decode what they hold. */
  fresh?: boolean
  /** From so many thousandths of its life on an entry is renewed behind those who get it. */
  eager?: number
  /** The caller has a value, and only wants it renewed. */
  behind?: boolean
  /** Nothing in L1 is to make room for it. */
  gentle?: boolean
}

/** The completion queue of one environment. */
export interface Completions {
  /**
   * The values of what has ended, `most` at most. `words` says whether there is more (1) and then the ticket and the kind of
   * each; ticket 0 is a notice (kind 0 event, 1 log, 2 ask; value JSON).
   */
  take(most: number): unknown[]
}

type Reply = Answer | undefined
type Strict = boolean | undefined

export interface NativeCache {
  get(ticket: number, key: string, as: number, strict: Strict): Reply
  getMany(ticket: number, keys: readonly string[], strict: Strict): Reply
  set(ticket: number, key: string, kind: number, payload: Payload, opts?: SetOptions): Reply
  setMany(
    ticket: number,
    keys: string[],
    kinds: number[],
    payloads: Payload[],
    opts: (SetOptions | undefined)[],
    strict: Strict,
  ): Reply
  has(ticket: number, key: string, strict: Strict): Reply
  delete(ticket: number, key: string, strict: Strict): Reply
  deleteMany(ticket: number, keys: readonly string[], strict: Strict): Reply
  invalidateTags(ticket: number, tags: readonly string[], strict: Strict): Reply
  deletePattern(ticket: number, glob: string, strict: Strict, progress: boolean): Reply
  scan(ticket: number, glob: string, cursor: string): Reply
  clear(ticket: number, wholeDatabase: boolean, strict: Strict): Reply
  ttl(ticket: number, key: string, strict: Strict): Reply
  touch(ticket: number, key: string, ttl: number | null, strict: Strict): Reply
  markStale(ticket: number, key: string, strict: Strict): Reply
  increment(ticket: number, key: string, by: number, ttl: number | null | undefined, strict: Strict): Reply
  command(ticket: number, parts: Payload[], timeout: number | undefined, buffers: boolean): Reply
  commands(ticket: number, pipeline: Payload[][], timeout: number | undefined, buffers: boolean): Reply
  ping(ticket: number): Reply
  ready(ticket: number, timeout?: number): Reply
  settled(ticket: number, timeout?: number): Reply
  close(ticket: number): Reply
  load(ticket: number, key: string, opts: NativeLoadOptions): Reply
  /** For each an answer, `true` if it waits for somebody else's flight, or `undefined`. */
  loadMany(tickets: number[], keys: readonly string[], opts: NativeLoadOptions): (Answer | true | undefined)[]
  /** Settles with `[lock, fence]`. */
  lock(ticket: number, key: string, ttl: number, wait: number): Reply
  extendLock(ticket: number, lock: number, ttl: number): Reply
  releaseLock(ticket: number, lock: number): Reply
  dropLock(lock: number): void
  loaded(flight: number, kind: number, payload: Payload, opts: LoadedOptions): void
  loadedNothing(flight: number): void
  /** The value cannot go through a tier; `clone` is for other environments. */
  loadedUnstorable(flight: number, clone: Buffer | null): void
  loadFailed(flight: number, clone: Buffer | null, reason: string): void
  /** `leads`: the factory of the caller who leaves runs. */
  leave(ticket: number, key: string, leads: boolean): boolean
  peek(key: string): Reply
  state(): string
  setMemoryMode(on: boolean): void
  memoryMode(): boolean
  tellOfInvalidations(): void
  health(verbose: boolean): string
  stats(): string
  metrics(openMetrics: boolean): string
  answer(ask: number, value: string): void
  wake(): void
  view(prefix: string): NativeCache
  id(): number
  name(): string
}

export interface Binding {
  NativeCache: new (options: string, completions: Completions) => NativeCache
  Completions: new (wake: () => void, resource: { hasRef(): boolean }, words: Uint32Array) => Completions
  nearMemory(cache: NativeCache): { words: ArrayBuffer; hits: ArrayBuffer } | undefined
  hitFunction(cache: NativeCache, scratch: Uint32Array): (key: string, as: number, ticket: number) => unknown
  setFunction(
    cache: NativeCache,
    scratch: Uint32Array,
  ): (key: string, kind: number, payload: string, ticket: number) => unknown
  metricsOf(caches: NativeCache[], openMetrics: boolean): string
  defaults(): string
  escapeGlob(text: string): string
}
