/** Checked by `tsc --noEmit`, never run: what must compile, and with @ts-expect-error what must not. */
import { Cache, CacheError, escapeGlob, metricsOf } from '../index.js'
import type {
  CacheErrorCode,
  CacheOptions,
  CacheView,
  FactoryContext,
  Health,
  LinkState,
  LoadOptions,
  Mode,
  WrapOptions,
  Wrapped,
} from '../index.js'
import { healthHandler, metricsHandler } from '../lib/http.js'
import { createServer } from 'node:http'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function is<_T extends true>(): void {}
function make(_build: () => Cache): void {}

interface User {
  id: number
  name: string
}
interface Schema {
  'user:1': User
  'user:2': User
  count: number
  'app:flag': boolean
}

export async function withoutSchema(cache: Cache, signal: AbortSignal): Promise<void> {
  const untyped = await cache.get('k')
  is<Equal<typeof untyped, unknown>>()
  const user = await cache.get<User>('k')
  is<Equal<typeof user, User | undefined>>()
  const text = await cache.get('k', { as: 'string', signal })
  is<Equal<typeof text, string | undefined>>()
  const bytes = await cache.get('k', { as: 'buffer' })
  is<Equal<typeof bytes, Buffer | undefined>>()

  const users = await cache.getMany<User>(['a', 'b'])
  is<Equal<typeof users, (User | undefined)[]>>()

  const loaded = await cache.getOrSet('k', async ({ signal: own }) => ({ id: 1, own }))
  is<Equal<typeof loaded, { id: number; own: AbortSignal }>>()
  const named = await cache.getOrSet<User>('k', () => ({ id: 1, name: 'x' }), {
    ttl: 1000,
    l1Ttl: 10,
    factoryTimeout: false,
    signal,
  })
  is<Equal<typeof named, User>>()

  const stored = await cache.set('k', 1)
  is<Equal<typeof stored, void>>()
  const won = await cache.set('k', 1, { onlyIf: 'absent', ttl: null })
  is<Equal<typeof won, boolean>>()
  await cache.setMany({ a: 1, b: { c: 2 } })
  await cache.setMany(new Map<string, unknown>([['a', 1]]), { ttl: 1000 })
  await cache.setMany([['a', 1], { key: 'b', value: 2, ttl: 1000 }])

  for await (const key of cache.keys('user:*', { limit: 10 })) is<Equal<typeof key, string>>()
  await cache.deletePattern('user:*', { onProgress: ({ removed }) => is<Equal<typeof removed, number>>() })
  const replies = await cache.commands([
    ['GET', 'a'],
    ['INCRBY', 'b', 2],
  ])
  for (const [error, reply] of replies) if (error === null) is<Equal<typeof reply, unknown>>()
  const pong = await cache.command<string>('PING')
  is<Equal<typeof pong, string>>()
  const life = await cache.ttl('k')
  is<Equal<typeof life, number | null | undefined>>()

  // @ts-expect-error seconds as a third argument are ioredis' way
  await cache.set('k', 1, 60)
  await cache.invalidateTags('t', 'u')
  await cache.invalidateTags('t', { strict: true })
  // @ts-expect-error tags are strings
  await cache.invalidateTags(7)
  await cache.set('k', 1, { tags: ['t'] })
  const held = await cache.lock('k', { ttl: 1_000 })
  is<Equal<typeof held.fence, bigint>>()
  const done = await cache.withLock('k', {}, async ({ signal }) => signal.aborted)
  is<Equal<typeof done, boolean>>()
  // @ts-expect-error an absent option is left out, not undefined
  await cache.get('k', { signal: undefined })
}

export async function withSchema(cache: Cache<Schema>): Promise<void> {
  const user = await cache.get('user:1')
  is<Equal<typeof user, User | undefined>>()
  const peeked = cache.peek('count')
  is<Equal<typeof peeked, number | undefined>>()
  const pair = await cache.getMany(['user:1', 'count'])
  is<Equal<typeof pair, [User | undefined, number | undefined]>>()
  await cache.set('count', 1)
  const made = await cache.getOrSet('count', () => 7)
  is<Equal<typeof made, number>>()
  const view = cache.namespaced('user')
  is<Equal<typeof view, CacheView<{ '1': User; '2': User }>>>()
  const inner = await cache.namespaced('app').get('flag')
  is<Equal<typeof inner, boolean | undefined>>()

  // @ts-expect-error an unknown key
  await cache.get('user:3')
  // @ts-expect-error another type
  await cache.set('count', 'one')
  // @ts-expect-error a factory of another type
  await cache.getOrSet('count', () => 'one')
  // @ts-expect-error a view has no close
  await view.close()
}

declare function findUser(id: number, opts?: { full: boolean }): Promise<User | undefined>
type FindUser = [id: number, opts?: { full: boolean }]

export async function wrapping(cache: Cache): Promise<void> {
  const find = cache.wrap(findUser, { key: 'user', ttl: 60_000, factoryTimeout: false })
  is<Equal<typeof find, Wrapped<FindUser, User | undefined>>>()
  const user = await find(1, { full: true })
  is<Equal<typeof user, User | undefined>>()
  const fresh = await find.fresh(1)
  is<Equal<typeof fresh, User | undefined>>()
  const removed = await find.delete(1)
  is<Equal<typeof removed, boolean>>()
  const key = find.keyOf(1)
  is<Equal<typeof key, string>>()

  const sync = cache.wrap((a: string, ...more: string[]) => a.length + more.length, { key: 'sum' })
  is<Equal<typeof sync, Wrapped<[a: string, ...more: string[]], number>>>()
  const none = cache.wrap(async () => null, { key: 'none', ttl: null, tags: ['t'] })
  is<Equal<typeof none, Wrapped<[], null>>>()
  const query = cache.wrap((id: number): PromiseLike<User> => Promise.resolve({ id, name: '' }), { key: 'q' })
  is<Equal<typeof query, Wrapped<[id: number], User>>>()
  const named = cache.wrap<[number], string>(async (id) => String(id), { key: 'named' })
  is<Equal<typeof named, Wrapped<[number], string>>>()
  // What a generic function depends on is not known before it is called.
  const generic = cache.wrap(async <T>(value: T) => ({ value }), { key: 'generic' })
  is<Equal<typeof generic, Wrapped<[value: unknown], { value: unknown }>>>()

  // @ts-expect-error an argument of another type
  await find('1')
  // @ts-expect-error one too many
  find.keyOf(1, {}, 2)
  // @ts-expect-error arguments are checked here too
  await find.delete()
  // @ts-expect-error a string first is the way of other libraries
  cache.wrap('user', findUser)
  // @ts-expect-error no key
  cache.wrap(findUser, { ttl: 1000 })
  // @ts-expect-error no options
  cache.wrap(findUser)
  // @ts-expect-error a typo
  cache.wrap(findUser, { key: 'user', tll: 1000 })
}

export function wrapFunctions(cache: Cache, options: WrapOptions<FindUser, User | undefined>): void {
  const find = cache.wrap(findUser, {
    key: (id, opts) => {
      is<Equal<typeof opts, { full: boolean } | undefined>>()
      return `user:${id.toFixed()}`
    },
    ttl: (user, id) => {
      is<Equal<typeof user, User | undefined>>()
      return user === undefined ? null : id
    },
    tags: (user, ...args) => {
      is<Equal<(typeof args)['length'], 1 | 2>>()
      return [`user:${user?.id}`]
    },
  })
  is<Equal<typeof find, Wrapped<FindUser, User | undefined>>>()
  // Functions that take less, or more, do not change what the wrapped one takes and gives.
  const less = cache.wrap(findUser, { key: (id) => `user:${id}`, ttl: (_user: object | undefined) => 1 })
  is<Equal<typeof less, Wrapped<FindUser, User | undefined>>>()
  const more = cache.wrap(findUser, { key: (id: number | string) => `user:${id}` })
  is<Equal<typeof more, Wrapped<FindUser, User | undefined>>>()
  is<Equal<ReturnType<typeof wrapAny<FindUser, User>>, Wrapped<FindUser, User>>>()
  is<Equal<typeof options.strict, boolean | undefined>>()
  cache.wrap(findUser, options)
  cache.namespaced('app').wrap(findUser, options)

  // @ts-expect-error a key function for other arguments
  cache.wrap(findUser, { key: (name: string) => name })
  // @ts-expect-error a key that is none
  cache.wrap(findUser, { key: (id) => id })
  // @ts-expect-error a ttl that is none
  cache.wrap(findUser, { key: 'user', ttl: () => '60' })
  // @ts-expect-error a ttl that comes too late
  cache.wrap(findUser, { key: 'user', ttl: async () => 60_000 })
  // @ts-expect-error a tag alone
  cache.wrap(findUser, { key: 'user', tags: () => 'user' })
}

function wrapAny<A extends unknown[], R>(
  cache: Cache<Schema>,
  fn: (...args: A) => Promise<R>,
  key: (...args: A) => string,
): Wrapped<A, R> {
  return cache.wrap(fn, { key, tags: (_value, ...args) => [key(...args)] })
}

export async function lifecycle(): Promise<void> {
  const options: CacheOptions = {
    redis: {
      host: 'localhost',
      port: '6379',
      tls: {},
      maxRetriesPerRequest: null,
      retryStrategy: (times) => times * 100,
      enableOfflineQueue: false,
    },
  }
  const cache = new Cache(options)
  cache.on('mode', ({ from, to, error }) => {
    is<Equal<typeof from, Mode>>()
    is<Equal<typeof to, Mode>>()
    is<Equal<typeof error, CacheError | undefined>>()
  })
  cache.once('reconnecting', ({ attempt, delayMs }) => attempt + delayMs)
  cache.on('error', (error: Error) => error.message)
  // @ts-expect-error an unknown event
  cache.on('connect', () => {})
  cache.namespaced('a').on('warning', ({ code }) => code.length)

  const health = cache.health()
  is<Equal<typeof health, Health>>()
  is<Equal<typeof health.status, 'healthy' | 'degraded' | 'closed'>>()
  is<Equal<typeof cache.state, LinkState>>()
  const page: string =
    metricsOf(cache, new Cache<Schema>()) +
    cache.metrics({ openMetrics: true }) +
    cache.metrics.contentType +
    metricsOf.contentType
  createServer(healthHandler(cache)).on('request', metricsHandler(cache, cache.namespaced('a')))
  cache.setMemoryMode(true)
  await cache.ready({ timeout: 100 })
  await cache.settled()
  await cache.close()
  await cache[Symbol.asyncDispose]()
  escapeGlob(page)

  make(() => new Cache())
  make(() => new Cache({ redis: process.env['REDIS_URL'], logger: console }))
  const logger = { log() {}, error() {}, warn() {} }
  make(() => new Cache({ logger, codec: { encode: () => Buffer.alloc(0), decode: (bytes) => bytes.length } }))
  // @ts-expect-error a typo
  make(() => new Cache({ namspace: 'x' }))
  // @ts-expect-error a typo among ioredis' names
  make(() => new Cache({ redis: { hots: 'x' } }))
  make(() => new Cache({ invalidation: 'tracking' }))
  // @ts-expect-error a typo
  make(() => new Cache({ invalidation: 'tracing' }))
}

export function errors(error: unknown): CacheErrorCode | undefined {
  if (!(error instanceof CacheError)) return undefined
  is<Equal<typeof error.retryable, boolean>>()
  is<Equal<typeof error.key, string | undefined>>()
  // @ts-expect-error no such code
  return error.code === 'ERR_CACHE_NONE' ? undefined : error.code
}

export function contexts(context: FactoryContext, options: LoadOptions): void {
  context.setTtl(options.ttl ?? null)
  context.skip()
  is<Equal<typeof context.stale, { readonly value: unknown; readonly age: number } | undefined>>()
  context.setTags('t', 'u')
}
