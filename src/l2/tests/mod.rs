//! The link against a server in memory, on paused time: hours of outage in milliseconds. Every test is a story; what
//! its names promise is what `resilience` rules, seen from outside: states, commands at the server, settled operations.

mod answers;
mod cuts;
mod epochs;
mod hearing;
mod patience;
mod random;
mod server;
mod stories;
mod wire;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use redis::Value as Said;
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use self::server::{Road, Server};
use super::{
    Application, Control, Event, Link, Listener, Question, Setting, Shared,
    port::{Failure, Operation, Reply, Request},
    supervisor,
};
use crate::{
    clock, config::Config, resilience::state::LinkState, telemetry::counters::Counters, tide::Tide,
};

const MINUTE: u64 = 60_000;

/// An application that takes note.
#[derive(Default)]
struct Ear {
    told: Mutex<Vec<Event>>,
    /// What others changed.
    heard: Mutex<Vec<String>>,
}

impl Application for Ear {
    fn tell(&self, event: Event) {
        self.told.lock().push(event);
    }

    fn ask(&self, _question: Question) -> oneshot::Receiver<String> {
        oneshot::channel().1
    }
}

impl Listener for Ear {
    fn changed(&self, keys: &[&[u8]]) {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| String::from_utf8_lossy(key))
            .collect();
        self.heard.lock().push(keys.join(" "));
    }

    fn removed(&self, pattern: &[u8]) {
        let pattern = String::from_utf8_lossy(pattern);
        self.heard.lock().push(format!("removed {pattern}"));
    }

    fn missed(&self, _link: Option<&Link>) {
        self.heard.lock().push("missed".to_owned());
    }
}

/// A link to a server in memory.
struct Story {
    server: Arc<Server>,
    link: Arc<Link>,
    ear: Arc<Ear>,
    timeout_ms: u64,
}

impl Story {
    /// Begins with a server that accepts or not, and the given options beside `redis`.
    fn begin(server: Arc<Server>, mut options: Value) -> Self {
        if options["redis"].is_null() {
            options["redis"] = json!({ "host": "memory" });
        }
        if options["namespace"].is_null() {
            options["namespace"] = json!("t");
        }
        if options["invalidation"].is_null() {
            options["invalidation"] = json!("off");
        }
        let config = Arc::new(Config::parse(&options.to_string()).expect("sound options"));
        let redis = Arc::new(config.redis.clone().expect("redis was given"));
        let counters = Arc::new(Counters::default());
        let shared = Shared::new(&config, &redis, Tide::new());
        let endpoint = redis.topology.to_string();
        let (link, controls) = Link::new(0, &config, endpoint, &shared, counters);
        let ear = Arc::new(Ear::default());
        let timeout_ms = config.l2.timeout_ms();
        let setting = Setting {
            config,
            redis,
            application: Arc::<Ear>::clone(&ear),
            dial: Arc::new(Road(Arc::clone(&server))),
            dial_any: Arc::new(Road(Arc::clone(&server))),
            sentinels: None,
            tier: Weak::new(),
            listener: Arc::<Ear>::clone(&ear),
        };
        let memory_mode = setting.config.memory_mode;
        let runtime = Handle::current();
        supervisor::start(&runtime, Arc::clone(&link), controls, setting, memory_mode);
        Self {
            server,
            link,
            ear,
            timeout_ms,
        }
    }

    /// Begins and waits until the link is up.
    async fn up(server: Arc<Server>, options: Value) -> Self {
        let story = Self::begin(server, options);
        story.until(LinkState::Up).await;
        story.server.take_asked();
        story
    }

    /// Waits for a state, an hour at most; gives the ms it took.
    async fn until(&self, wanted: LinkState) -> u64 {
        let from = clock::now();
        let mut states = self.link.state.subscribe();
        let reached = states.wait_for(|state| *state == wanted);
        let reached = tokio::time::timeout(Duration::from_secs(3_600), reached).await;
        assert!(reached.is_ok(), "{wanted:?} was not reached within an hour");
        clock::now() - from
    }

    fn is_used(&self) -> bool {
        matches!(self.link.state(), LinkState::Up | LinkState::Suspect)
    }

    /// Waits until the link is lost, an hour at most; gives the ms it took. Nobody need see it down: the first try to connect
    /// may be made at once.
    async fn until_lost(&self) -> u64 {
        let from = clock::now();
        while self.is_used() {
            pass(1).await;
            assert!(clock::now() - from <= 60 * MINUTE, "it was not lost");
        }
        clock::now() - from
    }

    /// Queues an operation; its end and what came late, if anything does.
    fn ask(&self, request: Request) -> (oneshot::Receiver<Reply>, oneshot::Receiver<Reply>) {
        let (end, ended) = oneshot::channel();
        let (late, came_late) = oneshot::channel();
        let operation = Operation {
            request,
            deadline: clock::now() + self.timeout_ms,
            settle: Box::new(move |reply| {
                let _ = end.send(reply);
                Some(Box::new(move |reply| {
                    let _ = late.send(reply);
                }))
            }),
            tries: 0,
        };
        if let Some(refused) = self.link.port.submit(operation) {
            refused.refuse(Failure::Unavailable);
        }
        self.link.port.wake();
        (ended, came_late)
    }

    async fn get(&self, key: &str) -> Reply {
        self.ask(Request::Get(key.as_bytes().into()))
            .0
            .await
            .expect("every operation settles")
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.ear.told.lock())
    }

    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.link.control(Control::Close(done));
        let _ = closed.await;
    }
}

fn text(value: &str) -> Said {
    Said::BulkString(value.into())
}

fn unlink(key: &str) -> redis::Cmd {
    super::commands::unlink(&[key.as_bytes()])
}

/// The modes that were told.
fn modes(events: &[Event]) -> Vec<&'static str> {
    let modes = events.iter().filter_map(|event| match event {
        Event::Mode { to, .. } => Some(*to),
        Event::Ready
        | Event::Reconnecting { .. }
        | Event::Warning { .. }
        | Event::Quota { .. }
        | Event::Closed => None,
    });
    modes.collect()
}

/// Lets `ms` pass.
async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Attempts in the fullest minute.
fn most_in_a_minute(times: &[u64]) -> usize {
    let within = |from: &u64| {
        times
            .iter()
            .filter(|at| (*from..from + MINUTE).contains(at))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// How many ms something took on paused time.
async fn timed<T>(work: impl Future<Output = T>) -> (T, u128) {
    let from = Instant::now();
    let value = work.await;
    (value, from.elapsed().as_millis())
}
