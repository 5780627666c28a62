//! The second tier as the cache sees it: one link, or, with a cluster, one for each master. Finds the link of a key, and
//! sums up what the links say of themselves.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::Cmd;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use super::{
    Application, Control, Event, Link, Listener, Question, Setting, Shared,
    cluster::{Cluster, Spot, slots::slot_of},
    commands,
    dialer::{Locate, Network},
    hearing::{Hearing, Way},
    inquiry::Asker,
    port::{Operation, Request},
    sentinel::Sentinels,
    status::Status,
    supervisor,
    tls::TlsContext,
};
use crate::{
    clock,
    config::{Config, Endpoint, Redis, Topology},
    error::CacheError,
    resilience::{journal::Journal, mode::Mode, quota::Usage, state::LinkState},
    telemetry::counters::Counters,
};

/// What a tier is made of.
pub struct Parts {
    /// The id of the cache, for its log lines.
    pub cache: u64,
    /// The whole configuration.
    pub config: Arc<Config>,
    /// The part about Redis.
    pub redis: Arc<Redis>,
    /// The counters of the cache.
    pub counters: Arc<Counters>,
    /// The way to the application.
    pub application: Arc<dyn Application>,
    /// Who hears of what others change.
    pub listener: Arc<dyn Listener>,
    /// Where links run.
    pub runtime: Handle,
}

/// All links of a cache.
pub struct Tier {
    parts: Parts,
    tls: Option<Arc<TlsContext>>,
    sentinels: Option<Arc<Sentinels>>,
    shared: Arc<Shared>,
    /// The only one, or the one that found the cluster.
    first: Arc<Link>,
    seeds: Arc<Spot>,
    cluster: OnceLock<Arc<Cluster>>,
    /// The mode that the application was told last.
    mode: Mutex<&'static str>,
    memory_mode: AtomicBool,
    closed: AtomicBool,
    /// What the first link is told, until it starts.
    controls: Mutex<Option<mpsc::UnboundedReceiver<Control>>>,
}

/// The link that was chosen.
pub enum Chosen<'a> {
    /// There is no other.
    Only(&'a Arc<Link>),
    /// One of several.
    One(Arc<Link>),
}

impl Deref for Chosen<'_> {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        match self {
            Self::Only(link) => link,
            Self::One(link) => link,
        }
    }
}

impl Tier {
    /// The tier of `parts`; [`Tier::start`] begins to connect.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` if the TLS material is not usable.
    pub fn open(parts: Parts) -> Result<Arc<Self>, CacheError> {
        let (config, redis) = (&parts.config, &parts.redis);
        let tls = redis.tls.as_ref().map(TlsContext::new).transpose()?;
        let (nodes, sentinels) = match &redis.topology {
            Topology::Single(endpoint) => (vec![endpoint.clone()], None),
            Topology::Cluster(nodes) => (nodes.clone(), None),
            Topology::Sentinels(given) => (Vec::new(), Some(Sentinels::new(given.clone(), redis)?)),
        };
        let shared = Shared::new(config, redis);
        let endpoint = redis.topology.to_string();
        let counters = Arc::clone(&parts.counters);
        let (first, controls) = Link::new(parts.cache, config, endpoint, &shared, counters);
        let tier = Arc::new(Self {
            tls: tls.map(Arc::new),
            sentinels,
            shared,
            first,
            seeds: Arc::new(Spot::new(nodes)),
            cluster: OnceLock::new(),
            mode: Mutex::new(Mode::Memory.as_str()),
            memory_mode: AtomicBool::new(parts.config.memory_mode),
            closed: AtomicBool::new(false),
            controls: Mutex::new(Some(controls)),
            parts,
        });
        Ok(tier)
    }

    /// Begins to connect, if that is not left to the first operation.
    pub fn start(self: &Arc<Self>) {
        let Some(controls) = self.controls.lock().take() else {
            return;
        };
        let place: Arc<dyn Locate> = match &self.sentinels {
            Some(sentinels) => Arc::<Sentinels>::clone(sentinels),
            None => Arc::<Spot>::clone(&self.seeds),
        };
        let (first, setting) = (Arc::clone(&self.first), self.setting(place));
        let memory_mode = self.memory_mode.load(SeqCst);
        supervisor::start(&self.parts.runtime, first, controls, setting, memory_mode);
    }

    /// What a link to whatever is at `place` needs.
    fn setting(self: &Arc<Self>, place: Arc<dyn Locate>) -> Setting {
        let network = |place| Network {
            redis: Arc::clone(&self.parts.redis),
            tls: self.tls.clone(),
            place,
        };
        let anywhere: Arc<dyn Locate> = match &self.sentinels {
            Some(sentinels) => Arc::<Sentinels>::clone(sentinels),
            None => Arc::new(Anywhere(Arc::downgrade(self))),
        };
        Setting {
            config: Arc::clone(&self.parts.config),
            redis: Arc::clone(&self.parts.redis),
            application: Arc::new(Voice(Arc::downgrade(self))),
            dial: Arc::new(network(place)),
            dial_any: Arc::new(network(anywhere)),
            sentinels: self.sentinels.clone(),
            listener: Arc::clone(&self.parts.listener),
            tier: Arc::downgrade(self),
        }
    }

    /// Another link, to the server at `place`.
    pub(super) fn link_to(self: &Arc<Self>, place: &Arc<Spot>, endpoint: String) -> Arc<Link> {
        let (parts, counters) = (&self.parts, Arc::clone(&self.parts.counters));
        let (link, controls) =
            Link::new(parts.cache, &parts.config, endpoint, &self.shared, counters);
        let setting = self.setting(Arc::<Spot>::clone(place));
        let memory_mode = self.memory_mode.load(SeqCst);
        supervisor::start(
            &parts.runtime,
            Arc::clone(&link),
            controls,
            setting,
            memory_mode,
        );
        if self.closed.load(SeqCst) {
            let (done, _) = oneshot::channel();
            link.control(Control::Close(done));
        }
        link
    }

    /// The cluster, which there is from now on.
    pub(super) fn cluster_found(self: &Arc<Self>) -> &Arc<Cluster> {
        self.cluster.get_or_init(|| {
            let asker = Asker {
                redis: Arc::clone(&self.parts.redis),
                tls: self.tls.clone(),
            };
            let (first, seeds) = (Arc::clone(&self.first), Arc::clone(&self.seeds));
            let setting = self.setting(Arc::<Spot>::clone(&seeds));
            let tier = Arc::downgrade(self);
            Cluster::new(tier, first, seeds, asker, setting, &self.parts.runtime)
        })
    }

    /// The cluster, if there is one.
    #[must_use]
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.get()
    }

    /// The link of a key.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Chosen<'_> {
        match self.cluster.get() {
            None => Chosen::Only(&self.first),
            Some(cluster) => Chosen::One(cluster.link_of(slot_of(key))),
        }
    }

    /// Some link, one that lets operations in if there is one.
    #[must_use]
    pub fn any(&self) -> Chosen<'_> {
        let Some(cluster) = self.cluster.get() else {
            return Chosen::Only(&self.first);
        };
        let links = cluster.links();
        let open = links.iter().find(|link| link.port.is_open());
        Chosen::One(Arc::clone(open.unwrap_or(&links[0])))
    }

    /// Every link.
    #[must_use]
    pub fn links(&self) -> Vec<Arc<Link>> {
        match self.cluster.get() {
            None => vec![Arc::clone(&self.first)],
            Some(cluster) => cluster.links(),
        }
    }

    /// Cuts `keys` into those that one command may name.
    #[must_use]
    pub fn groups<K: AsRef<[u8]>>(&self, keys: Vec<K>) -> Vec<Vec<K>> {
        if self.cluster.get().is_none() {
            return vec![keys];
        }
        group_by_slot(keys)
    }

    /// Looks at the journal that a key belongs to. `look` must not ask for links.
    pub fn journal<T>(&self, key: &[u8], look: impl FnOnce(&mut Journal) -> T) -> T {
        let look = |link: &Link| {
            let mut journal = link.journal.lock();
            let value = look(&mut journal);
            link.port.note_journal(&journal);
            value
        };
        match self.cluster.get() {
            None => look(&self.first),
            Some(cluster) => cluster.with_link(slot_of(key), look),
        }
    }

    /// Queues an operation, or gives it back, untouched, if there is no link to wait for.
    #[must_use]
    pub fn submit(&self, operation: Operation) -> Option<Operation> {
        match self.cluster.get() {
            None => self.first.port.submit(operation),
            Some(cluster) => cluster.submit(operation),
        }
    }

    /// Queues several operations that nothing may come between; gives back those that were refused.
    #[must_use]
    pub fn submit_all(&self, operations: Vec<Operation>) -> Vec<Operation> {
        match self.cluster.get() {
            None => self.first.port.submit_all(operations),
            Some(cluster) => {
                let refused = operations.into_iter().map(|each| cluster.submit(each));
                refused.collect::<Vec<_>>().into_iter().flatten().collect()
            }
        }
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        self.parts.config.l2.timeout_ms()
    }

    /// The pattern that a pushed key tells the removal of, if it does, and is not known yet.
    #[must_use]
    pub fn heard_mark(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.bus.heard_mark(key)
    }

    /// Flushes what was submitted.
    pub fn wake(&self) {
        match self.cluster.get() {
            None => self.first.port.wake(),
            Some(cluster) => cluster.wake(),
        }
    }

    /// The state of the links: that of the one that is furthest from being up.
    #[must_use]
    pub fn state(&self) -> LinkState {
        let far = |state: &LinkState| match state {
            LinkState::Up => 0,
            LinkState::Closed => 1,
            LinkState::Idle => 2,
            LinkState::Suspect => 3,
            LinkState::Recovering => 4,
            LinkState::Connecting => 5,
            LinkState::Down => 6,
        };
        if self.cluster.get().is_none() {
            return self.first.state();
        }
        let states = self.links().into_iter().map(|link| link.state());
        states.max_by_key(far).unwrap_or(LinkState::Idle)
    }

    /// Changes whenever a link's state does.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<u64> {
        self.shared.steps.subscribe()
    }

    /// Connects what is not connected yet.
    pub fn connect(&self) {
        for link in self.links() {
            link.control(Control::Connect);
        }
    }

    /// Forces memory mode for every link, or leaves it.
    pub fn set_memory_mode(&self, on: bool) {
        // Links that are made from now on know it by themselves.
        self.memory_mode.store(on, SeqCst);
        for link in self.links() {
            if on {
                link.port.shut();
            }
            link.control(Control::MemoryMode(on));
        }
    }

    /// Notes that what matches may still be at the server of a link, or, if that is gone, wherever its keys went.
    pub fn distrust_pattern(&self, link: &Arc<Link>, pattern: &[u8]) {
        let links = self.links();
        if links.iter().any(|each| Arc::ptr_eq(each, link)) {
            link.distrust_pattern(pattern);
            return;
        }
        for link in links {
            link.distrust_pattern(pattern);
        }
    }

    /// Lets every link finish what is in flight, at most a second, and stop for good; resolves when all have.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closed.store(true, SeqCst);
        let several = self.cluster.get().is_some();
        let closed = self.links().into_iter().map(|link| {
            let (done, closed) = oneshot::channel();
            link.control(Control::Close(done));
            closed
        });
        let closed: Vec<_> = closed.collect();
        let application = Arc::clone(&self.parts.application);
        async move {
            join_all(closed).await;
            if several {
                application.tell(Event::Closed);
            }
        }
    }

    /// Entries that wait for Redis, in all journals.
    #[must_use]
    pub fn journaled(&self) -> usize {
        self.links().iter().map(|link| link.port.journaled()).sum()
    }

    /// The tiers that serve: `partial` where only some of the links are in use.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        let modes = self.links().into_iter().map(|link| {
            let used = link.port.generation() != 0 && link.port.is_open();
            if used {
                link.status.lock().mode
            } else {
                Mode::Memory.as_str()
            }
        });
        common_mode(modes)
    }

    /// The mode as it was told by each of the links.
    fn told_mode(&self) -> &'static str {
        common_mode(self.links().iter().map(|link| link.status.lock().mode))
    }

    /// How changes of others are heard of, as far as all links do.
    #[must_use]
    pub fn hearing(&self) -> Hearing {
        let links = self.links();
        let all = links.iter().map(|link| link.status.lock().hearing.clone());
        let mut all: Vec<Hearing> = all.collect();
        let losses = all.iter().map(|hearing| hearing.losses).sum();
        let lag_ms = all.iter().filter_map(|hearing| hearing.lag_ms).max();
        let mute = all.iter_mut().find_map(|hearing| hearing.mute.take());
        // One subscription is for all; each server pushes for itself.
        if let Some((way, reason)) = self.shared.subscriber.state() {
            return Hearing {
                way,
                reason,
                mute,
                losses,
                lag_ms,
            };
        }
        let off = all.iter().position(|hearing| hearing.way == Way::Off);
        let shown = off.unwrap_or(0);
        Hearing {
            mute,
            losses,
            lag_ms,
            ..all.swap_remove(shown)
        }
    }

    /// Reads the figures of every link.
    pub fn each_status(&self, mut read: impl FnMut(&mut Status)) {
        for link in self.links() {
            read(&mut link.status.lock());
        }
    }

    /// How much of the plan is used, if one was given.
    #[must_use]
    pub fn quota_usage(&self) -> Option<Usage> {
        let quota = self.shared.quota.as_ref()?;
        Some(quota.lock().usage(clock::unix()))
    }
}

/// Cuts `keys` into those of one slot each, in their order.
pub(super) fn group_by_slot<K: AsRef<[u8]>>(keys: Vec<K>) -> Vec<Vec<K>> {
    let mut groups: Vec<(u16, Vec<K>)> = Vec::new();
    let mut at: ahash::HashMap<u16, usize> = ahash::HashMap::default();
    for key in keys {
        let slot = slot_of(key.as_ref());
        let group = *at.entry(slot).or_insert_with(|| {
            groups.push((slot, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(key);
    }
    groups.into_iter().map(|(_, keys)| keys).collect()
}

/// Where a request belongs.
#[must_use]
pub(super) fn slot_of_request(request: &Request) -> Option<u16> {
    match request {
        Request::Get(key) => Some(slot_of(key)),
        Request::Write(_, keys) => keys.first().map(|key| slot_of(key)),
        Request::Raw(cmd) => first_key(cmd).map(slot_of),
    }
}

/// The first key that a command names, as far as it is known where commands name keys. A wrong guess costs a redirection.
fn first_key(cmd: &Cmd) -> Option<&[u8]> {
    let words = commands::words(cmd);
    let name = words.first()?.to_ascii_uppercase();
    let at = match name.as_slice() {
        b"PING" | b"ECHO" | b"INFO" | b"DBSIZE" | b"SCAN" | b"TIME" | b"CLIENT" | b"CONFIG"
        | b"COMMAND" | b"PUBLISH" | b"SCRIPT" | b"FUNCTION" | b"CLUSTER" | b"FLUSHDB"
        | b"FLUSHALL" | b"LASTSAVE" | b"KEYS" | b"RANDOMKEY" | b"ACL" | b"LATENCY" | b"SLOWLOG"
        | b"ASKING" => return None,
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => 3,
        b"OBJECT" | b"MEMORY" | b"XGROUP" | b"XINFO" | b"BITOP" | b"ZUNION" | b"ZINTER"
        | b"ZDIFF" | b"SINTERCARD" | b"LMPOP" | b"ZMPOP" => 2,
        b"XREAD" | b"XREADGROUP" => {
            let streams = words
                .iter()
                .position(|word| word.eq_ignore_ascii_case(b"STREAMS"))?;
            streams + 1
        }
        _ => 1,
    };
    words.get(at).copied()
}

fn common_mode(modes: impl Iterator<Item = &'static str>) -> &'static str {
    let modes: Vec<&'static str> = modes.collect();
    let all = |mode: Mode| modes.iter().all(|each| *each == mode.as_str());
    for mode in [Mode::Tiered, Mode::Memory] {
        if all(mode) {
            return mode.as_str();
        }
    }
    let full = |mode: &str| mode != Mode::Memory.as_str() && mode != Mode::Partial.as_str();
    if modes.iter().all(|mode| full(mode)) {
        Mode::ReadsOnly.as_str()
    } else {
        Mode::Partial.as_str()
    }
}

/// Any server of the tier.
struct Anywhere(Weak<Tier>);

impl Locate for Anywhere {
    fn locate(
        &self,
        allowance: std::time::Duration,
    ) -> futures_util::future::BoxFuture<'_, Result<Endpoint, super::dialer::DialError>> {
        let tier = self.0.upgrade();
        Box::pin(async move {
            match tier {
                Some(tier) => match tier.cluster() {
                    Some(cluster) => Ok(cluster.any_node()),
                    None => tier.seeds.locate(allowance).await,
                },
                None => Err(super::dialer::DialError::new(
                    crate::resilience::backoff::Class::Transient,
                    "ECLOSED",
                    "the cache is closed",
                )),
            }
        })
    }
}

/// Tells the application what becomes of all links together.
pub(super) struct Voice(Weak<Tier>);

impl Application for Voice {
    fn tell(&self, event: Event) {
        let Some(tier) = self.0.upgrade() else { return };
        let application = &tier.parts.application;
        if tier.cluster.get().is_none() {
            if let Event::Mode { to, .. } = &event {
                *tier.mode.lock() = to;
            }
            application.tell(event);
            return;
        }
        match event {
            Event::Mode { reason, error, .. } => tier.tell_mode(reason, error),
            Event::Ready if tier.told_mode() == Mode::Memory.as_str() => (),
            Event::Ready if tier.told_mode() == Mode::Partial.as_str() => (),
            // Told once all are.
            Event::Closed => (),
            Event::Ready
            | Event::Reconnecting { .. }
            | Event::Warning { .. }
            | Event::Quota { .. } => application.tell(event),
        }
    }

    fn ask(&self, question: Question) -> oneshot::Receiver<String> {
        match self.0.upgrade() {
            Some(tier) => tier.parts.application.ask(question),
            None => oneshot::channel().1,
        }
    }
}

impl Tier {
    /// Tells that other tiers are in use now, if they are.
    pub(super) fn tell_mode(&self, reason: String, error: Option<super::status::LastError>) {
        let mut mode = self.mode.lock();
        let to = self.told_mode();
        let from = std::mem::replace(&mut *mode, to);
        if from != to {
            self.parts.application.tell(Event::Mode {
                from,
                to,
                reason,
                error,
            });
        }
    }
}
