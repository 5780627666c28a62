//! The layout of the cluster: when it is asked for, of whom, and what follows from it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::{ProtocolVersion, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    Cluster, Routes,
    handover::refuse,
    retire_idle,
    slots::{Layout, Node, tag_of},
};
use crate::{
    clock,
    config::Endpoint,
    l2::{
        Control, Link, Setting, commands,
        handshake::{self, Memory, Refusal},
        link::Connection,
        port::{Operation, Request, once},
        status::LastError,
        tier::Tier,
    },
    resilience::{backoff::Class, state::LinkState},
};

/// How often the layout is asked for while a link is down: at first, and after a while.
const TROUBLED: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// How long at first lasts.
const AT_FIRST: Duration = Duration::from_secs(15);
/// How rarely while no node answers.
const SELDOM: Duration = Duration::from_secs(5);
/// How often at least it is asked for.
const CALM: Duration = Duration::from_secs(300);
/// How soon it is asked for again at most.
const SPACING: Duration = Duration::from_millis(50);
/// How long one node may take to answer.
const ALLOWANCE: Duration = Duration::from_millis(500);
/// How many nodes are asked that are in use, before the others are.
const ASKED: usize = 2;

/// Asks for the layout whenever it may be another, as long as there is the cluster.
pub(super) async fn keep(cluster: Weak<Cluster>) {
    let mut trouble: Option<Instant> = None;
    let mut failures = 0;
    let mut memory = Memory::default();
    loop {
        let Some(strong) = cluster.upgrade() else {
            return;
        };
        let states: Vec<LinkState> = strong.links().iter().map(|link| link.state()).collect();
        if states.iter().all(|state| *state == LinkState::Closed) {
            return;
        }
        let is_idle = states.iter().all(|state| *state == LinkState::Idle);
        let is_well = |state: &LinkState| matches!(state, LinkState::Up | LinkState::Idle);
        let troubled = !is_idle && !states.iter().all(is_well);
        trouble = troubled.then(|| trouble.unwrap_or_else(Instant::now));
        let pause = match trouble {
            Some(since) if since.elapsed() < AT_FIRST => TROUBLED.0,
            Some(_) => TROUBLED.1,
            None => CALM,
        };
        let pause = (pause * 2_u32.pow(failures)).min(SELDOM.max(pause));
        let (wanted, mut steps) = (Arc::clone(&strong.wanted), strong.steps());
        drop(strong);
        // A link that is lost is a step.
        let lost = async {
            if troubled {
                std::future::pending::<()>().await;
            }
            let _ = steps.changed().await;
        };
        let asks = tokio::select! {
            () = wanted.notified() => true,
            () = sleep(pause) => true,
            () = lost => false,
        };
        let Some(strong) = cluster.upgrade().filter(|_| asks && !is_idle) else {
            continue;
        };
        let known = strong.refresh(&mut memory).await;
        drop(strong);
        failures = if known { 0 } else { (failures + 1).min(5) };
        sleep(SPACING).await;
    }
}

/// Learns the layout of the node that a link has just reached, if that is one of a cluster.
///
/// # Errors
/// If it does not answer, or serves no slots.
pub(in crate::l2) async fn learn(
    tier: &Arc<Tier>,
    link: &Arc<Link>,
    setting: &Setting,
    connection: &mut Connection,
) -> Result<(), Refusal> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("SLOTS");
    pipeline.cmd("CLUSTER").arg("MYID");
    let replies = handshake::exchange(link, setting, connection, &pipeline).await?;
    let Ok([slots, id]) = <[Value; 2]>::try_from(replies) else {
        return Ok(());
    };
    let asked = host_of(&link.status.lock().endpoint);
    let by_name = setting.redis.tls.is_some();
    let Some(layout) = Layout::read(slots, &asked, by_name).filter(|all| !all.ranges.is_empty())
    else {
        // No cluster, or one without slots yet.
        return Ok(());
    };
    let mut id = commands::bytes(id).and_then(|id| String::from_utf8(id).ok());
    if id.is_none() {
        id = ask_own_id(link, setting, connection).await?;
    }
    let cluster = tier.cluster_found();
    let serves = cluster.greet(link, id.as_deref().unwrap_or_default(), &layout);
    // A master without slots is there for those that are being moved to it.
    if serves || !link.status.lock().server.replica {
        return Ok(());
    }
    let text = "this node serves no slots: another one is asked";
    Err(Refusal::new(Class::Role, LastError::new("EMOVED", text)))
}

/// Who the node is, where CLUSTER MYID is not to be had: by its own line in CLUSTER NODES.
async fn ask_own_id(
    link: &Arc<Link>,
    setting: &Setting,
    connection: &mut Connection,
) -> Result<Option<String>, Refusal> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("NODES");
    let replies = handshake::exchange(link, setting, connection, &pipeline).await?;
    let text = replies.into_iter().next().and_then(commands::bytes);
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let text = text.unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split(' '));
    let own = lines.find_map(|mut words| {
        let id = words.next()?;
        words.nth(1)?.contains("myself").then(|| id.to_owned())
    });
    Ok(own)
}

fn host_of(endpoint: &str) -> String {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

impl Cluster {
    /// A link reached the node of this id, which told the layout; whether it serves slots there.
    fn greet(self: &Arc<Self>, link: &Arc<Link>, id: &str, layout: &Layout) -> bool {
        let masters = layout.ranges.iter().map(|range| &range.master);
        let mut node = masters.clone().find(|master| master.id == id).cloned();
        {
            let routes = self.routes.read();
            let mut shards = routes.shards.iter();
            if let Some(shard) = shards.find(|shard| Arc::ptr_eq(&shard.link, link)) {
                // A link that another node was meant for is of no use here.
                let mut here = shard.spot.node.lock();
                if id.is_empty() && here.is_some() {
                    // Nobody says who it is: it is where it is meant to be.
                    node.clone_from(&here);
                } else if here.is_none() {
                    here.clone_from(&node);
                }
            }
        }
        self.apply(layout);
        let routes = self.routes.read();
        let mut shards = routes.shards.iter();
        let shard = shards.find(|shard| Arc::ptr_eq(&shard.link, link));
        node.zip(shard)
            .is_some_and(|(node, shard)| shard.spot.is_at(&node))
    }

    /// Takes over a layout.
    fn apply(self: &Arc<Self>, layout: &Layout) {
        let masters = masters_of(layout);
        let mut fences: Vec<(Arc<Link>, Vec<u16>)> = Vec::new();
        {
            let mut routes = self.routes.write();
            routes.nodes.clone_from(&layout.nodes);
            for (node, slots) in &masters {
                let Some(to) = self.shard_for(&mut routes, node, slots, &masters) else {
                    return;
                };
                let mut moving: HashMap<u16, Vec<u16>> = HashMap::new();
                for slot in slots {
                    let owner = routes.owner[usize::from(*slot)];
                    if owner != to {
                        moving.entry(owner).or_default().push(*slot);
                    }
                }
                for (from, slots) in moving {
                    let source = routes.shards.get(usize::from(from));
                    let source = source.map(|shard| Arc::clone(&shard.link));
                    self.give_over(&mut routes, &slots, to);
                    let target = || Arc::clone(&routes.shards[usize::from(to)].link);
                    fences.push((source.unwrap_or_else(target), slots));
                }
                let link = &routes.shards[usize::from(to)].link;
                if let Some(slot) = slots.first()
                    && !link.is_at_home(slots)
                {
                    link.settle_in(tag_of(*slot));
                }
            }
            retire_idle(&mut routes);
        }
        for (from, slots) in fences {
            self.release_after(&from, slots, Duration::ZERO);
        }
        self.tell();
        self.renew_subscription(layout);
    }

    /// The number of the shard that serves these slots at `node`: the one that is there; else one that is cut off from a
    /// node that is no master any more, which goes there with its journal; else a new one.
    fn shard_for(
        &self,
        routes: &mut Routes,
        node: &Node,
        slots: &[u16],
        masters: &[(Node, Vec<u16>)],
    ) -> Option<u16> {
        if let Some(at) = routes
            .shards
            .iter()
            .position(|shard| shard.spot.is_at(node))
        {
            let shard = &routes.shards[at];
            let before = shard.spot.node.lock().replace(node.clone());
            if before.is_some_and(|before| before.endpoint != node.endpoint) {
                shard.link.control(Control::Moved);
            }
            return u16::try_from(at).ok();
        }
        let serves = |at: usize| {
            let at = u16::try_from(at).ok();
            slots
                .iter()
                .any(|slot| Some(routes.owner[usize::from(*slot)]) == at)
        };
        let stranded = routes.shards.iter().enumerate().position(|(at, shard)| {
            let there = shard.spot.node();
            let is_master =
                there.is_some_and(|there| masters.iter().any(|(node, _)| node.is(&there)));
            !is_master && shard.link.port.generation() == 0 && serves(at)
        });
        if let Some(at) = stranded {
            let shard = &routes.shards[at];
            *shard.spot.node.lock() = Some(node.clone());
            shard.link.control(Control::Moved);
            return u16::try_from(at).ok();
        }
        self.shard_at(routes, node)
    }

    /// Asks nodes for the layout, until one tells it: some that are in use, then every one that is known. Whether one did.
    async fn refresh(self: &Arc<Self>, memory: &mut Memory) -> bool {
        let mut links = self.links();
        links.retain(|link| link.state() == LinkState::Up);
        fastrand::shuffle(&mut links);
        let hint = self.hint.lock().take();
        for link in hint.into_iter().chain(links).take(ASKED) {
            let host = host_of(&link.status.lock().endpoint);
            if let Some(reply) = ask(&link).await
                && self.took(reply, &host)
            {
                return true;
            }
        }
        let mut nodes: Vec<Endpoint> = self.routes.read().nodes.clone();
        nodes.extend(self.seeds.given.iter().cloned());
        nodes.sort_by_key(ToString::to_string);
        nodes.dedup();
        fastrand::shuffle(&mut nodes);
        let protocol = ProtocolVersion::RESP2;
        let info = handshake::connection_info(&self.setting, memory, protocol).await;
        let link = Arc::clone(&self.routes.read().shards[0].link);
        let mut pipeline = redis::pipe();
        pipeline.cmd("CLUSTER").arg("SLOTS");
        for node in nodes {
            handshake::count_greeting(&link, &self.setting, &info);
            link.counters.l2_commands.fetch_add(1, Relaxed);
            let asked = self.asker.ask(&node, &info, &pipeline, ALLOWANCE).await;
            let reply = asked.ok().and_then(|mut replies| replies.pop());
            if let Some(reply) = reply
                && self.took(reply, &host_of(&node.to_string()))
            {
                return true;
            }
        }
        false
    }

    /// Subscribes anew if the node of the subscription is none of the cluster's any more.
    fn renew_subscription(&self, layout: &Layout) {
        let subscriber = &self.routes.read().shards[0].link.shared.subscriber;
        subscriber.leave_unless(|place| layout.nodes.iter().any(|node| node.to_string() == place));
    }

    /// Whether an answer was a layout, which counts from now on.
    fn took(self: &Arc<Self>, reply: Value, asked: &str) -> bool {
        let by_name = self.setting.redis.tls.is_some();
        let layout = Layout::read(reply, asked, by_name).filter(|all| !all.ranges.is_empty());
        if let Some(layout) = &layout {
            self.apply(layout);
        }
        layout.is_some()
    }
}

/// Asks over a link that is in use.
async fn ask(link: &Arc<Link>) -> Option<Value> {
    let (sender, reply) = oneshot::channel();
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let operation = Operation {
        request: Request::Raw(slots),
        deadline: clock::now() + clock::millis(ALLOWANCE),
        settle: once(move |reply| {
            let _ = sender.send(reply);
        }),
        tries: 0,
    };
    if let Some(refused) = link.port.submit(operation) {
        refuse(vec![refused]);
    }
    link.port.wake();
    reply.await.ok()?.ok()
}

/// The masters, each with its slots.
fn masters_of(layout: &Layout) -> Vec<(Node, Vec<u16>)> {
    let mut masters: Vec<(Node, Vec<u16>)> = Vec::new();
    for range in &layout.ranges {
        let slots = range.first..=range.last;
        let known = masters.iter_mut().find(|(node, _)| node.is(&range.master));
        match known {
            Some((_, all)) => all.extend(slots),
            None => masters.push((range.master.clone(), slots.collect())),
        }
    }
    masters
}
