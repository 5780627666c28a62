//! Orchestration: which tier, in which order, and what on failure. Owns the cache's two tiers, its flights and its
//! counters. `read` (with `answer`), `write`, `life`, `many`, `invalidate`, `tagging`, `pattern`, `raw`, `lease` and `flight` are its operations;
//! `reach` is what they ask of the two tiers, `send` the way of a write to Redis and into the journal, `coherence` what others' changes do to
//! L1, `notices` the way of an event to the application, `report` what it says of itself.
//!
//! Keys are as they are in Redis, namespace included. Every operation takes a [`Waiter`] and either answers at once
//! or settles the waiter later, exactly once. Values are encoded and decoded by JavaScript.

mod advice;
mod answer;
mod coherence;
pub mod flight;
pub mod invalidate;
pub mod lease;
pub mod life;
pub mod many;
pub mod notices;
pub mod order;
pub mod outcome;
pub mod pattern;
pub mod raw;
pub mod reach;
pub mod read;
pub mod report;
mod send;
pub mod tagging;
pub mod upkeep;
pub mod write;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use ahash::RandomState;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

pub use self::outcome::{As, Outcome, Waiter};
use self::{
    coherence::Ear,
    flight::{FlightClock, Flights, Hold},
    lease::{Locks, Waits},
    notices::Notices,
    order::Deferred,
    outcome::Sink,
    read::Read,
    tagging::Questions,
};
use crate::{
    config::Config,
    error::{CacheError, Code},
    generations::Generations,
    l1::L1,
    l2::{
        link::server_text,
        port::Failure,
        tier::{Parts, Tier},
    },
    resilience::{flood::Flood, state::LinkState},
    tags::Tags,
    telemetry::counters::Counters,
    tide::Tide,
};

/// A key as it is in Redis.
pub type Key = Arc<[u8]>;

/// A cache: shared by the handles of all threads that named it.
pub struct Cache {
    /// Unique in the process.
    pub id: u64,
    /// The name, for metrics and logs.
    pub name: String,
    /// The validated options.
    pub config: Arc<Config>,
    /// The counters behind `health()` and `metrics()`.
    pub counters: Arc<Counters>,
    /// The way to the environments that hold this cache.
    pub notices: Arc<Notices>,
    l1: Option<L1>,
    tide: Arc<Tide>,
    table: Generations<Read, Hold>,
    tags: Tags,
    questions: Questions,
    deferred: Deferred,
    locks: Locks,
    waits: Waits,
    l2: Option<Arc<Tier>>,
    flights: Mutex<Flights>,
    flight_clock: Arc<FlightClock>,
    /// Patterns whose matches may not enter L1 while they are being removed.
    removing: RwLock<Vec<Arc<[u8]>>>,
    removing_count: AtomicUsize,
    /// Writes and refreshes that nobody waits for.
    background: AtomicUsize,
    memory_mode: AtomicBool,
    closed: AtomicBool,
    /// A life was given that was probably meant in seconds.
    short_ttl: AtomicBool,
    /// How many changes of others come.
    flood: Mutex<Flood>,
    /// Somebody listens for what others invalidate.
    tells_invalidated: AtomicBool,
    runtime: Handle,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static UNNAMED: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// A cache by `config`, whose first environment is `sink`. Connecting, if it is to connect, starts on `runtime`.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` if the TLS material is not usable.
    pub fn new(
        config: Config,
        runtime: &Handle,
        sink: &Arc<dyn Sink>,
    ) -> Result<Arc<Self>, CacheError> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let config = Arc::new(config);
        let counters = Arc::new(Counters::default());
        let notices = Arc::new(Notices::new(id));
        notices.listen(sink);
        let hasher = RandomState::new();
        let name = config.name.clone().unwrap_or_else(default_name);
        let redis = config.redis.clone().map(|mut redis| {
            redis.name_connection(&name);
            Arc::new(redis)
        });
        let (ear, tide) = (Arc::new(Ear::default()), Tide::new());
        let open = |redis| {
            Tier::open(Parts {
                cache: id,
                config: Arc::clone(&config),
                redis,
                counters: Arc::clone(&counters),
                tide: Arc::clone(&tide),
                application: Arc::<Notices>::clone(&notices),
                listener: Arc::<Ear>::clone(&ear),
                runtime: runtime.clone(),
            })
        };
        let l2 = redis.map(open).transpose()?;
        let cache = Arc::new(Self {
            id,
            name,
            l1: config.l1.as_ref().map(|l1| L1::new(l1, &hasher)),
            table: Generations::new(&hasher, Arc::clone(&tide)),
            tide,
            tags: Tags::new(&hasher),
            questions: Questions::default(),
            deferred: Deferred::default(),
            locks: Locks::default(),
            waits: Waits::default(),
            l2,
            flights: Mutex::default(),
            flight_clock: Arc::default(),
            removing: RwLock::default(),
            removing_count: AtomicUsize::new(0),
            background: AtomicUsize::new(0),
            memory_mode: AtomicBool::new(config.memory_mode),
            closed: AtomicBool::new(false),
            short_ttl: AtomicBool::new(false),
            flood: Mutex::default(),
            tells_invalidated: AtomicBool::new(false),
            runtime: runtime.clone(),
            counters,
            notices: Arc::clone(&notices),
            config: Arc::clone(&config),
        });
        notices.register_log();
        ear.belong_to(&cache);
        if let Some(l2) = &cache.l2 {
            l2.start();
        }
        upkeep::start(&cache);
        Ok(cache)
    }

    /// The error that a strict caller gets for `failure`.
    fn failed(&self, failure: &Failure, key: &[u8]) -> CacheError {
        let error = match failure {
            Failure::Unavailable => {
                CacheError::new(Code::L2Unavailable, "Redis is not in use at the moment")
            }
            Failure::Disconnected => CacheError::new(
                Code::L2Unavailable,
                "the connection to Redis broke before the answer came: the command may have been carried out",
            ),
            Failure::Timeout => CacheError::new(
                Code::Timeout,
                format!("Redis did not answer within {} ms", self.timeout_ms()),
            ),
            Failure::Refused(error) => CacheError::new(Code::RedisReply, server_text(error)),
        };
        if key.is_empty() {
            error
        } else {
            error.key(self.shown(key))
        }
    }

    /// A key as the caller knows it.
    fn shown(&self, key: &[u8]) -> String {
        let key = key
            .strip_prefix(self.config.prefix.as_bytes())
            .unwrap_or(key);
        String::from_utf8_lossy(key).into_owned()
    }

    /// The error of a call on a closed cache.
    fn closed_error() -> CacheError {
        CacheError::new(Code::Closed, "the cache is closed")
    }

    /// Whether `close()` was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether memory mode is forced.
    #[must_use]
    pub fn memory_mode(&self) -> bool {
        self.memory_mode.load(Ordering::SeqCst)
    }

    /// Forces memory mode, or leaves it.
    pub fn set_memory_mode(&self, on: bool) {
        if self.memory_mode.swap(on, Ordering::SeqCst) != on
            && let Some(l2) = &self.l2
        {
            l2.set_memory_mode(on);
        }
    }

    /// The link's state; `idle` without one.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match &self.l2 {
            Some(l2) => l2.state(),
            None if self.is_closed() => LinkState::Closed,
            None => LinkState::Idle,
        }
    }

    /// Drains what is in flight for at most a second and closes the link for good. Idempotent.
    pub fn close(self: &Arc<Self>, waiter: Waiter) -> Option<Outcome> {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        self.waits.tell_all();
        let Some(l2) = &self.l2 else {
            if first {
                self.notices.closed();
            }
            return waiter.now(Outcome::Undefined);
        };
        if first {
            let (l2, released) = (Arc::clone(l2), self.release_locks());
            let cache = Arc::clone(self);
            self.runtime.spawn(async move {
                released.await;
                cache.send_deferred().await;
                l2.close().await;
                waiter.settle(Outcome::Undefined);
            });
            return None;
        }
        self.when_state(waiter, None, |state| state == LinkState::Closed)
    }

    /// Settles once Redis is usable, at once in memory mode.
    pub fn ready(self: &Arc<Self>, timeout_ms: Option<u64>, waiter: Waiter) -> Option<Outcome> {
        let Some(l2) = self.l2.as_ref().filter(|_| !self.memory_mode()) else {
            return waiter.now(Outcome::Undefined);
        };
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        l2.connect();
        let default = self
            .config
            .redis
            .as_ref()
            .map_or(0, |redis| redis.connect_timeout.as_millis());
        let timeout = timeout_ms.unwrap_or_else(|| u64::try_from(default).unwrap_or(u64::MAX));
        let cache = Arc::clone(self);
        self.when_state(waiter, Some(timeout), move |state| {
            matches!(state, LinkState::Up | LinkState::Closed) || cache.memory_mode()
        })
    }

    fn when_state(
        self: &Arc<Self>,
        waiter: Waiter,
        timeout_ms: Option<u64>,
        reached: impl Fn(LinkState) -> bool + Send + Sync + 'static,
    ) -> Option<Outcome> {
        let Some(l2) = &self.l2 else {
            return waiter.now(Outcome::Undefined);
        };
        let mut steps = l2.steps();
        if reached(l2.state()) {
            return waiter.now(Outcome::Undefined);
        }
        let l2 = Arc::clone(l2);
        let timeout = std::time::Duration::from_millis(timeout_ms.unwrap_or(86_400_000));
        self.runtime.spawn(async move {
            // Not by `wait_for`: its condition is looked at under a lock that a step takes too.
            let reached = async { while !reached(l2.state()) && steps.changed().await.is_ok() {} };
            waiter.settle(match tokio::time::timeout(timeout, reached).await {
                Ok(()) => Outcome::Undefined,
                Err(_) => Outcome::Error(CacheError::new(
                    Code::Timeout,
                    format!("Redis was not ready within {} ms", timeout.as_millis()),
                )),
            });
        });
        None
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(l2) = &self.l2 {
            drop(l2.close());
        }
        self.notices.unregister_log();
    }
}

/// `default`, `default-2`, …
fn default_name() -> String {
    match UNNAMED.fetch_add(1, Ordering::Relaxed) {
        0 => "default".to_owned(),
        others => format!("default-{}", others + 1),
    }
}
