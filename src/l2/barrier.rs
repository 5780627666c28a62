//! What must happen between a handshake and the first read: everything in the journal is deleted in Redis, so that
//! nobody finds the value from before an outage. An entry leaves the journal only on its own good reply. A pattern or a
//! collapse needs a walk over the whole database: what of it is not done in [`WALK_MS`] stays journaled, and what it covers
//! is neither read nor written, until the drain of the link that is up has done it.
//!
//! | the server answers | the barrier |
//! |---|---|
//! | not ready | asks again, on this link, as long as it takes |
//! | no writes, or none that store | ends: the link comes up for reads, the journal is kept |
//! | the quota is spent | ends: the link comes up with its breaker open, the journal is kept |
//! | not the master, not allowed in | fails, as the handshake would have |
//! | no right to this command | drops the entry: asking again would change nothing |
//! | anything else | keeps the entry, which stays unread, and goes on with the next |

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, ServerError, Value, aio::MultiplexedConnection};
use tokio::time::sleep;

use super::{
    Event, Link, Setting, commands,
    handshake::{LOADING_MS, Refusal},
    link::{Connection, meaning_of, server_text},
    port::Failure,
    status::LastError,
};
use crate::{
    config::Config,
    resilience::{
        backoff::Class,
        classify::{Meaning, explained},
        gate::Kind,
        glob,
    },
};

/// Keys deleted in one pipeline.
const KEYS: usize = 64;
/// Keys a step of SCAN looks at.
const SCAN_COUNT: usize = 500;
/// How long walks over the database may keep the link from coming up.
const WALK_MS: u64 = 5_000;
/// How long one exchange of the replay may take.
const EXCHANGE_MS: u64 = 5_000;

/// Why the replay did not go on.
#[derive(Debug)]
enum Stop {
    /// The connection failed, or did not answer in time.
    Broken,
    /// The server refused.
    Refused(ServerError),
}

/// What an error reply leads to.
enum Next {
    Wait,
    ComeUp,
    Fail(Class),
    Drop,
    Keep,
}

const fn next(meaning: Meaning) -> Next {
    match meaning {
        Meaning::NotReady => Next::Wait,
        Meaning::DeletesOnly | Meaning::NoWrites | Meaning::Quota => Next::ComeUp,
        Meaning::Role => Next::Fail(Class::Role),
        Meaning::Credentials => Next::Fail(Class::Configuration),
        Meaning::Capacity => Next::Fail(Class::Capacity),
        Meaning::Forbidden => Next::Drop,
        Meaning::Setup | Meaning::OldProtocol | Meaning::WrongType | Meaning::Caller => Next::Keep,
    }
}

/// Replays the keys of the journal. May be cancelled: what was not confirmed is still in it.
///
/// # Errors
/// Why this server cannot be used.
pub async fn replay(
    link: &Arc<Link>,
    setting: &Setting,
    connection: &mut Connection,
) -> Result<(), Refusal> {
    link.told_of_refusals.store(false, Relaxed);
    let mut pause = LOADING_MS.0;
    loop {
        let mut replay = Replay {
            link,
            redis: &mut connection.redis,
            is_up: false,
        };
        let error = match replay.all(setting).await {
            Ok(()) => return Ok(()),
            Err(Stop::Broken) => return Err(unanswered()),
            Err(Stop::Refused(error)) => error,
        };
        let (meaning, text) = (meaning_of(&error), server_text(&error));
        match next(meaning) {
            Next::Wait => {
                connection.overloaded = true;
                sleep(Duration::from_millis(pause)).await;
                pause = (pause * 2).min(LOADING_MS.1);
            }
            Next::Fail(class) => {
                let error = LastError::new(error.code(), explained(error.code(), &text));
                return Err(Refusal::new(class, error));
            }
            Next::ComeUp | Next::Drop | Next::Keep => {
                if meaning == Meaning::Quota {
                    connection.quota_spent = Some(text);
                }
                link.heard_of_write(Kind::Deletion, &Err(Failure::Refused(error)));
                return Ok(());
            }
        }
    }
}

fn unanswered() -> Refusal {
    let text = "the server did not answer when what changed meanwhile was to be deleted";
    Refusal::new(Class::Transient, LastError::new("EREPLAY", text))
}

/// Tells once in a link's life that the server refuses to delete what is journaled.
pub(super) fn tell_of_refusal(link: &Link, setting: &Setting, error: &ServerError) {
    if link.told_of_refusals.swap(true, Relaxed) {
        return;
    }
    let text = explained(error.code(), &server_text(error));
    let message = format!(
        "the server refuses to delete what changed while it was away, which is not read from it until it does: {text}"
    );
    let (cache, code) = (link.cache, "journal-refused");
    tracing::warn!(cache, event = "warning", code, "Redis: {message}");
    setting.application.tell(Event::Warning { code, message });
}

/// Does what of the journal concerns more than single keys, while the link lets operations in; whether it is done. May be
/// cancelled: what was not confirmed is still in the journal.
pub async fn replay_patterns(
    link: &Arc<Link>,
    setting: &Setting,
    redis: &mut MultiplexedConnection,
) -> bool {
    let mut replay = Replay {
        link,
        redis,
        is_up: true,
    };
    let done = replay.walks(&setting.config).await;
    if let Err(Stop::Refused(error)) = &done {
        tell_of_refusal(link, setting, error);
        link.heard_of_write(Kind::Deletion, &Err(Failure::Refused(error.clone())));
    }
    done.is_ok()
}

/// The key of the epoch where there is no namespace.
const EPOCH_KEY: &str = "~epoch";

struct Replay<'a> {
    link: &'a Arc<Link>,
    redis: &'a mut MultiplexedConnection,
    /// Whether this is the drain's work, which ends where the link lets nothing in.
    is_up: bool,
}

impl Replay<'_> {
    async fn all(&mut self, setting: &Setting) -> Result<(), Stop> {
        if setting.config.prefix.is_empty() {
            self.read_epoch().await?;
        }
        let walks = self.walks(&setting.config);
        let walked = tokio::time::timeout(Duration::from_millis(WALK_MS), walks).await;
        match walked.unwrap_or(Ok(())) {
            Err(Stop::Refused(error))
                if matches!(next(meaning_of(&error)), Next::Drop | Next::Keep) =>
            {
                tell_of_refusal(self.link, setting, &error);
            }
            other => other?,
        }
        self.keys(setting).await
    }

    /// What concerns more than single keys.
    async fn walks(&mut self, config: &Config) -> Result<(), Stop> {
        self.collapse(config).await?;
        self.patterns(config).await
    }

    /// Reads the epoch. One that is gone though this process knows it was evicted, or flushed with all that it was about: it
    /// is put back, or entries from before the collapse that it stands for would be believed again.
    async fn read_epoch(&mut self) -> Result<(), Stop> {
        let mut get = redis::cmd("GET");
        get.arg(EPOCH_KEY);
        let Some(found) = self.unless_forbidden(get).await? else {
            return Ok(());
        };
        let text = commands::bytes(found).and_then(|text| String::from_utf8(text).ok());
        let known = self.link.epoch.load(SeqCst);
        if let Some(epoch) = text.and_then(|text| text.parse().ok()) {
            self.link.epoch.store(epoch, SeqCst);
        } else if known != 0 {
            let mut set = redis::cmd("SET");
            set.arg(EPOCH_KEY).arg(known.to_string()).arg("NX");
            self.unless_forbidden(set).await?;
        }
        Ok(())
    }

    /// The answer to one command; `None` if this user may not give it, or this server does not know it.
    async fn unless_forbidden(&mut self, cmd: Cmd) -> Result<Option<Value>, Stop> {
        match self.one(cmd).await {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Refused(error))
                if matches!(next(meaning_of(&error)), Next::Drop | Next::Keep) =>
            {
                Ok(None)
            }
            Err(stop) => Err(stop),
        }
    }

    /// More changed than the journal holds: the namespace is emptied, or, where there is none and other programs'
    /// keys are there too, a new epoch makes all our entries misses.
    async fn collapse(&mut self, config: &Config) -> Result<(), Stop> {
        let wipe = self.link.journal.lock().begin_wipe();
        let Some(wipe) = wipe else { return Ok(()) };
        if config.prefix.is_empty() {
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
            let mut all = glob::escape(config.prefix.as_bytes());
            all.push(b'*');
            self.unlink_matches(&all, config).await?;
        }
        let mut journal = self.link.journal.lock();
        journal.end_wipe(wipe);
        self.link.port.note_journal(journal.pending());
        Ok(())
    }

    async fn patterns(&mut self, config: &Config) -> Result<(), Stop> {
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
            self.unlink_matches(&pattern, config).await?;
            let mut journal = self.link.journal.lock();
            journal.acknowledge_pattern(&pattern, seq);
            self.link.port.note_journal(journal.pending());
        }
    }

    async fn keys(&mut self, setting: &Setting) -> Result<(), Stop> {
        let mut from = 0;
        loop {
            let due = self.link.journal.lock().batch(from, KEYS);
            let Some((_, last)) = due.last() else {
                return Ok(());
            };
            from = *last;
            let mut pipeline = redis::pipe();
            for (key, _) in &due {
                pipeline.add_command(commands::unlink(&[key]));
            }
            let replies = self.exchange(&pipeline).await?;
            for ((key, seq), reply) in due.iter().zip(replies) {
                let Value::ServerError(error) = reply else {
                    self.link.trust(key, *seq);
                    continue;
                };
                match next(meaning_of(&error)) {
                    Next::Drop => self.link.trust(key, *seq),
                    Next::Keep => tell_of_refusal(self.link, setting, &error),
                    Next::Wait | Next::ComeUp | Next::Fail(_) => return Err(Stop::Refused(error)),
                }
            }
        }
    }

    /// Deletes what matches, but for keys of our own.
    async fn unlink_matches(&mut self, pattern: &[u8], config: &Config) -> Result<(), Stop> {
        let mut cursor = "0".to_owned();
        while !self.is_up || self.link.port.is_open() {
            let step = self
                .one(commands::scan(&cursor, pattern, SCAN_COUNT))
                .await?;
            let (next, keys) = commands::scanned(step).ok_or(Stop::Broken)?;
            let keys = commands::users(keys, &config.prefix);
            if !keys.is_empty() {
                self.one(commands::unlink(&keys)).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
        Err(Stop::Broken)
    }

    async fn one(&mut self, cmd: Cmd) -> Result<Value, Stop> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(cmd);
        match self.exchange(&pipeline).await?.pop() {
            Some(Value::ServerError(error)) => Err(Stop::Refused(error)),
            None => Err(Stop::Broken),
            Some(value) => Ok(value),
        }
    }

    async fn exchange(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Stop> {
        self.link
            .counters
            .l2_commands
            .fetch_add(pipeline.len() as u64, Relaxed);
        let reply = self.redis.send_packed_commands(pipeline, 0, pipeline.len());
        let reply = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS), reply).await;
        reply.map_err(|_| Stop::Broken)?.map_err(|_| Stop::Broken)
    }
}
