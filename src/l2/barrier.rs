//! What must happen between a handshake and the first read: everything in the journal is deleted in Redis, so that
//! nobody finds the value from before an outage. An entry leaves the journal only on its own good reply.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, ServerError, Value, aio::MultiplexedConnection};

use super::{Link, commands, link::meaning_of, port::Failure};
use crate::{
    config::Config,
    resilience::{classify::Meaning, gate::Kind, glob},
};

/// Keys deleted in one pipeline.
const KEYS: usize = 64;
/// Keys a step of SCAN looks at.
const SCAN_COUNT: usize = 500;
/// How long one exchange of the replay may take.
const EXCHANGE_MS: u64 = 5_000;

/// The replay ended early. What was not confirmed is still in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The connection or the server failed.
    Failed,
    /// The server takes no such writes at the moment: it can be read from, but for what is journaled.
    Gated,
}

/// Replays the journal. May be cancelled: what was not confirmed is still in it.
///
/// # Errors
/// If an exchange failed or was refused.
pub async fn replay(
    link: &Arc<Link>,
    config: &Config,
    redis: &mut MultiplexedConnection,
) -> Result<(), Unconfirmed> {
    if config.prefix.is_empty() {
        Replay { link, redis }.read_epoch().await?;
    }
    let replayed = match replay_patterns(link, config, redis).await {
        Ok(()) => Replay { link, redis }.keys().await,
        failed => failed,
    };
    match replayed {
        Err(Unconfirmed::Gated) => Ok(()),
        other => other,
    }
}

/// Replays what of the journal concerns more than single keys. May be cancelled.
///
/// # Errors
/// If an exchange failed or was refused.
pub async fn replay_patterns(
    link: &Arc<Link>,
    config: &Config,
    redis: &mut MultiplexedConnection,
) -> Result<(), Unconfirmed> {
    let mut replay = Replay { link, redis };
    replay.collapse(&config.prefix).await?;
    replay.patterns().await
}

/// The key of the epoch where there is no namespace.
const EPOCH_KEY: &str = "~epoch";

struct Replay<'a> {
    link: &'a Arc<Link>,
    redis: &'a mut MultiplexedConnection,
}

impl Replay<'_> {
    async fn read_epoch(&mut self) -> Result<(), Unconfirmed> {
        let mut get = redis::cmd("GET");
        get.arg(EPOCH_KEY);
        let text = commands::bytes(self.one(get).await?).unwrap_or_default();
        let epoch = String::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        self.link.epoch.store(epoch.unwrap_or(0), SeqCst);
        Ok(())
    }

    /// More changed than the journal holds: the namespace is emptied, or, where there is none and other programs'
    /// keys are there too, a new epoch makes all our entries misses.
    async fn collapse(&mut self, prefix: &str) -> Result<(), Unconfirmed> {
        let wipe = self.link.journal.lock().begin_wipe();
        let Some(wipe) = wipe else { return Ok(()) };
        if prefix.is_empty() {
            let epoch = fastrand::u64(1..);
            let mut set = redis::cmd("SET");
            set.arg(EPOCH_KEY).arg(epoch.to_string());
            self.one(set).await?;
            self.link.epoch.store(epoch, SeqCst);
            self.link.distrust_bare.store(true, SeqCst);
            tracing::warn!(
                cache = self.link.cache,
                event = "collapsed",
                "Redis: more changed while it was away than the journal holds; all entries are misses now, and without a \
                 namespace values without an envelope stay so until this process ends: set a namespace"
            );
        } else {
            let mut all = glob::escape(prefix.as_bytes());
            all.push(b'*');
            self.unlink_matches(&all).await?;
        }
        let mut journal = self.link.journal.lock();
        journal.end_wipe(wipe);
        self.link.port.note_journal(journal.pending());
        Ok(())
    }

    async fn patterns(&mut self) -> Result<(), Unconfirmed> {
        loop {
            let next = self
                .link
                .journal
                .lock()
                .patterns()
                .next()
                .map(|(glob, seq)| (glob.to_vec(), seq));
            let Some((pattern, seq)) = next else {
                return Ok(());
            };
            self.unlink_matches(&pattern).await?;
            let mut journal = self.link.journal.lock();
            journal.acknowledge_pattern(&pattern, seq);
            self.link.port.note_journal(journal.pending());
        }
    }

    async fn keys(&mut self) -> Result<(), Unconfirmed> {
        loop {
            let due = self.link.journal.lock().batch(0, KEYS);
            if due.is_empty() {
                return Ok(());
            }
            let mut pipeline = redis::pipe();
            for (key, _) in &due {
                pipeline.add_command(commands::unlink(&[key]));
            }
            let replies = self.exchange(&pipeline).await?;
            for ((key, seq), reply) in due.iter().zip(replies) {
                // What is refused for good is not asked again: it would keep the link down for ever.
                if let Value::ServerError(error) = reply
                    && !meaning_of(&error).is_for_good()
                {
                    return Err(self.refused(error));
                }
                self.link.trust(key, *seq);
            }
        }
    }

    async fn unlink_matches(&mut self, pattern: &[u8]) -> Result<(), Unconfirmed> {
        let mut cursor = "0".to_owned();
        loop {
            let step = self
                .one(commands::scan(&cursor, pattern, SCAN_COUNT))
                .await?;
            let (next, keys) = commands::scanned(step).ok_or(Unconfirmed::Failed)?;
            if !keys.is_empty() {
                self.one(commands::unlink(&keys)).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn one(&mut self, cmd: Cmd) -> Result<Value, Unconfirmed> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(cmd);
        match self.exchange(&pipeline).await?.pop() {
            Some(Value::ServerError(error)) => Err(self.refused(error)),
            None => Err(Unconfirmed::Failed),
            Some(value) => Ok(value),
        }
    }

    fn refused(&self, error: ServerError) -> Unconfirmed {
        let meaning = meaning_of(&error);
        let gated = matches!(meaning, Meaning::NoWrites | Meaning::DeletesOnly);
        self.link
            .heard_of_write(Kind::Deletion, &Err(Failure::Refused(error)));
        if gated {
            Unconfirmed::Gated
        } else {
            Unconfirmed::Failed
        }
    }

    async fn exchange(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Unconfirmed> {
        self.link
            .counters
            .l2_commands
            .fetch_add(pipeline.len() as u64, Relaxed);
        let reply = self.redis.send_packed_commands(pipeline, 0, pipeline.len());
        let reply = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS), reply).await;
        reply
            .map_err(|_| Unconfirmed::Failed)?
            .map_err(|_| Unconfirmed::Failed)
    }
}
