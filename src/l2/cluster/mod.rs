//! A cluster: one link for each master, and who serves which slot. Finds the link of a slot, gives slots that move to
//! another master over without changing the order of what is sent, and asks the nodes for the layout when it may have
//! changed.
//!
//! | what happens | what is done |
//! |---|---|
//! | MOVED | the slot is the other master's from now on; what waits for it is sent once all that is on its way to the old one is answered |
//! | ASK | this one command is sent to the other master |
//! | TRYAGAIN | what belongs to the slot waits a moment |
//! | a link is lost, a slot was moved, CLUSTERDOWN | a node that answers is asked for the layout, again and again while a link is down |
//! | another node serves the slots of a link that is down | the link connects there: its journal comes with it |
//! | a master has no slots any more | its link is closed |

mod handover;
mod keys;
pub(super) mod layout;
pub mod slots;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
};

pub(super) use self::keys::slot_of_request;
use self::{
    handover::Held,
    slots::{Node, SLOTS},
};
use super::{
    Control, Link, Setting,
    dialer::{DialError, Locate},
    inquiry::Asker,
    port::Operation,
    tier::Tier,
};
use crate::{clock, config::Endpoint, tide::Tide};

/// How long a master without slots is kept to which slots are being moved.
const ASKED_MS: u64 = 60_000;

/// Where a link leads: a node, or, while none was named, the nodes that were given, in turn.
pub struct Spot {
    given: Vec<Endpoint>,
    next: AtomicUsize,
    node: Mutex<Option<Node>>,
}

impl Spot {
    /// Of these nodes.
    #[must_use]
    pub fn new(given: Vec<Endpoint>) -> Self {
        Self {
            given,
            next: AtomicUsize::new(0),
            node: Mutex::default(),
        }
    }

    fn at(node: Node) -> Arc<Self> {
        let spot = Self::new(Vec::new());
        *spot.node.lock() = Some(node);
        Arc::new(spot)
    }

    fn node(&self) -> Option<Node> {
        self.node.lock().clone()
    }

    fn is_at(&self, node: &Node) -> bool {
        let here = self.node.lock();
        here.as_ref().is_some_and(|here| here.is(node))
    }
}

impl Node {
    /// Whatever is there.
    fn at(endpoint: Endpoint) -> Self {
        Self {
            id: String::new(),
            endpoint,
            alias: None,
        }
    }

    /// Whether these are the same, by what is known of them.
    fn is(&self, other: &Self) -> bool {
        let named = !self.id.is_empty() && !other.id.is_empty();
        if named {
            self.id == other.id
        } else {
            self.endpoint == other.endpoint
                || self.alias.as_ref() == Some(&other.endpoint)
                || other.alias.as_ref() == Some(&self.endpoint)
        }
    }
}

impl Locate for Spot {
    fn locate(&self, _allowance: Duration) -> BoxFuture<'_, Result<Endpoint, DialError>> {
        let endpoint = match &*self.node.lock() {
            Some(node) => node.endpoint.clone(),
            None => self.given[self.next.fetch_add(1, SeqCst) % self.given.len()].clone(),
        };
        std::future::ready(Ok(endpoint)).boxed()
    }
}

/// A master's link.
#[derive(Clone)]
struct Shard {
    link: Arc<Link>,
    spot: Arc<Spot>,
    /// When something was asked there that belongs elsewhere still.
    asked_at: Arc<AtomicU64>,
}

struct Routes {
    shards: Vec<Shard>,
    /// The shard of each slot.
    owner: Box<[u16]>,
    /// Every node that is known, replicas too.
    nodes: Vec<Endpoint>,
    held: Mutex<HashMap<u16, Held>>,
}

impl Routes {
    fn shard(&self, slot: u16) -> &Shard {
        let at = usize::from(self.owner[usize::from(slot)]);
        self.shards.get(at).unwrap_or(&self.shards[0])
    }
}

/// The masters of a cluster.
pub struct Cluster {
    tier: Weak<Tier>,
    routes: RwLock<Routes>,
    /// How many slots are being given over.
    holding: AtomicUsize,
    /// The layout may have changed.
    wanted: Arc<Notify>,
    /// Who knows of the last change.
    hint: Mutex<Option<Arc<Link>>>,
    seeds: Arc<Spot>,
    asker: Asker,
    setting: Setting,
    tide: Arc<Tide>,
    runtime: Handle,
}

impl Cluster {
    /// A cluster of which nothing is known yet, beside the link that found it.
    pub(super) fn new(
        tier: Weak<Tier>,
        first: Arc<Link>,
        seeds: Arc<Spot>,
        asker: Asker,
        setting: Setting,
        runtime: &Handle,
    ) -> Arc<Self> {
        slots::prepare();
        // Its slots are known once it owns some.
        first.settle_in(String::new());
        let tide = Arc::clone(&first.shared.tide);
        let shard = Shard {
            link: first,
            spot: Arc::clone(&seeds),
            asked_at: Arc::default(),
        };
        let cluster = Arc::new(Self {
            tier,
            routes: RwLock::new(Routes {
                shards: vec![shard],
                owner: vec![0; usize::from(SLOTS)].into(),
                nodes: Vec::new(),
                held: Mutex::default(),
            }),
            holding: AtomicUsize::new(0),
            wanted: Arc::default(),
            hint: Mutex::default(),
            seeds,
            asker,
            setting,
            tide,
            runtime: runtime.clone(),
        });
        runtime.spawn(layout::keep(Arc::downgrade(&cluster)));
        cluster
    }

    /// The link of a slot.
    #[must_use]
    pub fn link_of(&self, slot: u16) -> Arc<Link> {
        Arc::clone(&self.routes.read().shard(slot).link)
    }

    /// Looks at the link of a slot, which stays so meanwhile. `look` must not ask for routes.
    pub fn with_link<T>(&self, slot: u16, look: impl FnOnce(&Link) -> T) -> T {
        look(&self.routes.read().shard(slot).link)
    }

    /// Every link.
    #[must_use]
    pub fn links(&self) -> Vec<Arc<Link>> {
        let routes = self.routes.read();
        let links = routes.shards.iter().map(|shard| Arc::clone(&shard.link));
        links.collect()
    }

    /// A node that is in use, if one is, else any.
    #[must_use]
    pub fn any_node(&self) -> Endpoint {
        let routes = self.routes.read();
        let up = |shard: &&Shard| shard.link.port.generation() != 0;
        let mut nodes: Vec<Endpoint> = routes
            .shards
            .iter()
            .filter(up)
            .filter_map(|shard| shard.spot.node().map(|node| node.endpoint))
            .collect();
        if nodes.is_empty() {
            nodes.extend(routes.nodes.iter().chain(&self.seeds.given).cloned());
        }
        nodes.swap_remove(fastrand::usize(..nodes.len()))
    }

    /// Wakes the task of every link that has something to do.
    pub fn wake(&self) {
        for shard in &self.routes.read().shards {
            shard.link.port.wake_if_queued();
        }
    }

    /// Queues an operation for the link of its key, or gives it back if there is none to wait for.
    #[must_use]
    pub fn submit(&self, operation: Operation) -> Option<Operation> {
        let slot = slot_of_request(&operation.request);
        let routes = self.routes.read();
        let Some(slot) = slot else {
            let open = routes.shards.iter().find(|shard| shard.link.port.is_open());
            let shard = open.unwrap_or(&routes.shards[0]);
            return shard.link.port.submit(operation);
        };
        if self.holding.load(SeqCst) > 0
            && let Some(held) = routes.held.lock().get_mut(&slot)
        {
            held.waiting.push(operation);
            return None;
        }
        routes.shard(slot).link.port.submit(operation)
    }

    /// Tells the mode, which may be another with links that are gone.
    fn tell(&self) {
        if let Some(tier) = self.tier.upgrade() {
            tier.tell_mode("the layout of the cluster changed".to_owned(), None);
        }
    }

    /// The layout may be another than is known.
    pub(super) fn doubt(&self) {
        self.wanted.notify_one();
    }

    /// Changes whenever a link's state does.
    fn steps(&self) -> watch::Receiver<u64> {
        self.routes.read().shards[0].link.shared.steps.subscribe()
    }

    /// The number of the shard at a node, which is made if there is none.
    fn shard_at(&self, routes: &mut Routes, node: &Node) -> Option<u16> {
        let found = routes
            .shards
            .iter()
            .position(|shard| shard.spot.is_at(node));
        if let Some(at) = found {
            return u16::try_from(at).ok();
        }
        let tier = self.tier.upgrade()?;
        let spot = Spot::at(node.clone());
        let link = tier.link_to(&spot, node.endpoint.to_string());
        // Its slots are known once it owns some.
        link.settle_in(String::new());
        let asked_at = Arc::default();
        routes.shards.push(Shard {
            link,
            spot,
            asked_at,
        });
        u16::try_from(routes.shards.len() - 1).ok()
    }
}

/// Closes the links that have no slots and nothing to give over.
fn retire_idle(routes: &mut Routes) {
    if !routes.held.get_mut().is_empty() || routes.nodes.is_empty() {
        return;
    }
    let mut used = vec![false; routes.shards.len()];
    for owner in &routes.owner {
        if let Some(used) = used.get_mut(usize::from(*owner)) {
            *used = true;
        }
    }
    if !used.contains(&true) {
        return;
    }
    let now = clock::now();
    for (shard, used) in routes.shards.iter().zip(&mut used) {
        let asked_at = shard.asked_at.load(SeqCst);
        *used |= shard.link.port.is_busy() || (asked_at != 0 && now < asked_at + ASKED_MS);
    }
    if used.iter().all(|used| *used) {
        return;
    }
    let mut numbers = Vec::new();
    let mut kept = Vec::new();
    for (shard, used) in routes.shards.drain(..).zip(&used) {
        numbers.push(kept.len());
        if *used {
            kept.push(shard);
        } else {
            let (done, _) = oneshot::channel();
            shard.link.control(Control::Close(done));
        }
    }
    routes.shards = kept;
    for owner in &mut routes.owner {
        if let Some(number) = numbers.get(usize::from(*owner)) {
            *owner = u16::try_from(*number).unwrap_or(u16::MAX);
        }
    }
}
