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
//! | no right to this command | drops a key or a pattern, and tells: asking again would change nothing |
//! | another node has the slot | leaves it to the link that the entry goes to |
//! | anything else | keeps the entry, which stays unread, and goes on with the next |

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, ServerError, Value};
use tokio::time::sleep;

use super::{
    Event, Link, Setting,
    cluster::slots::group_by_slot,
    commands,
    handshake::{LOADING_MS, Refusal},
    link::{Connection, meaning_of, server_text},
    port::Failure,
    resp::Client,
    status::LastError,
};
use crate::{
    clock,
    resilience::{
        backoff::Class,
        classify::{Meaning, explained},
        gate::Kind,
        glob,
        journal::{Journal, Scope},
    },
};

/// Keys deleted in one pipeline.
const KEYS: usize = 64;
/// Keys a step of SCAN looks at.
const SCAN_COUNT: usize = 500;
/// How long walks over the database may keep the link from coming up.
const WALK_MS: u64 = 5_000;
/// How often a walk looks whether the link lets operations in again.
const REST_MS: u64 = 50;
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
    Leave,
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
        Meaning::Elsewhere => Next::Leave,
    }
}

/// Whether asking again would give the same answer, for a while or for good.
fn is_settled(error: &ServerError) -> bool {
    matches!(
        next(meaning_of(error)),
        Next::Drop | Next::Keep | Next::Leave
    )
}

/// Replays the journal. May be cancelled: what was not confirmed is still in it.
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
            setting,
            redis: &connection.redis,
            is_up: false,
        };
        let error = match replay.all().await {
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
            Next::ComeUp | Next::Drop | Next::Keep | Next::Leave => {
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

/// Tells once in a link's life that the server refuses to delete what is journaled, and what becomes of that.
pub(super) fn tell_of_refusal(link: &Link, setting: &Setting, error: &ServerError, kept: bool) {
    if link.told_of_refusals.swap(true, Relaxed) {
        return;
    }
    let so = if kept {
        "it is not read from there until it does"
    } else {
        "its old values stay there"
    };
    let text = explained(error.code(), &server_text(error));
    let message =
        format!("the server refuses to delete what changed while it was away, and {so}: {text}");
    let (cache, code) = (link.cache, "journal-refused");
    tracing::warn!(cache, event = "warning", code, "Redis: {message}");
    setting.application.tell(Event::Warning { code, message });
}

/// What became of the journal's walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    Done,
    Refused,
    Broken,
}

/// Does what of the journal concerns more than single keys, whenever the link lets operations in. May be cancelled: what was
/// not confirmed is still in the journal.
pub(super) async fn walk(link: &Arc<Link>, setting: &Setting, redis: &Client) -> Walked {
    let mut replay = Replay {
        link,
        setting,
        redis,
        is_up: true,
    };
    match replay.walks().await {
        Ok(()) => Walked::Done,
        Err(Stop::Broken) => Walked::Broken,
        Err(Stop::Refused(error)) => {
            link.heard_of_write(Kind::Deletion, &Err(Failure::Refused(error)));
            Walked::Refused
        }
    }
}

/// The key of the epoch where there is no namespace.
const EPOCH_KEY: &str = "~epoch";

struct Replay<'a> {
    link: &'a Arc<Link>,
    setting: &'a Setting,
    redis: &'a Client,
    /// Whether this is the drain's work, which rests where the link lets nothing in.
    is_up: bool,
}

impl Replay<'_> {
    async fn all(&mut self) -> Result<(), Stop> {
        if self.setting.config.prefix.is_empty() {
            self.learn_epoch().await?;
        }
        let walked = tokio::time::timeout(Duration::from_millis(WALK_MS), self.walks()).await;
        match walked.unwrap_or(Ok(())) {
            // What is kept is told of, and no reason not to come up.
            Err(Stop::Refused(error)) if is_settled(&error) => (),
            other => other?,
        }
        self.keys().await
    }

    /// What concerns more than single keys.
    async fn walks(&mut self) -> Result<(), Stop> {
        if self.link.journal.lock().is_blind() {
            self.learn_epoch().await?;
        }
        self.collapse().await?;
        self.patterns().await
    }

    fn change_journal<T>(&self, change: impl FnOnce(&mut Journal) -> T) {
        let mut journal = self.link.journal.lock();
        change(&mut journal);
        self.link.port.note_journal(&journal);
    }

    /// Reads the epoch; nothing is believed of a server that comes into use without saying which it is.
    async fn learn_epoch(&mut self) -> Result<(), Stop> {
        let read = self.read_epoch().await;
        match &read {
            Ok(()) => self.change_journal(Journal::see),
            Err(Stop::Refused(error)) if matches!(next(meaning_of(error)), Next::ComeUp) => {
                self.change_journal(Journal::go_blind);
            }
            Err(_) => (),
        }
        read
    }

    /// Reads the epoch. One that is gone though this process knows one was evicted, or flushed with all that it was about: a
    /// new one takes its place, since an old one may stand for less than another process has deleted.
    async fn read_epoch(&mut self) -> Result<(), Stop> {
        let found = self.ask_epoch().await?;
        let known = self.link.epoch.load(SeqCst);
        if found.is_none() && known != 0 {
            let mut set = redis::cmd("SET");
            set.arg(self.epoch_key())
                .arg(fastrand::u64(1..).to_string())
                .arg("NX");
            self.unless_refused(set).await?;
            let epoch = self.ask_epoch().await?.unwrap_or(known);
            self.link.epoch.store(epoch, SeqCst);
            self.link.distrust_bare.store(true, SeqCst);
        } else {
            self.link.epoch.store(found.unwrap_or(0), SeqCst);
        }
        Ok(())
    }

    fn epoch_key(&self) -> String {
        self.link.own_key("", EPOCH_KEY)
    }

    async fn ask_epoch(&mut self) -> Result<Option<u64>, Stop> {
        let mut get = redis::cmd("GET");
        get.arg(self.epoch_key());
        let found = self.unless_refused(get).await?;
        let text = found.and_then(commands::bytes);
        let text = text.and_then(|text| String::from_utf8(text).ok());
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// The answer to one command; `None` if this user may not give it, or this server does not know it.
    async fn unless_refused(&mut self, cmd: Cmd) -> Result<Option<Value>, Stop> {
        match self.one(cmd).await {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Refused(error)) if is_settled(&error) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    /// More changed than the journal holds: the namespace is emptied, or, where there is none and other programs'
    /// keys are there too, a new epoch makes all our entries misses.
    async fn collapse(&mut self) -> Result<(), Stop> {
        let wipe = self.link.journal.lock().begin_wipe();
        let Some(wipe) = wipe else { return Ok(()) };
        let done = if self.setting.config.prefix.is_empty() {
            self.renew_epoch().await
        } else {
            self.unlink_matches(&self.everything(), None).await
        };
        if let Err(Stop::Refused(error)) = &done
            && is_settled(error)
        {
            tell_of_refusal(self.link, self.setting, error, true);
        }
        done?;
        self.change_journal(|journal| journal.end_wipe(wipe));
        Ok(())
    }

    /// The pattern of the whole namespace.
    fn everything(&self) -> Vec<u8> {
        let mut all = glob::escape(self.setting.config.prefix.as_bytes());
        all.push(b'*');
        all
    }

    async fn renew_epoch(&mut self) -> Result<(), Stop> {
        let epoch = fastrand::u64(1..);
        let mut set = redis::cmd("SET");
        set.arg(self.epoch_key()).arg(epoch.to_string());
        self.one(set).await?;
        self.link.epoch.store(epoch, SeqCst);
        self.link.distrust_bare.store(true, SeqCst);
        tracing::warn!(
            cache = self.link.cache,
            event = "collapsed",
            "Redis: more changed while it was away than the journal holds; all entries are misses now, and without a \
             namespace values without an envelope stay so until this process ends: set a namespace"
        );
        Ok(())
    }

    /// Each pattern in turn; one that is refused does not hold up the others.
    async fn patterns(&mut self) -> Result<(), Stop> {
        let (mut last, mut kept) = (0, None);
        loop {
            let next_one = {
                let journal = self.link.journal.lock();
                let mut later = journal.patterns().filter(|(_, seq, _)| *seq > last);
                later
                    .next()
                    .map(|(glob, seq, scope)| (glob.to_vec(), seq, scope.cloned()))
            };
            let Some((pattern, seq, scope)) = next_one else {
                return kept.map_or(Ok(()), |error| Err(Stop::Refused(error)));
            };
            last = seq;
            match self.unlink_matches(&pattern, scope.as_ref()).await {
                Err(Stop::Refused(error)) if is_settled(&error) => {
                    let keeps = matches!(next(meaning_of(&error)), Next::Keep);
                    tell_of_refusal(self.link, self.setting, &error, keeps);
                    if keeps {
                        kept = Some(error);
                        continue;
                    }
                }
                done => done?,
            }
            self.change_journal(|journal| journal.acknowledge_pattern(&pattern, seq));
        }
    }

    /// The keys that are journaled now. What is journaled meanwhile, or is not done in time, is left to the drain.
    async fn keys(&mut self) -> Result<(), Stop> {
        let mut from = 0;
        let end = self.link.journal.lock().mark();
        let until = clock::now() + WALK_MS;
        while clock::now() < until {
            let mut due = self.link.journal.lock().batch(from, KEYS);
            due.retain(|(_, seq)| *seq <= end);
            let Some((_, last)) = due.last() else { break };
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
                    Next::Drop => {
                        tell_of_refusal(self.link, self.setting, &error, false);
                        self.link.trust(key, *seq);
                    }
                    Next::Keep => tell_of_refusal(self.link, self.setting, &error, true),
                    Next::Leave => (),
                    Next::Wait | Next::ComeUp | Next::Fail(_) => return Err(Stop::Refused(error)),
                }
            }
        }
        Ok(())
    }

    /// Deletes what matches, of some slots or of all, but for keys of our own; the versions of tags go with everything.
    async fn unlink_matches(&mut self, pattern: &[u8], scope: Option<&Scope>) -> Result<(), Stop> {
        let mut cursor = "0".to_owned();
        loop {
            while self.is_up && !self.link.port.is_open() {
                sleep(Duration::from_millis(REST_MS)).await;
            }
            let step = self
                .one(commands::scan(&cursor, pattern, SCAN_COUNT))
                .await?;
            let (next, keys) = commands::scanned(step).ok_or(Stop::Broken)?;
            let prefix = &self.setting.config.prefix;
            let mut keys = if pattern == self.everything() {
                commands::users_and_tags(keys, prefix)
            } else {
                commands::users(keys, prefix)
            };
            keys.retain(|key| scope.is_none_or(|scope| scope.holds(key)));
            if !keys.is_empty() {
                self.unlink_all(keys).await?;
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        if let Some(publish) = self.link.telling_of_pattern(pattern) {
            match self.one(publish).await {
                Err(Stop::Refused(error)) => {
                    self.link.heard_of_telling(&Err(Failure::Refused(error)));
                }
                published => drop(published?),
            }
        }
        Ok(())
    }

    /// Deletes keys, those of each slot with one command where there are slots.
    async fn unlink_all(&mut self, keys: Vec<Vec<u8>>) -> Result<(), Stop> {
        let groups = if self.link.is_shard() {
            group_by_slot(keys, |key| key)
        } else {
            vec![keys]
        };
        let mut pipeline = redis::pipe();
        for keys in &groups {
            pipeline.add_command(commands::unlink(keys));
        }
        for reply in self.exchange(&pipeline).await? {
            // What is elsewhere by now is removed there, as the pattern is known there too.
            if let Value::ServerError(error) = reply
                && meaning_of(&error) != Meaning::Elsewhere
            {
                return Err(Stop::Refused(error));
            }
        }
        Ok(())
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

    /// Sends commands, and behind them what tells others of the changes they make.
    async fn exchange(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Stop> {
        let mut sent = pipeline.clone();
        if let Some(publish) = self.link.shared.bus.telling_of(pipeline) {
            sent.add_command(publish);
        }
        let counted = &self.link.counters.l2_commands;
        counted.fetch_add(sent.len() as u64, Relaxed);
        let replies = self.redis.send(&sent);
        let replies = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS), replies).await;
        let replies = replies.map_err(|_| Stop::Broken)?;
        let mut replies = replies.map_err(|_| Stop::Broken)?;
        if let Some(Value::ServerError(error)) = replies.get(pipeline.len()) {
            let refused = Err(Failure::Refused(error.clone()));
            self.link.heard_of_telling(&refused);
        }
        replies.truncate(pipeline.len());
        Ok(replies)
    }
}
