//! Hears what other processes publish on the channel, over a socket of its own, since a subscribed client falls under the
//! server's small limit for subscribers. One subscription is for all links of a cache; it outlives each of them.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use redis::ProtocolVersion;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Link, Setting,
    bus::{Change, Message},
    handshake::{self, Memory, Refusal},
    hearing::Way,
    port::DEAF_MS,
    status::LastError,
    subscription::Subscription,
};
use crate::{
    clock,
    resilience::{
        backoff::{Backoff, Class},
        classify::{Meaning, meaning},
        glob,
    },
};

/// How long connecting and subscribing may take.
const ALLOWANCE: Duration = Duration::from_secs(5);
/// How long it is left alone where it is refused.
const REFUSED: Duration = Duration::from_secs(3_600);

/// Hears what others publish while at least one link wants it.
pub struct Subscriber {
    task: Mutex<(usize, Option<JoinHandle<()>>)>,
    /// What is said of it.
    state: Mutex<(Way, Option<String>)>,
    /// The server it is at.
    place: Mutex<String>,
    /// It is to be at another one.
    left: Notify,
}

impl Default for Subscriber {
    fn default() -> Self {
        Self {
            task: Mutex::default(),
            state: Mutex::new((Way::Off, None)),
            place: Mutex::default(),
            left: Notify::new(),
        }
    }
}

impl Subscriber {
    /// One link more wants it. `untracked` is why the server does not tell by itself.
    pub(super) fn begin(
        &self,
        link: &Arc<Link>,
        setting: &Setting,
        protocol: ProtocolVersion,
        untracked: Option<String>,
    ) {
        let mut task = self.task.lock();
        task.0 += 1;
        if task.0 == 1 {
            *self.state.lock() = (Way::Off, Some("subscribing".to_owned()));
            let listening = listen(Arc::clone(link), setting.clone(), protocol, untracked);
            task.1 = Some(tokio::spawn(listening));
        }
    }

    /// One link less wants it.
    pub(super) fn end(&self) {
        let mut task = self.task.lock();
        task.0 -= 1;
        if task.0 == 0
            && let Some(task) = task.1.take()
        {
            task.abort();
            *self.state.lock() = (Way::Off, Some("Redis is not in use".to_owned()));
        }
    }

    /// What is said of it, if some link wants it.
    #[must_use]
    pub fn state(&self) -> Option<(Way, Option<String>)> {
        (self.task.lock().0 > 0).then(|| self.state.lock().clone())
    }

    /// Goes elsewhere unless the server that it is at stays one.
    pub(super) fn leave_unless(&self, stays: impl Fn(&str) -> bool) {
        let place = self.place.lock();
        if !place.is_empty() && !stays(&place) {
            self.left.notify_one();
        }
    }
}

/// Hears what others publish; to be aborted at its end.
async fn listen(
    link: Arc<Link>,
    setting: Setting,
    protocol: ProtocolVersion,
    untracked: Option<String>,
) {
    let mut memory = Memory::default();
    let mut backoff = Backoff::new();
    let mut missed_at = clock::now();
    loop {
        backoff.started(clock::now());
        let subscribed =
            timeout(ALLOWANCE, subscribe(&link, &setting, &mut memory, protocol)).await;
        let subscribed = subscribed.unwrap_or_else(|_| {
            let text = "no subscription within 5 s";
            Err(Refusal::new(
                Class::Transient,
                LastError::new("ETIMEDOUT", text),
            ))
        });
        let class = match subscribed {
            Ok(subscription) => {
                backoff.up(clock::now());
                backoff.good_read();
                // What was read before is as of then.
                setting.listener.missed(None);
                enter(&link, Way::Pubsub, untracked.clone());
                let pinged = || {
                    link.counters.l2_commands.fetch_add(1, Relaxed);
                };
                let take = |bytes: &[u8]| {
                    take(&link, &setting, bytes);
                    ControlFlow::Continue(())
                };
                let heard = subscription.hear(setting.config.health.interval, pinged, take);
                tokio::select! {
                    () = heard => (),
                    () = link.shared.subscriber.left.notified() => (),
                }
                backoff.lost(clock::now());
                link.note_loss();
                enter(
                    &link,
                    Way::Off,
                    Some("the subscription was lost".to_owned()),
                );
                setting.listener.missed(None);
                missed_at = clock::now();
                Class::Transient
            }
            Err(refusal) => {
                let reason = format!("no subscription: {}", refusal.error.message);
                enter(&link, Way::Off, Some(reason));
                if is_refused(&refusal) {
                    // As if it were switched off; somebody may change it some day.
                    sleep(REFUSED).await;
                    continue;
                }
                backoff.classify(refusal.failure)
            }
        };
        let delay = backoff.next(clock::now(), class, None, &mut fastrand::f64);
        sleep(Duration::from_millis(delay)).await;
        // What is read meanwhile is not kept current either.
        if clock::now() >= missed_at + DEAF_MS {
            setting.listener.missed(None);
            missed_at = clock::now();
        }
    }
}

/// Whether the server will not have us subscribe, however often it is asked.
fn is_refused(refusal: &Refusal) -> bool {
    let LastError { code, message, .. } = &refusal.error;
    match meaning(code, message) {
        Meaning::Forbidden => true,
        Meaning::Caller => message.contains("unknown command"),
        Meaning::NotReady
        | Meaning::DeletesOnly
        | Meaning::NoWrites
        | Meaning::Role
        | Meaning::Credentials
        | Meaning::Quota
        | Meaning::Capacity
        | Meaning::Setup
        | Meaning::OldProtocol
        | Meaning::WrongType
        | Meaning::Elsewhere => false,
    }
}

fn enter(link: &Link, way: Way, reason: Option<String>) {
    let mut status = link.status.lock();
    if link.shared.subscriber.state.lock().0 != way {
        status.event(format!("invalidation: {}", way.as_str()));
    }
    status.connections = if way == Way::Pubsub { 2 } else { 1 };
    drop(status);
    *link.shared.subscriber.state.lock() = (way, reason);
}

async fn subscribe(
    link: &Link,
    setting: &Setting,
    memory: &mut Memory,
    protocol: ProtocolVersion,
) -> Result<Subscription, Refusal> {
    let info = handshake::connection_info(setting, memory, protocol).await;
    let dialed = setting
        .dial_any
        .dial(&mut memory.last_good, ALLOWANCE)
        .await?;
    handshake::count_greeting(link, setting, &info);
    link.counters.l2_commands.fetch_add(1, Relaxed);
    let channel = &link.shared.bus.channel;
    let subscribed = Subscription::begin(dialed.stream, &info, channel).await;
    subscribed.map_err(|error| handshake::refusal(&error, protocol, setting.redis.tls.is_some()))
}

fn take(link: &Link, setting: &Setting, bytes: &[u8]) {
    let Some(message) = Message::decode(bytes) else {
        link.note_loss();
        setting.listener.missed(None);
        return;
    };
    if message.source == link.shared.bus.source {
        link.status.lock().hearing.lag_ms = Some(clock::now().saturating_sub(message.at));
        return;
    }
    let prefix = link.shared.bus.prefix.as_bytes();
    match message.change {
        Change::Keys(names) => {
            let keys: Vec<Vec<u8>> = names.iter().map(|name| [prefix, name].concat()).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            setting.listener.changed(&keys);
        }
        Change::Pattern(pattern) => {
            let escaped = glob::escape(prefix);
            setting.listener.removed(&[&escaped, pattern].concat());
        }
        Change::Unknown => setting.listener.missed(None),
    }
}
