//! The second tier as the cache sees it: one link, or, with a cluster, one for each master. Finds the link of a key, and
//! sums up what the links say of themselves.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use super::{
    Application, Control, Event, Link, Listener, Setting, Shared,
    cluster::{
        Cluster, Spot,
        slots::{group_by_slot, slot_of},
    },
    dialer::{DialError, Locate, Network},
    hearing::{Hearing, Way},
    inquiry::Asker,
    port::Operation,
    sentinel::Sentinels,
    status::{LastError, Status},
    supervisor,
    tls::TlsContext,
    voice::{self, Voice},
};
use crate::{
    clock,
    config::{Config, Endpoint, Redis, Topology},
    error::CacheError,
    resilience::{backoff::Class, journal::Journal, mode::Mode, quota::Usage, state::LinkState},
    telemetry::counters::Counters,
    tide::Tide,
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
    /// Turned whenever what was read over a link counts for something else.
    pub tide: Arc<Tide>,
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
    voice: Arc<Voice>,
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
        let shared = Shared::new(config, redis, Arc::clone(&parts.tide));
        let endpoint = redis.topology.to_string();
        let counters = Arc::clone(&parts.counters);
        let (first, controls) = Link::new(parts.cache, config, endpoint, &shared, counters);
        let tier = Arc::new_cyclic(|weak| Self {
            tls: tls.map(Arc::new),
            sentinels,
            shared,
            first,
            seeds: Arc::new(Spot::new(nodes)),
            cluster: OnceLock::new(),
            voice: Voice::new(Weak::clone(weak), Arc::clone(&parts.application)),
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
            application: Arc::<Voice>::clone(&self.voice),
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
        group_by_slot(keys, AsRef::as_ref)
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
            None => self.first.flush(),
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

    /// Tells of the mode of all links, if it is another.
    pub(super) fn tell_mode(&self, reason: String, error: Option<LastError>) {
        self.voice.tell_mode(self, reason, error);
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
        voice::common(modes)
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

    /// Whether changes of others under the key are heard of.
    #[must_use]
    pub fn hears(&self, key: &[u8]) -> bool {
        let way = match self.shared.subscriber.state() {
            Some((way, _)) => way,
            None => self.of(key).status.lock().hearing.way,
        };
        way != Way::Off
    }

    /// Whether the server tells of every change of the key by itself, of our own keys too.
    #[must_use]
    pub fn is_pushed(&self, key: &[u8]) -> bool {
        self.of(key).status.lock().hearing.way == Way::Tracking
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

/// Any server of the tier.
struct Anywhere(Weak<Tier>);

impl Locate for Anywhere {
    fn locate(&self, allowance: Duration) -> BoxFuture<'_, Result<Endpoint, DialError>> {
        let tier = self.0.upgrade();
        async move {
            let tier = tier.ok_or_else(|| {
                DialError::new(Class::Transient, "ECLOSED", "the cache is closed")
            })?;
            match tier.cluster() {
                Some(cluster) => Ok(cluster.any_node()),
                None => tier.seeds.locate(allowance).await,
            }
        }
        .boxed()
    }
}
