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
    time::sleep,
};

use self::slots::{Node, SLOTS};
use super::{
    Link, Setting,
    dialer::{DialError, Locate},
    inquiry::Asker,
    port::{Failure, Late, Operation, Request, once},
    tier::{Tier, slot_of_request},
};
use crate::{
    clock,
    config::Endpoint,
    resilience::{glob, journal::Scope},
};

/// How often an operation is sent to yet another node.
const MAX_TRIES: u32 = 16;
/// How long a master without slots is kept to which slots are being moved.
const ASKED_MS: u64 = 60_000;
/// Redirected more often than this, a slot waits a little: its masters do not agree yet.
const PATIENT_TRIES: u32 = 2;
/// How often it is looked who waits longer than its deadline.
const WATCH_MS: u64 = 25;
/// How long it waits.
const REST: Duration = Duration::from_millis(25);

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

/// What waits for a slot that is being given over.
#[derive(Default)]
struct Held {
    /// What the old master sent away, in the order in which it was asked.
    redirected: Vec<Operation>,
    /// What came since.
    waiting: Vec<Operation>,
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

    /// `from` says that `slot` is served at `endpoint`, to all these operations.
    pub(super) fn moved(
        self: &Arc<Self>,
        from: &Arc<Link>,
        slot: u16,
        endpoint: Endpoint,
        operations: Vec<Operation>,
    ) {
        let operations = not_too_often(operations);
        let rests = operations.iter().any(|each| each.tries > PATIENT_TRIES);
        let refused = {
            let mut routes = self.routes.write();
            let node = Node {
                id: String::new(),
                endpoint,
                alias: None,
            };
            let Some(to) = self.shard_at(&mut routes, &node) else {
                drop(routes);
                return refuse(operations);
            };
            *self.hint.lock() = Some(Arc::clone(&routes.shards[usize::from(to)].link));
            let owner = routes.owner[usize::from(slot)];
            let is_owner = Arc::ptr_eq(&routes.shard(slot).link, from);
            if let Some(held) = routes.held.get_mut().get_mut(&slot) {
                held.redirected.extend(operations);
                Vec::new()
            } else if rests || (is_owner && owner != to) {
                self.give_over(&mut routes, &[slot], to);
                if let Some(held) = routes.held.get_mut().get_mut(&slot) {
                    held.redirected = operations;
                }
                self.release_after(from, vec![slot], if rests { REST } else { Duration::ZERO });
                Vec::new()
            } else {
                let link = &routes.shards[usize::from(to)].link;
                link.port.submit_all(operations)
            }
        };
        self.wake();
        self.doubt();
        refuse(refused);
    }

    /// `from` says that this one operation is to be sent to `endpoint`.
    pub(super) fn ask(self: &Arc<Self>, slot: u16, endpoint: Endpoint, operation: Operation) {
        let Some(operation) = not_too_often(vec![operation]).pop() else {
            return;
        };
        let refused = {
            let mut routes = self.routes.write();
            let node = Node {
                id: String::new(),
                endpoint,
                alias: None,
            };
            if let Some(held) = routes.held.get_mut().get_mut(&slot) {
                held.redirected.push(operation);
                Vec::new()
            } else if let Some(to) = self.shard_at(&mut routes, &node) {
                let asking = Operation {
                    request: Request::Raw(redis::cmd("ASKING")),
                    deadline: operation.deadline,
                    settle: once(|_| ()),
                    tries: 0,
                };
                let alone = Operation {
                    request: as_raw(operation.request),
                    ..operation
                };
                let Shard { link, asked_at, .. } = &routes.shards[usize::from(to)];
                asked_at.store(clock::now(), SeqCst);
                link.port.submit_all(vec![asking, alone])
            } else {
                vec![operation]
            }
        };
        self.wake();
        refuse(refused);
    }

    /// `from` cannot say yet what these operations ask: their slot waits a moment.
    pub(super) fn again(self: &Arc<Self>, from: &Arc<Link>, slot: u16, operations: Vec<Operation>) {
        let operations = not_too_often(operations);
        let mut routes = self.routes.write();
        let held = routes.held.get_mut();
        if let Some(held) = held.get_mut(&slot) {
            held.redirected.extend(operations);
            return;
        }
        let waits = Held {
            redirected: operations,
            waiting: Vec::new(),
        };
        held.insert(slot, waits);
        self.holding.fetch_add(1, SeqCst);
        drop(routes);
        self.release_after(from, vec![slot], REST);
    }

    /// Makes slots another shard's: what is journaled of them goes along, and what is asked of them waits from now on.
    fn give_over(&self, routes: &mut Routes, slots: &[u16], to: u16) {
        let scope = Scope::new(slots::slot_of, slots);
        let prefix = self.setting.config.prefix.as_bytes();
        let everything = [&glob::escape(prefix), &b"*"[..]].concat();
        let everything = (!prefix.is_empty()).then_some(&everything[..]);
        let mut from: Vec<u16> = slots
            .iter()
            .map(|slot| routes.owner[usize::from(*slot)])
            .collect();
        from.sort_unstable();
        from.dedup();
        let target = &routes.shards[usize::from(to)].link;
        for from in from.into_iter().filter(|from| *from != to) {
            let Some(source) = routes.shards.get(usize::from(from)) else {
                continue;
            };
            let mut old = source.link.journal.lock();
            let mut new = target.journal.lock();
            new.take_over(&mut old, &scope, everything);
            source.link.port.note_journal(&old);
            target.port.note_journal(&new);
        }
        let held = routes.held.get_mut();
        for slot in slots {
            routes.owner[usize::from(*slot)] = to;
            held.entry(*slot).or_insert_with(|| {
                self.holding.fetch_add(1, SeqCst);
                Held::default()
            });
        }
    }

    /// Lets go of what waits for `slots` once all that is queued for `from` now has been answered, however late, or its link
    /// is gone, and `rest` has passed. Who waits longer than its deadline is told so.
    fn release_after(self: &Arc<Self>, from: &Arc<Link>, slots: Vec<u16>, rest: Duration) {
        let (cluster, from) = (Arc::clone(self), Arc::clone(from));
        let (done, ended) = oneshot::channel();
        let timeout = self.tier.upgrade().map_or(0, |tier| tier.timeout_ms());
        let fence = Operation {
            request: Request::Raw(redis::cmd("PING")),
            deadline: clock::now() + timeout,
            settle: Box::new(move |reply| {
                let late = move |_| {
                    let _ = done.send(());
                };
                if reply == Err(Failure::Timeout) {
                    return Some(Box::new(late) as Late);
                }
                late(reply);
                None
            }),
            tries: 0,
        };
        // Not under the lock: what is refused may ask for routes.
        self.runtime.spawn(async move {
            refuse(from.port.submit_behind(fence).into_iter().collect());
            from.port.wake();
            let answered = async {
                let _ = ended.await;
                sleep(rest).await;
            };
            tokio::pin!(answered);
            loop {
                let next = cluster.expire(&slots);
                let pause = next.saturating_sub(clock::now());
                tokio::select! {
                    () = &mut answered => break,
                    () = sleep(Duration::from_millis(pause.max(1))) => (),
                }
            }
            cluster.release(&slots);
        });
    }

    fn release(self: &Arc<Self>, slots: &[u16]) {
        let mut refused = Vec::new();
        {
            let mut routes = self.routes.write();
            for slot in slots {
                let Some(held) = routes.held.get_mut().remove(slot) else {
                    continue;
                };
                self.holding.fetch_sub(1, SeqCst);
                let mut operations = held.redirected;
                operations.extend(held.waiting);
                let link = &routes.shard(*slot).link;
                refused.extend(link.port.submit_all(operations));
            }
            retire_idle(&mut routes);
        }
        self.wake();
        refuse(refused);
        self.tell();
    }

    /// Ends those who wait for `slots` longer than their deadlines; when the next of them will have.
    fn expire(&self, slots: &[u16]) -> u64 {
        let now = clock::now();
        let (mut late, mut next) = (Vec::new(), now + WATCH_MS);
        {
            let routes = self.routes.read();
            let mut held = routes.held.lock();
            for slot in slots {
                let Some(held) = held.get_mut(slot) else {
                    continue;
                };
                for list in [&mut held.redirected, &mut held.waiting] {
                    let is_late = |operation: &Operation| operation.deadline <= now;
                    let (over, rest): (Vec<_>, Vec<_>) =
                        std::mem::take(list).into_iter().partition(is_late);
                    late.extend(over);
                    *list = rest;
                    next = list.iter().map(|each| each.deadline).fold(next, u64::min);
                }
            }
        }
        for operation in late {
            operation.refuse(Failure::Timeout);
        }
        next
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

/// Those that may be sent once more; the others end.
fn not_too_often(operations: Vec<Operation>) -> Vec<Operation> {
    let (again, ended): (Vec<_>, Vec<_>) = operations
        .into_iter()
        .partition(|operation| operation.tries <= MAX_TRIES);
    refuse(ended);
    again
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
            shard.link.control(super::Control::Close(done));
        }
    }
    routes.shards = kept;
    for owner in &mut routes.owner {
        if let Some(number) = numbers.get(usize::from(*owner)) {
            *owner = u16::try_from(*number).unwrap_or(u16::MAX);
        }
    }
}

/// A read on its own, which nothing joins.
fn as_raw(request: Request) -> Request {
    match request {
        Request::Get(key) => {
            let mut get = redis::cmd("GET");
            get.arg(&*key);
            Request::Raw(get)
        }
        Request::Write(cmd, _) | Request::Raw(cmd) => Request::Raw(cmd),
    }
}

fn refuse(operations: Vec<Operation>) {
    for operation in operations {
        operation.refuse(Failure::Unavailable);
    }
}
