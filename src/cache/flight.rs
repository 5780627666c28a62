//! Single flight: however many callers, in however many threads, ask `getOrSet` for a key, one of them runs the
//! factory and all get its outcome. JavaScript runs the factory; here is who waits, for how long, and whether the
//! result may still be stored.
//!
//! | stage | ends by | then |
//! |---|---|---|
//! | reading | Redis (or L1) has it | everyone gets it |
//! | | a miss, or no answer | running: the first caller whose environment lives is told to lead |
//! | running | the factory's value, nothing, or its error | everyone gets that; a value is stored if the key was not changed meanwhile |
//! | | `factoryTimeout` | everyone gets `ERR_CACHE_FACTORY_TIMEOUT`; late |
//! | | the last caller left | the factory's signal is aborted; late |
//! | | the leader's environment ended | running, with another leader, or over |
//! | late | the factory's outcome | stored, if nothing newer was |

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;

use super::{
    Cache, Key, Outcome, Waiter,
    outcome::{Notice, Sink},
    read::{Begun, Found, Told},
    write::{Write, WriteOptions},
};
use crate::{
    clock::{self, NEVER},
    entry::Payload,
    error::{CacheError, Code},
    l2::{
        commands::OnlyIf,
        port::{Failure, Reply},
    },
    telemetry::counters::LoadResult,
};

/// The options of `getOrSet` that matter here.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Whether an unusable Redis rejects.
    pub strict: Option<bool>,
    /// How long the factory may take; `Some(None)`: as long as it likes.
    pub factory_timeout: Option<Option<Duration>>,
    /// Whether to ignore what is cached.
    pub fresh: bool,
}

/// The flights of a cache.
#[derive(Default)]
pub struct Flights {
    by_key: HashMap<Key, u64>,
    by_id: HashMap<u64, Flight>,
}

/// Ids are unique in the process: JavaScript keeps the flights of all caches in one map.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

struct Flight {
    key: Key,
    callers: Vec<Caller>,
    stage: Stage,
    /// What is in Redis may be overwritten: nobody could have read it.
    overwrite: bool,
    era: u32,
    factory_timeout: Option<Duration>,
}

struct Caller {
    waiter: Waiter,
    strict: bool,
}

enum Stage {
    Reading,
    Running {
        leader: Arc<dyn Sink>,
        ticket: u32,
        since: Instant,
        /// When `factoryTimeout` is over.
        until: u64,
    },
    Late,
}

/// When the flights are to be looked at next: one timer for all, since most factories are done long before.
pub(super) struct FlightClock {
    /// `NEVER` while nobody looks.
    next: AtomicU64,
    sooner: Notify,
}

impl Default for FlightClock {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(NEVER),
            sooner: Notify::new(),
        }
    }
}

async fn watch(cache: Weak<Cache>, clock: Arc<FlightClock>) {
    while let Some(next) = cache.upgrade().and_then(|cache| cache.look_at_flights()) {
        let pause = Duration::from_millis(next.saturating_sub(clock::now()));
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = clock.sooner.notified() => (),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

impl Stage {
    fn until(&self) -> u64 {
        match self {
            Self::Running { until, .. } => *until,
            Self::Reading | Self::Late => NEVER,
        }
    }

    fn is_led_by(&self, sink: &Arc<dyn Sink>, by: u32) -> bool {
        matches!(self, Self::Running { leader, ticket, .. } if *ticket == by && Arc::ptr_eq(leader, sink))
    }
}

impl Flights {
    /// Takes the flight off the key, so that the next caller starts another.
    fn free(&mut self, id: u64) {
        if let Some(flight) = self.by_id.get(&id)
            && self.by_key.get(&flight.key) == Some(&id)
        {
            self.by_key.remove(&flight.key);
        }
    }

    fn end(&mut self, id: u64) -> Option<Flight> {
        self.free(id);
        self.by_id.remove(&id)
    }
}

impl Cache {
    /// `getOrSet`, after L1 was asked and missed.
    pub fn load(
        self: &Arc<Self>,
        key: &Key,
        options: &LoadOptions,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(options.strict.or(self.config.loader.strict));
        if let Some(entry) = self.hit(key).filter(|_| !options.fresh) {
            self.counters.l1_hits.fetch_add(1, Relaxed);
            let outcome = waiter.value(entry.payload.clone());
            return waiter.now(outcome);
        }
        self.count_l1_miss();
        let caller = Caller { waiter, strict };
        let id = self.join(key, caller, options)?;
        if options.fresh {
            return self.lead_now(id, true);
        }
        let told = move |()| -> Told { Box::new(move |cache, found| cache.flight_read(id, found)) };
        match self.begin(key, (), told) {
            Begun::Hit(entry, ()) => {
                self.settle_flight(id, |caller| caller.waiter.value(entry.payload.clone()));
                None
            }
            Begun::Unasked(()) if self.link.is_none() => self.lead_now(id, false),
            Begun::Unasked(()) => {
                self.flight_read(id, Found::Failed(Failure::Unavailable));
                None
            }
            Begun::Joined => None,
            Begun::Ask(operation) => {
                self.ask(vec![operation]);
                None
            }
        }
    }

    /// Joins the flight of the key, or begins one and gives its id: then it is this caller's to go on. Nobody joins a flight whose key was changed since
    /// it began: its value may be from before the change.
    fn join(&self, key: &Key, caller: Caller, options: &LoadOptions) -> Option<u64> {
        let mut flights = self.flights.lock();
        if let Some(id) = flights.by_key.get(key).copied()
            && self.table.lock(key).is_flight(id)
            && let Some(flight) = flights.by_id.get_mut(&id)
        {
            flight.callers.push(caller);
            self.counters.stampedes_prevented.fetch_add(1, Relaxed);
            return None;
        }
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let flight = Flight {
            key: Arc::clone(key),
            callers: vec![caller],
            stage: Stage::Reading,
            overwrite: false,
            era: self.era(),
            factory_timeout: options
                .factory_timeout
                .unwrap_or(self.config.loader.factory_timeout),
        };
        flights.by_key.insert(Arc::clone(key), id);
        flights.by_id.insert(id, flight);
        self.table.lock(key).begin_flight(id);
        Some(id)
    }

    /// What Redis said to a flight.
    fn flight_read(self: &Arc<Self>, id: u64, found: Found) {
        match found {
            Found::Hit(payload) => {
                self.counters.l2_hits.fetch_add(1, Relaxed);
                self.settle_flight(id, |caller| caller.waiter.value(payload.clone()));
            }
            Found::Miss(overwrite) => {
                self.counters.l2_misses.fetch_add(1, Relaxed);
                self.lead(id, overwrite);
            }
            Found::Failed(failure) => {
                self.refuse_strict(id, &failure);
                let key = self
                    .flights
                    .lock()
                    .by_id
                    .get(&id)
                    .map(|flight| Arc::clone(&flight.key));
                match key.and_then(|key| self.unverified(&key)) {
                    Some(payload) => {
                        self.settle_flight(id, |caller| caller.waiter.value(payload.clone()));
                    }
                    // A key that is journaled holds what is no longer true: it may be overwritten.
                    None => self.lead(id, failure == Failure::Unavailable),
                }
            }
        }
    }

    /// Callers who asked for strictness hear of a Redis that is not usable.
    fn refuse_strict(&self, id: u64, failure: &Failure) {
        let mut refused = Vec::new();
        let mut key = None;
        if let Some(flight) = self.flights.lock().by_id.get_mut(&id) {
            key = Some(Arc::clone(&flight.key));
            refused.extend(flight.callers.extract_if(.., |caller| caller.strict));
        }
        for caller in refused {
            let error = self.failed(failure, key.as_deref().unwrap_or_default());
            caller.waiter.settle(Outcome::Error(error));
        }
    }

    /// Ends a flight and settles everyone by `outcome`.
    fn settle_flight(&self, id: u64, outcome: impl Fn(&Caller) -> Outcome) {
        if let Some(flight) = self.end_flight(id) {
            settle_all(flight.callers, outcome);
        }
    }

    /// Ends a flight whose value, if it has one, is not to be stored.
    fn end_flight(&self, id: u64) -> Option<Flight> {
        let flight = self.flights.lock().end(id)?;
        let _ = self.table.lock(&flight.key).end_flight(id);
        Some(flight)
    }

    /// Has the factory run by the caller who is still on the stack.
    fn lead_now(self: &Arc<Self>, id: u64, overwrite: bool) -> Option<Outcome> {
        let told = self.appoint(id, overwrite, |_| ());
        told.then_some(Outcome::Lead(id))
    }

    /// Has the factory run by the first caller whose environment lives.
    fn lead(self: &Arc<Self>, id: u64, overwrite: bool) {
        self.appoint(id, overwrite, |waiter| waiter.lead(id));
    }

    fn appoint(self: &Arc<Self>, id: u64, overwrite: bool, tell: impl FnOnce(&Waiter)) -> bool {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return false;
        };
        flight
            .callers
            .retain(|caller| caller.waiter.sink().is_some_and(|sink| sink.alive()));
        let leader = flight
            .callers
            .first()
            .and_then(|caller| caller.waiter.sink().map(Arc::clone));
        let Some(leader) = leader else {
            drop(flights);
            self.end_flight(id);
            return false;
        };
        flight.overwrite |= overwrite;
        let since = Instant::now();
        let ticket = flight.callers[0].waiter.ticket();
        let until = flight
            .factory_timeout
            .map(|timeout| clock::now().saturating_add(millis(timeout)));
        flight.stage = Stage::Running {
            leader,
            ticket,
            since,
            until: until.unwrap_or(NEVER),
        };
        if let Some(until) = until {
            self.watch_flights(until);
        }
        tell(&flight.callers[0].waiter);
        true
    }

    /// Sees to it that flights are looked at when the first of them is late. Call it under the lock of the flights.
    fn watch_flights(self: &Arc<Self>, until: u64) {
        let before = self.flight_clock.next.fetch_min(until, SeqCst);
        if before == NEVER {
            self.runtime
                .spawn(watch(Arc::downgrade(self), Arc::clone(&self.flight_clock)));
        } else if until < before {
            self.flight_clock.sooner.notify_one();
        }
    }

    /// Ends the waits for factories that take too long; when to look again, if there is anything to look at.
    fn look_at_flights(&self) -> Option<u64> {
        let now = clock::now();
        let late = {
            let flights = self.flights.lock();
            let ids = flights
                .by_id
                .iter()
                .filter(|(_, flight)| flight.stage.until() <= now);
            ids.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        for id in late {
            self.time_out(id, now);
        }
        let flights = self.flights.lock();
        let next = flights
            .by_id
            .values()
            .map(|flight| flight.stage.until())
            .min();
        let next = next.unwrap_or(NEVER);
        self.flight_clock.next.store(next, SeqCst);
        (next != NEVER).then_some(next)
    }

    fn time_out(&self, id: u64, now: u64) {
        let Some((callers, key, timeout)) = self.make_late(id, |stage| stage.until() <= now) else {
            return;
        };
        self.counters.loads.count(LoadResult::Timeout);
        let ms = timeout.unwrap_or_default().as_millis();
        let text = format!("the factory took longer than factoryTimeout ({ms} ms)");
        let error = CacheError::new(Code::FactoryTimeout, text).key(self.shown(&key));
        settle_all(callers, |_| Outcome::Error(error.clone()));
    }

    /// Frees the key of a flight whose factory goes on; its callers, if `due`.
    fn make_late(
        &self,
        id: u64,
        due: impl Fn(&Stage) -> bool,
    ) -> Option<(Vec<Caller>, Key, Option<Duration>)> {
        let mut flights = self.flights.lock();
        let flight = flights
            .by_id
            .get_mut(&id)
            .filter(|flight| due(&flight.stage))?;
        flight.stage = Stage::Late;
        let callers = std::mem::take(&mut flight.callers);
        let (key, timeout) = (Arc::clone(&flight.key), flight.factory_timeout);
        flights.free(id);
        Some((callers, key, timeout))
    }

    /// The factory's value: to L1, to the callers, to Redis. `skip`: to the callers only.
    pub fn loaded(
        self: &Arc<Self>,
        id: u64,
        payload: &Payload,
        options: &WriteOptions,
        skip: bool,
    ) {
        let Some(flight) = self.end_load(id, LoadResult::Ok) else {
            return;
        };
        if skip {
            let _ = self.table.lock(&flight.key).end_flight(id);
        } else {
            self.store_loaded(id, &flight, payload, options);
        }
        settle_all(flight.callers, |caller| {
            caller.waiter.value(payload.clone())
        });
    }

    /// Stores what a factory made, unless the key was changed while it ran. Redis takes it only where it has nothing,
    /// so that another process' newer value stays.
    fn store_loaded(
        self: &Arc<Self>,
        id: u64,
        flight: &Flight,
        payload: &Payload,
        options: &WriteOptions,
    ) {
        let (key, loader) = (&flight.key, &self.config.loader);
        let defaults = |ttl| loader.ttl_ms.map_or(ttl, super::write::Ttl::from);
        let options = WriteOptions {
            ttl: if options.ttl == super::write::Ttl::Default {
                defaults(options.ttl)
            } else {
                options.ttl
            },
            l1_ttl: options.l1_ttl.or(loader.l1_ttl_ms),
            stale_for: options.stale_for.or(loader.stale_for_ms),
            jitter: options.jitter.or(loader.jitter),
            ..options.clone()
        };
        let write = Write {
            key,
            payload: payload.clone(),
            options: &options,
        };
        let lives = self.lives(&options);
        let mut locked = self.table.lock(key);
        if !locked.end_flight(id) || flight.era != self.era() || self.being_removed(key) {
            return;
        }
        locked.mutate(|| self.put(&write, lives));
        if self.open_link().is_none() {
            return;
        }
        self.background.fetch_add(1, SeqCst);
        let (asked, own) = (Arc::clone(key), payload.data.clone());
        let done = move |cache: &Arc<Self>, reply: Reply| {
            cache.finished_one();
            if reply == Ok(redis::Value::Nil) {
                cache.forget_own(&asked, &own);
            }
        };
        if flight.overwrite || self.journaled(key) {
            let cmd = self.set_command(&write, lives, None);
            self.send_write(std::slice::from_ref(key), cmd, Box::new(done));
        } else {
            let cmd = self.set_command(&write, lives, Some(OnlyIf::Absent));
            self.send_conditional(key, cmd, Box::new(done));
        }
    }

    /// Redis had another process' value already: ours leaves L1, if it is still ours.
    fn forget_own(&self, key: &Key, own: &Bytes) {
        let Some(l1) = &self.l1 else { return };
        let mut locked = self.table.lock(key);
        if l1
            .remembered(key)
            .is_some_and(|entry| entry.payload.data.as_ptr() == own.as_ptr())
        {
            locked.mutate(|| l1.take(key));
        }
    }

    /// The factory gave nothing: nothing is stored.
    pub fn loaded_nothing(&self, id: u64) {
        if let Some(flight) = self.end_load(id, LoadResult::Ok) {
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| Outcome::Undefined);
        }
    }

    /// The factory failed; `clone` is its error for other environments.
    pub fn load_failed(&self, id: u64, clone: Option<&Bytes>) {
        if let Some(flight) = self.end_load(id, LoadResult::Error) {
            let _ = self.table.lock(&flight.key).end_flight(id);
            settle_all(flight.callers, |_| {
                Outcome::FactoryFailed(id, clone.cloned())
            });
        }
    }

    fn end_load(&self, id: u64, result: LoadResult) -> Option<Flight> {
        let flight = self.flights.lock().end(id)?;
        if let Stage::Running { since, .. } = flight.stage {
            self.counters.load_duration.record(since.elapsed());
            self.counters.loads.count(result);
        }
        Some(flight)
    }

    /// The caller of `ticket` no longer waits; `leads` if it runs the factory. When nobody waits any more, the factory is
    /// told; a lead that its caller did not live to hear of goes to the next.
    pub fn leave(self: &Arc<Self>, sink: &Arc<dyn Sink>, ticket: u32, leads: bool) {
        let mut flights = self.flights.lock();
        let found = flights.by_id.iter_mut().find_map(|(id, flight)| {
            let left = |caller: &Caller| caller.waiter.is(sink, ticket);
            let at = flight.callers.iter().position(left)?;
            flight.callers.remove(at).waiter.forget();
            let unheard = !leads && flight.stage.is_led_by(sink, ticket);
            Some((*id, unheard, flight.callers.is_empty()))
        });
        drop(flights);
        match found {
            Some((id, true, _)) => self.lead(id, false),
            Some((id, false, true)) => self.abandon(id),
            Some((_, false, false)) | None => (),
        }
    }

    fn abandon(&self, id: u64) {
        let leader = match self
            .flights
            .lock()
            .by_id
            .get(&id)
            .map(|flight| &flight.stage)
        {
            Some(Stage::Running { leader, .. }) => Some(Arc::clone(leader)),
            Some(Stage::Reading | Stage::Late) | None => None,
        };
        match leader {
            Some(leader) => {
                self.make_late(id, |_| true);
                let body = json!({ "cache": self.id, "type": "abandoned", "flight": id });
                leader.notice(Notice::Event, body.to_string());
            }
            None => drop(self.end_flight(id)),
        }
    }

    /// An environment ended: its callers are gone, and flights that it led go to other callers.
    pub fn environment_ended(self: &Arc<Self>, sink: &Arc<dyn Sink>) {
        let mut orphans = Vec::new();
        {
            let mut flights = self.flights.lock();
            for (id, flight) in &mut flights.by_id {
                let gone = flight.callers.extract_if(.., |caller| {
                    caller
                        .waiter
                        .sink()
                        .is_some_and(|own| Arc::ptr_eq(own, sink))
                });
                gone.for_each(|caller| caller.waiter.forget());
                let led = matches!(&flight.stage, Stage::Running { leader, .. } if Arc::ptr_eq(leader, sink));
                if led || flight.callers.is_empty() {
                    orphans.push((*id, led));
                }
            }
        }
        for (id, led) in orphans {
            if led {
                self.lead(id, false);
            } else {
                self.abandon(id);
            }
        }
    }

    /// One of the writes that nobody waits for is done.
    pub(super) fn finished_one(&self) {
        self.background.fetch_sub(1, SeqCst);
    }

    /// Whether nothing is pending that nobody waits for.
    pub(super) fn nothing_pending(&self) -> bool {
        let journaled = self.link.as_ref().map_or(0, |link| link.port.journaled());
        self.background.load(SeqCst) == 0 && journaled == 0 && self.flights.lock().by_id.is_empty()
    }
}

fn settle_all(callers: Vec<Caller>, outcome: impl Fn(&Caller) -> Outcome) {
    for caller in callers {
        let outcome = outcome(&caller);
        caller.waiter.settle(outcome);
    }
}
