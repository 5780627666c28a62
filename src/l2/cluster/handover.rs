//! Gives slots over to another master: what belongs to them waits until all that is on its way to the old one has been
//! answered, so that the changes of a key arrive in the order in which they were made.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{sync::oneshot, time::sleep};

use super::{
    Cluster, Routes, Shard, retire_idle,
    slots::{self, Node},
};
use crate::{
    clock,
    config::Endpoint,
    l2::{
        Link,
        port::{Failure, Late, Operation, Request, once},
    },
    resilience::{glob, journal::Scope},
};

/// How often an operation is sent to yet another node.
const MAX_TRIES: u32 = 16;
/// Redirected more often than this, a slot waits a little: its masters do not agree yet.
const PATIENT_TRIES: u32 = 2;
/// How long it waits.
const REST: Duration = Duration::from_millis(25);
/// How often it is looked who waits longer than its deadline.
const WATCH_MS: u64 = 25;

/// What waits for a slot that is being given over.
#[derive(Default)]
pub(super) struct Held {
    /// What the old master sent away, in the order in which it was asked.
    redirected: Vec<Operation>,
    /// What came since.
    pub(super) waiting: Vec<Operation>,
}

impl Cluster {
    /// `from` says that `slot` is served at `endpoint`, to all these operations.
    pub(in crate::l2) fn moved(
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
            let node = Node::at(endpoint);
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
    pub(in crate::l2) fn ask(
        self: &Arc<Self>,
        slot: u16,
        endpoint: Endpoint,
        operation: Operation,
    ) {
        let Some(operation) = not_too_often(vec![operation]).pop() else {
            return;
        };
        let refused = {
            let mut routes = self.routes.write();
            let node = Node::at(endpoint);
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
    pub(in crate::l2) fn again(
        self: &Arc<Self>,
        from: &Arc<Link>,
        slot: u16,
        operations: Vec<Operation>,
    ) {
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
    pub(super) fn give_over(&self, routes: &mut Routes, slots: &[u16], to: u16) {
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
        self.tide.turn();
    }

    /// Lets go of what waits for `slots` once all that is queued for `from` now has been answered, however late, or its link
    /// is gone, and `rest` has passed. Who waits longer than its deadline is told so.
    pub(super) fn release_after(
        self: &Arc<Self>,
        from: &Arc<Link>,
        slots: Vec<u16>,
        rest: Duration,
    ) {
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
}

/// Those that may be sent once more; the others end.
fn not_too_often(operations: Vec<Operation>) -> Vec<Operation> {
    let (again, ended): (Vec<_>, Vec<_>) = operations
        .into_iter()
        .partition(|operation| operation.tries <= MAX_TRIES);
    refuse(ended);
    again
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

pub(super) fn refuse(operations: Vec<Operation>) {
    for operation in operations {
        operation.refuse(Failure::Unavailable);
    }
}
