//! The `NativeCache` class: one method an operation, each of which converts, calls and converts. An operation answers
//! `[kind, value]` at once, or `undefined`, and then its ticket is settled through the environment's completions.

use std::sync::Arc;

use bytes::Bytes;
use napi::{
    Env, Error, JsString, Result, Status,
    bindgen_prelude::{Array, Buffer, ClassInstance, Either, Object, Unknown},
};
use napi_derive::napi;
use serde_json::json;

use super::{
    completions::{Completions, Queue},
    input,
    named::Handle,
    outcome, runtime,
};
use crate::{
    cache::{
        As, Cache, Key, Outcome, Waiter,
        flight::Loading,
        order::Access,
        outcome::{Notice, Sink},
        pattern::Progress,
        report,
        write::Ttl,
    },
    config::Config,
    error::{CacheError, Code},
    l2::bus::TAG,
    resilience::glob,
};

/// `[kind, value]`, or `undefined` while the ticket is pending.
type Answer<'env> = Result<Either<Array<'env>, ()>>;
type Text<'env> = JsString<'env>;
type Data<'env> = Either<JsString<'env>, Buffer>;

/// A cache as one environment holds it, or a view of it.
#[napi]
pub struct NativeCache {
    handle: Arc<Handle>,
    queue: Arc<Queue>,
    /// The namespace and, in a view, its prefix.
    prefix: String,
    /// What the keys of tags' versions begin with: the prefix of a view stands in the tags' names.
    tags: String,
}

fn answer(env: &Env, outcome: Option<Outcome>) -> Answer<'_> {
    Ok(match outcome {
        Some(outcome) => Either::A(outcome::pair(env, outcome)?),
        None => Either::B(()),
    })
}

/// What was handed in, or the answer that says what is wrong with it.
macro_rules! given {
    ($env:ident, $given:expr) => {
        match $given? {
            Ok(given) => given,
            Err(error) => return answer($env, Some(Outcome::Error(error))),
        }
    };
}

impl NativeCache {
    /// The cache behind the handle.
    pub fn core(&self) -> &Arc<Cache> {
        self.handle.cache()
    }

    /// What stands before every key.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn waiter(&self, ticket: u32) -> Waiter {
        self.waiter_for(ticket, As::Value)
    }

    fn waiter_for(&self, ticket: u32, want: As) -> Waiter {
        Waiter::new(self.sink(), ticket, want)
    }

    /// The environment that waits.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.queue) as Arc<dyn Sink>
    }

    /// Carries out an operation on `keys`, behind the deferred writes that they may have.
    fn in_turn<'env, K: AsRef<[Key]> + Send + 'static>(
        &self,
        env: &'env Env,
        keys: K,
        access: Access,
        waiter: Waiter,
        operation: impl FnOnce(&Arc<Cache>, K, Waiter) -> Option<Outcome> + Send + 'static,
    ) -> Answer<'env> {
        let cache = self.core();
        let outcome = if cache.defers(keys.as_ref()) {
            let awaited = keys.as_ref().to_vec();
            cache.in_turn(awaited, access, waiter, move |cache, waiter| {
                operation(cache, keys, waiter)
            })
        } else {
            operation(cache, keys, waiter)
        };
        answer(env, outcome)
    }

    fn on_key<'env>(
        &self,
        env: &'env Env,
        name: Text<'_>,
        access: Access,
        ticket: u32,
        operation: impl FnOnce(&Arc<Cache>, &Key, Waiter) -> Option<Outcome> + Send + 'static,
    ) -> Answer<'env> {
        let key = given!(env, input::key(&self.prefix, name));
        let waiter = self.waiter(ticket);
        self.in_turn(env, [key], access, waiter, move |cache, [key], waiter| {
            operation(cache, &key, waiter)
        })
    }

    /// Carries out an operation on whatever keys, behind all deferred writes.
    fn behind_all<'env>(
        &self,
        env: &'env Env,
        waiter: Waiter,
        operation: impl FnOnce(&Arc<Cache>, Waiter) -> Option<Outcome> + Send + 'static,
    ) -> Answer<'env> {
        let keys = self.core().deferred_keys();
        self.in_turn(
            env,
            keys,
            Access::Changes,
            waiter,
            move |cache, _, waiter| operation(cache, waiter),
        )
    }

    fn keys(&self, names: Vec<Text<'_>>) -> Result<std::result::Result<Vec<Key>, CacheError>> {
        names
            .into_iter()
            .map(|name| input::key(&self.prefix, name))
            .collect()
    }

    fn pattern(&self, glob: &str) -> Vec<u8> {
        let mut pattern = glob::escape(self.prefix.as_bytes());
        pattern.extend_from_slice(glob.as_bytes());
        pattern
    }

    fn progress(&self, ticket: u32) -> Progress {
        let (sink, cache) = (self.sink(), self.core().id);
        Box::new(move |removed| {
            let body =
                json!({ "cache": cache, "type": "progress", "ticket": ticket, "removed": removed });
            sink.notice(Notice::Event, body.to_string());
        })
    }
}

fn raw_args(parts: Vec<Data<'_>>) -> Result<Vec<Vec<u8>>> {
    let bytes = |part: Data<'_>| match part {
        Either::A(text) => Ok(text.into_utf8()?.into_owned()?.into_bytes()),
        Either::B(buffer) => Ok(buffer.as_ref().to_vec()),
    };
    parts.into_iter().map(bytes).collect()
}

fn coded(error: CacheError) -> Error<String> {
    Error::new(error.code.as_str().to_owned(), error.message)
}

#[napi]
impl NativeCache {
    /// `options` is the JSON of `lib/options.js`. Throws with `code` `ERR_CACHE_OPTIONS`.
    #[napi(constructor)]
    pub fn new(
        options: String,
        completions: ClassInstance<'_, Completions>,
    ) -> std::result::Result<Self, Error<String>> {
        crate::telemetry::log::install();
        let config = Config::parse(&options).map_err(coded)?;
        let prefix = config.prefix.clone();
        let runtime = runtime::handle()
            .map_err(|error| coded(CacheError::new(Code::Internal, error.reason.clone())))?;
        let queue = Arc::clone(completions.queue());
        let sink = Arc::clone(&queue) as Arc<dyn Sink>;
        let handle = Handle::open(config, runtime, &sink).map_err(coded)?;
        queue.serves(handle.cache());
        Ok(Self {
            handle: Arc::new(handle),
            queue,
            tags: format!("{prefix}{}", String::from_utf8_lossy(TAG)),
            prefix,
        })
    }

    /// The id of the cache in this process.
    #[napi]
    pub fn id(&self) -> u32 {
        u32::try_from(self.core().id).unwrap_or(u32::MAX)
    }

    /// The name of the cache.
    #[napi]
    pub fn name(&self) -> String {
        self.core().name.clone()
    }

    /// A view whose keys begin with `prefix` and a colon.
    #[napi]
    pub fn view(&self, prefix: String) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            queue: Arc::clone(&self.queue),
            prefix: format!("{}{prefix}:", self.prefix),
            tags: format!("{}{prefix}:", self.tags),
        }
    }

    #[napi]
    pub fn get<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        want: u32,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let key = given!(env, input::key(&self.prefix, key));
        let waiter = self.waiter_for(ticket, As::from(want));
        self.in_turn(
            env,
            [key],
            Access::Reads,
            waiter,
            move |cache, [key], waiter| cache.get(&key, strict, waiter),
        )
    }

    #[napi]
    pub fn get_many<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        keys: Vec<Text<'_>>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let (keys, waiter) = (given!(env, self.keys(keys)), self.waiter(ticket));
        self.in_turn(
            env,
            keys,
            Access::Reads,
            waiter,
            move |cache, keys, waiter| cache.get_many(&keys, strict, waiter),
        )
    }

    #[napi]
    pub fn set<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        kind: u32,
        payload: Data<'_>,
        options: Option<Object<'_>>,
    ) -> Answer<'env> {
        let payload = given!(env, input::payload(kind, payload));
        let options = input::write_options(&self.tags, options.as_ref())?;
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.set(key, payload, &options, waiter),
        )
    }

    #[napi]
    pub fn set_many<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        keys: Vec<Text<'_>>,
        kinds: Vec<u32>,
        payloads: Vec<Data<'_>>,
        options: Vec<Either<Object<'_>, ()>>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let keys = given!(env, self.keys(keys));
        let mut writes = Vec::with_capacity(keys.len());
        for (((key, kind), payload), options) in
            keys.into_iter().zip(kinds).zip(payloads).zip(options)
        {
            let payload = given!(env, input::payload(kind, payload));
            let options = match &options {
                Either::A(options) => Some(options),
                Either::B(()) => None,
            };
            let mut options = input::write_options(&self.tags, options)?;
            options.strict = options.strict.or(strict);
            writes.push((key, payload, options));
        }
        let keys: Vec<Key> = writes.iter().map(|(key, ..)| Arc::clone(key)).collect();
        let waiter = self.waiter(ticket);
        self.in_turn(
            env,
            keys,
            Access::Changes,
            waiter,
            move |cache, _, waiter| cache.set_many(writes, waiter),
        )
    }

    #[napi]
    pub fn has<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        self.on_key(
            env,
            key,
            Access::Reads,
            ticket,
            move |cache, key, waiter| cache.has(key, strict, waiter),
        )
    }

    #[napi]
    pub fn delete<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.delete(key, strict, waiter),
        )
    }

    #[napi]
    pub fn delete_many<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        keys: Vec<Text<'_>>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let (keys, waiter) = (given!(env, self.keys(keys)), self.waiter(ticket));
        self.in_turn(
            env,
            keys,
            Access::Changes,
            waiter,
            move |cache, keys, waiter| cache.delete_many(keys, strict, waiter),
        )
    }

    #[napi]
    pub fn delete_pattern<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        glob: String,
        strict: Option<bool>,
        progress: bool,
    ) -> Answer<'env> {
        let progress = progress.then(|| self.progress(ticket));
        let (waiter, pattern) = (self.waiter(ticket), self.pattern(&glob));
        self.behind_all(env, waiter, move |cache, waiter| {
            cache.delete_pattern(pattern, strict, progress, waiter)
        })
    }

    #[napi]
    pub fn scan<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        glob: String,
        cursor: String,
    ) -> Answer<'env> {
        let (waiter, pattern) = (self.waiter(ticket), self.pattern(&glob));
        let prefix = self.prefix.clone();
        self.behind_all(env, waiter, move |cache, waiter| {
            cache.scan(pattern, prefix, cursor, waiter)
        })
    }

    #[napi]
    pub fn clear<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        whole_database: bool,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let (waiter, prefix) = (self.waiter(ticket), self.prefix.clone());
        self.behind_all(env, waiter, move |cache, waiter| {
            cache.clear(&prefix, whole_database, strict, waiter)
        })
    }

    #[napi]
    pub fn invalidate_tags<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        tags: Vec<String>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let tags = tags
            .iter()
            .map(|name| input::tag(&self.tags, name))
            .collect();
        let waiter = self.waiter(ticket);
        answer(env, self.core().invalidate_tags(tags, strict, waiter))
    }

    #[napi]
    pub fn ttl<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        self.on_key(
            env,
            key,
            Access::Reads,
            ticket,
            move |cache, key, waiter| cache.ttl(key, strict, waiter),
        )
    }

    #[napi]
    pub fn touch<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        ttl: Unknown<'_>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        let ttl_ms = match input::ttl(&ttl)? {
            Ttl::Ms(ms) => Some(ms),
            Ttl::Never | Ttl::Default => None,
        };
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.touch(key, ttl_ms, strict, waiter),
        )
    }

    #[napi]
    pub fn mark_stale<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        strict: Option<bool>,
    ) -> Answer<'env> {
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.mark_stale(key, strict, waiter),
        )
    }

    #[napi]
    pub fn increment<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        by: i64,
        ttl: Unknown<'_>,
    ) -> Answer<'env> {
        let ttl = input::ttl(&ttl)?;
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.increment(key, by, ttl, waiter),
        )
    }

    #[napi]
    pub fn command<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        parts: Vec<Data<'_>>,
        timeout: Option<f64>,
        buffers: bool,
    ) -> Answer<'env> {
        let timeout = timeout.map(input::millis);
        let parts = raw_args(parts)?;
        self.behind_all(env, self.waiter(ticket), move |cache, waiter| {
            cache.command(&parts, timeout, buffers, waiter)
        })
    }

    #[napi]
    pub fn commands<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        list: Vec<Vec<Data<'_>>>,
        timeout: Option<f64>,
        buffers: bool,
    ) -> Answer<'env> {
        let list = list.into_iter().map(raw_args).collect::<Result<Vec<_>>>()?;
        let timeout = timeout.map(input::millis);
        self.behind_all(env, self.waiter(ticket), move |cache, waiter| {
            cache.commands(&list, timeout, buffers, waiter)
        })
    }

    #[napi]
    pub fn ping<'env>(&self, env: &'env Env, ticket: u32) -> Answer<'env> {
        answer(env, self.core().ping(self.waiter(ticket)))
    }

    #[napi]
    pub fn ready<'env>(&self, env: &'env Env, ticket: u32, timeout: Option<f64>) -> Answer<'env> {
        answer(
            env,
            self.core()
                .ready(timeout.map(input::millis), self.waiter(ticket)),
        )
    }

    #[napi]
    pub fn settled<'env>(&self, env: &'env Env, ticket: u32, timeout: Option<f64>) -> Answer<'env> {
        answer(
            env,
            self.core()
                .settled(timeout.map(input::millis), self.waiter(ticket)),
        )
    }

    #[napi]
    pub fn close<'env>(&self, env: &'env Env, ticket: u32) -> Answer<'env> {
        answer(env, self.handle.close(self.waiter(ticket)))
    }

    /// `getOrSet` after a miss in L1: joins or begins the key's flight.
    #[napi]
    pub fn load<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        options: Object<'_>,
    ) -> Answer<'env> {
        let options = input::load_options(&self.tags, &options)?;
        self.on_key(
            env,
            key,
            Access::Changes,
            ticket,
            move |cache, key, waiter| cache.load(key, &options, waiter),
        )
    }

    /// Several at once. For each `[kind, value]`, `true` if it waits for somebody else's flight, or `undefined` if its own
    /// is under way.
    #[napi]
    pub fn load_many<'env>(
        &self,
        env: &'env Env,
        tickets: Vec<u32>,
        keys: Vec<Text<'_>>,
        options: Object<'_>,
    ) -> Result<Array<'env>> {
        let options = input::load_options(&self.tags, &options)?;
        let mut answers = Array::from_vec(env, Vec::<u32>::new())?;
        let started = match self.keys(keys)? {
            Ok(keys) => {
                let waiters = tickets.iter().map(|ticket| self.waiter(*ticket));
                let loads = keys.into_iter().zip(waiters).collect();
                self.core().load_many(loads, &options)
            }
            // One bad key is an error of the whole call.
            Err(error) => {
                let refused = |_: &u32| Loading::Now(Outcome::Error(error.clone()));
                tickets.iter().map(refused).collect()
            }
        };
        for (loading, at) in started.into_iter().zip(0..) {
            match loading {
                Loading::Now(outcome) => answers.set(at, outcome::pair(env, outcome)?)?,
                Loading::Other => answers.set(at, true)?,
                Loading::Own => answers.set(at, ())?,
            }
        }
        Ok(answers)
    }

    /// Settles with `[lock, fence]`.
    #[napi]
    pub fn lock<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        key: Text<'_>,
        ttl: f64,
        wait: f64,
    ) -> Answer<'env> {
        let key = given!(env, input::key(&self.prefix, key));
        let (ttl, wait) = (input::millis(ttl), input::millis(wait));
        answer(env, self.core().lock(&key, ttl, wait, self.waiter(ticket)))
    }

    #[napi]
    pub fn extend_lock<'env>(
        &self,
        env: &'env Env,
        ticket: u32,
        lock: f64,
        ttl: f64,
    ) -> Answer<'env> {
        let (lock, ttl) = (input::millis(lock), input::millis(ttl));
        answer(env, self.core().extend_lock(lock, ttl, self.waiter(ticket)))
    }

    #[napi]
    pub fn release_lock<'env>(&self, env: &'env Env, ticket: u32, lock: f64) -> Answer<'env> {
        let lock = input::millis(lock);
        answer(env, self.core().release_lock(lock, self.waiter(ticket)))
    }

    /// Nobody holds the lock any more.
    #[napi]
    pub fn drop_lock(&self, lock: f64) {
        self.core().drop_lock(input::millis(lock));
    }

    /// The factory's value of a flight that this environment leads.
    #[napi]
    pub fn loaded(
        &self,
        flight: f64,
        kind: u32,
        payload: Data<'_>,
        options: Option<Object<'_>>,
    ) -> Result<()> {
        let skip = match &options {
            Some(options) => input::property(options, "skip")?.unwrap_or(false),
            None => false,
        };
        let options = input::write_options(&self.tags, options.as_ref())?;
        let payload = input::payload(kind, payload)?
            .map_err(|error| Error::new(Status::InvalidArg, error.message))?;
        self.core()
            .loaded(input::millis(flight), &payload, &options, skip);
        Ok(())
    }

    /// The factory gave `undefined`.
    #[napi]
    pub fn loaded_nothing(&self, flight: f64) {
        self.core().loaded_nothing(input::millis(flight));
    }

    /// The factory's value cannot be stored; `clone` is it for other environments.
    #[napi]
    pub fn loaded_unstorable(&self, flight: f64, clone: Option<Buffer>) {
        let clone = clone.map(|clone| Bytes::from(clone.to_vec()));
        let flight = input::millis(flight);
        self.core().loaded_unstorable(flight, clone.as_ref());
    }

    /// The factory failed, for this reason; `clone` is its error for other environments.
    #[napi]
    pub fn load_failed(&self, flight: f64, clone: Option<Buffer>, reason: String) {
        let clone = clone.map(|clone| Bytes::from(clone.to_vec()));
        let flight = input::millis(flight);
        self.core().load_failed(flight, clone.as_ref(), &reason);
    }

    /// The caller of a load no longer waits; `leads` if its factory runs. False if nothing is known of it: its end will come.
    #[napi]
    pub fn leave(&self, ticket: u32, key: Text<'_>, leads: bool) -> Result<bool> {
        let key = input::key(&self.prefix, key)?;
        Ok(key.is_ok_and(|key| self.core().leave(&self.sink(), &key, ticket, leads)))
    }

    #[napi]
    pub fn peek<'env>(&self, env: &'env Env, key: Text<'_>) -> Answer<'env> {
        let Ok(key) = input::key(&self.prefix, key)? else {
            return Ok(Either::B(()));
        };
        let found = self
            .core()
            .peek(&key)
            .map(|payload| Outcome::Value(payload, As::Value));
        answer(env, found)
    }

    /// The state of the link, as in `health()`.
    #[napi]
    pub fn state(&self) -> &'static str {
        self.core().state().as_str()
    }

    #[napi]
    pub fn set_memory_mode(&self, on: bool) {
        self.core().set_memory_mode(on);
    }

    #[napi]
    pub fn memory_mode(&self) -> bool {
        self.core().memory_mode()
    }

    /// JSON text.
    #[napi]
    pub fn health(&self, verbose: bool) -> String {
        self.core().health(verbose)
    }

    /// JSON text.
    #[napi]
    pub fn stats(&self) -> String {
        self.core().stats()
    }

    /// Prometheus text.
    #[napi]
    pub fn metrics(&self, open_metrics: bool) -> String {
        report::metrics_of(&[self.core()], open_metrics)
    }

    /// From now on events tell of what others invalidate.
    #[napi]
    pub fn tell_of_invalidations(&self) {
        self.core().tell_of_invalidations();
    }

    /// The answer to an `ask` notice, as JSON.
    #[napi]
    pub fn answer(&self, ask: f64, json: String) {
        self.core().notices.answer(input::millis(ask), json);
    }

    /// Flushes what was submitted in this tick.
    #[napi]
    pub fn wake(&self) {
        self.core().wake();
    }
}

/// The Prometheus text of several caches, each family once.
#[napi]
pub fn metrics_of(caches: Vec<ClassInstance<'_, NativeCache>>, open_metrics: bool) -> String {
    let caches: Vec<_> = caches.iter().map(|cache| cache.core()).collect();
    report::metrics_of(&caches, open_metrics)
}

/// Every default, as JSON, for tests and documentation.
#[napi]
pub fn defaults() -> String {
    Config::defaults().to_string()
}

/// `text` as a glob that matches nothing but itself.
#[napi]
pub fn escape_glob(text: String) -> String {
    String::from_utf8_lossy(&glob::escape(text.as_bytes())).into_owned()
}
