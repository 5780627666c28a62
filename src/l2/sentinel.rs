//! Where the master is, by the sentinels that watch it: asked all at once before every connect, and followed while there
//! is a link. Of different answers the one of the latest failover counts, then the one that most give; with no sentinel
//! left the master is where it was.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{ProtocolVersion, RedisConnectionInfo, Value};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Control, Link, commands,
    dialer::{DialError, Locate},
    handshake::{Refusal, refusal},
    inquiry::Asker,
    subscription::Subscription,
};
use crate::{
    clock,
    config::{Endpoint, Redis, Sentinels as Given},
    error::CacheError,
    l2::tls::TlsContext,
    resilience::backoff::Class,
};

/// How long the others may take once the first has answered.
const OTHERS: Duration = Duration::from_millis(100);
/// How long one sentinel may take.
const ALLOWANCE: Duration = Duration::from_secs(2);
/// How long what a sentinel said last holds against sentinels that know of no such failover.
const HOLDS_MS: u64 = 30_000;
/// How long a sentinel may be silent before it is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(10);
/// The channel of a failover that is done.
const SWITCH: &str = "+switch-master";
/// How long a sentinel is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// The sentinels of one master.
pub struct Sentinels {
    given: Given,
    asker: Asker,
    known: Mutex<Known>,
}

/// What was said last.
#[derive(Default)]
struct Known {
    master: Option<Endpoint>,
    /// The number of its failover.
    epoch: u64,
    /// When it was said.
    at: u64,
}

/// What one sentinel says; `None` if it knows no such master.
type Said = Option<(Endpoint, u64)>;

impl Sentinels {
    /// Those that were given.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` if their TLS material is not usable.
    pub fn new(given: Given, redis: &Arc<Redis>) -> Result<Arc<Self>, CacheError> {
        let tls = given.tls.as_ref().map(TlsContext::new).transpose()?;
        let asker = Asker {
            redis: Arc::clone(redis),
            tls: tls.map(Arc::new),
        };
        Ok(Arc::new(Self {
            given,
            asker,
            known: Mutex::default(),
        }))
    }

    fn info(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default();
        if let Some(username) = &self.given.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.given.password {
            info = info.set_password(password.expose());
        }
        info
    }

    /// Where one sentinel says that the master is, and by which failover.
    async fn ask(&self, sentinel: &Endpoint, allowance: Duration) -> Result<Said, Refusal> {
        let mut pipeline = redis::pipe();
        let name = self.given.name.as_str();
        pipeline
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(name);
        pipeline.cmd("SENTINEL").arg("MASTER").arg(name);
        let (info, allowance) = (self.info(), allowance.min(ALLOWANCE));
        let asked = self.asker.ask(sentinel, &info, &pipeline, allowance);
        let mut replies = asked.await?.into_iter();
        let master = replies.next().and_then(endpoint);
        let epoch = replies.next().and_then(epoch).unwrap_or(0);
        Ok(master.map(|master| (master, epoch)))
    }

    /// Takes what a sentinel says, unless it is older than what is known; whether the master is elsewhere now.
    fn learn(&self, master: Endpoint, epoch: u64) -> bool {
        let mut known = self.known.lock();
        let now = clock::now();
        if known.master.is_some() && epoch < known.epoch && now < known.at + HOLDS_MS {
            return false;
        }
        known.epoch = epoch;
        known.at = now;
        let before = known.master.replace(master);
        before.is_some() && before != known.master
    }

    /// Whether a failover is later than the one that is known.
    fn is_news(&self, epoch: u64) -> bool {
        let known = self.known.lock();
        known.master.is_some() && epoch > known.epoch
    }

    /// Whether this announces another master than the one that is known.
    fn announces(&self, message: &[u8]) -> bool {
        let text = String::from_utf8_lossy(message);
        let [name, _, _, host, port] = text.split(' ').collect::<Vec<_>>()[..] else {
            return false;
        };
        name == self.given.name && tcp(host, port) != self.known.lock().master
    }

    async fn find(&self, allowance: Duration) -> Result<Endpoint, DialError> {
        let mut until = Instant::now() + allowance / 2;
        let asked = self.given.nodes.iter();
        let mut asked: FuturesUnordered<_> =
            asked.map(|node| self.ask(node, allowance / 2)).collect();
        let mut answers = Vec::new();
        let mut refusal = None;
        while let Ok(Some(said)) = timeout_at(until, asked.next()).await {
            match said {
                Ok(said) => {
                    until = until.min(Instant::now() + OTHERS);
                    answers.push(said);
                }
                Err(error) => refusal = Some(error),
            }
        }
        if let Some((master, epoch)) = latest(&answers) {
            self.learn(master, epoch);
        }
        if let Some(master) = self.known.lock().master.clone() {
            return Ok(master);
        }
        let name = &self.given.name;
        if !answers.is_empty() {
            let text = format!("the sentinels know no master called {name}");
            let error = DialError::new(Class::Configuration, "ENOMASTER", text);
            return Err(error.hint("check redis.name"));
        }
        let last = refusal.map_or_else(
            || "none answered in time".to_owned(),
            |refusal| refusal.error.message,
        );
        let text = format!("no sentinel says where {name} is: {last}");
        Err(DialError::new(Class::Transient, "ENOSENTINEL", text))
    }

    /// Has `link` connect anew whenever a sentinel announces another master; ends with the set.
    pub fn follow(self: &Arc<Self>, link: &Arc<Link>) -> JoinSet<()> {
        let followed = self.given.nodes.iter().map(|node| {
            let (sentinels, link, node) = (Arc::clone(self), Arc::clone(link), node.clone());
            async move { sentinels.follow_one(&link, &node).await }
        });
        followed.collect()
    }

    /// What a sentinel announces is asked of it again, and so is what it may have announced before: its answer tells by
    /// which failover it is, and one that comes late with an old one is not believed.
    async fn follow_one(&self, link: &Link, sentinel: &Endpoint) {
        loop {
            let mut announced = false;
            if let Ok(Ok(subscription)) = timeout(ALLOWANCE, self.subscribe(sentinel)).await {
                if let Ok(Some((master, epoch))) = self.ask(sentinel, ALLOWANCE).await {
                    let endpoint = master.to_string();
                    if self.is_news(epoch) && self.learn(master, epoch) {
                        let cache = link.cache;
                        tracing::info!(
                            cache,
                            event = "switched",
                            endpoint,
                            "Redis: the sentinels name another master"
                        );
                        link.control(Control::Moved);
                    }
                }
                let take = |message: &[u8]| {
                    announced = self.announces(message);
                    if announced {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                subscription.hear(Some(SILENCE), || (), take).await;
            }
            if !announced {
                sleep(REST.mul_f64(1.0 + fastrand::f64())).await;
            }
        }
    }

    async fn subscribe(&self, sentinel: &Endpoint) -> Result<Subscription, Refusal> {
        let dialed = self.asker.dial(sentinel, ALLOWANCE).await?;
        let tls = self.asker.tls.is_some();
        let subscribed = Subscription::begin(dialed.stream, &self.info(), SWITCH).await;
        subscribed.map_err(|error| refusal(&error, ProtocolVersion::RESP2, tls))
    }
}

impl Locate for Sentinels {
    fn locate(&self, allowance: Duration) -> BoxFuture<'_, Result<Endpoint, DialError>> {
        self.find(allowance).boxed()
    }
}

/// The answer of the latest failover; of several the one that most give.
fn latest(answers: &[Said]) -> Said {
    let votes = |said: &Said| answers.iter().filter(|other| *other == said).count();
    let known = answers.iter().filter(|said| said.is_some());
    let best = known.max_by_key(|said| (said.as_ref().map(|(_, epoch)| *epoch), votes(said)));
    best.cloned().flatten()
}

/// The address in an answer to GET-MASTER-ADDR-BY-NAME.
fn endpoint(reply: Value) -> Option<Endpoint> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let mut texts = parts.into_iter().filter_map(text);
    tcp(&texts.next()?, &texts.next()?)
}

/// The number of the last failover in an answer to SENTINEL MASTER.
fn epoch(reply: Value) -> Option<u64> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let mut texts = parts.into_iter().filter_map(text);
    texts.find(|text| text == "config-epoch")?;
    texts.next()?.parse().ok()
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(commands::bytes(value)?).ok()
}

fn tcp(host: &str, port: &str) -> Option<Endpoint> {
    Some(Endpoint::Tcp {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint::Tcp {
            host: "h".to_owned(),
            port,
        }
    }

    fn sentinels() -> Arc<Sentinels> {
        let options = r#"{"redis":{"sentinels":[{"host":"s"}],"name":"m"}}"#;
        let config = crate::config::Config::parse(options).expect("sound options");
        let redis = Arc::new(config.redis.expect("redis was given"));
        let crate::config::Topology::Sentinels(given) = redis.topology.clone() else {
            panic!("sentinels were given");
        };
        Sentinels::new(given, &redis).expect("no TLS")
    }

    #[test]
    fn of_several_answers_the_latest_failover_counts_and_then_the_majority() {
        let said = |port, epoch| Some((at(port), epoch));
        assert_eq!(
            latest(&[said(1, 4), said(1, 4), None, said(2, 5)]),
            said(2, 5)
        );
        assert_eq!(
            latest(&[said(1, 0), said(2, 0), said(2, 0), said(1, 0), said(2, 0)]),
            said(2, 0)
        );
        assert_eq!(latest(&[None]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sentinel_that_missed_a_failover_is_not_believed_for_a_while() {
        let sentinels = sentinels();
        assert!(!sentinels.learn(at(1), 7), "the first is no other");
        assert!(sentinels.learn(at(2), 8));
        assert!(!sentinels.learn(at(2), 8), "told once");
        assert!(!sentinels.learn(at(1), 7), "from before the failover");
        assert_eq!(sentinels.known.lock().master, Some(at(2)));
        sleep(Duration::from_millis(HOLDS_MS)).await;
        assert!(sentinels.learn(at(1), 0), "sentinels that were set up anew");
    }

    #[test]
    fn another_master_of_that_name_is_an_announcement() {
        let sentinels = sentinels();
        sentinels.learn(at(1), 1);
        assert!(sentinels.announces(b"m h 1 h 2"));
        assert!(!sentinels.announces(b"m h 2 h 1"), "it is known");
        assert!(!sentinels.announces(b"other h 1 h 2"));
        assert!(!sentinels.announces(b"\xff") && !sentinels.announces(b"m h 1"));
    }

    #[test]
    fn the_answers_of_a_sentinel_are_read() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let address = Value::Array(vec![bulk("h"), bulk("1")]);
        assert_eq!(endpoint(address), Some(at(1)));
        assert_eq!(endpoint(Value::Nil), None);
        let fields = ["name", "m", "config-epoch", "12", "quorum", "2"].map(bulk);
        assert_eq!(epoch(Value::Array(fields.into())), Some(12));
        assert_eq!(epoch(Value::Nil), None);
    }
}
