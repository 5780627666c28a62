//! Tells other processes what this one changes, and hears what they change, where the server itself does not tell: one
//! channel for each namespace and database. Whoever writes publishes in the pipeline of the write, behind it; who hears has
//! a socket of its own, since a subscribed client falls under the server's small limit for subscribers.
//!
//! A message: `ek`, a version, who sent it and when by its own clock (8 bytes each), a kind, and then for each key its
//! length in 2 bytes and its name without the namespace, or a pattern without the namespace. Numbers are big-endian.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, ProtocolVersion, aio::PubSub};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Link, Setting,
    changes::Changes,
    commands,
    handshake::{self, Memory, Refusal},
    hearing::Way,
    port::DEAF_MS,
    status::LastError,
    subscription::hear,
};
use crate::{
    clock,
    config::Config,
    resilience::{
        backoff::{Backoff, Class},
        classify::{Meaning, meaning},
    },
};

const MAGIC: &[u8; 3] = b"ek\x01";
/// What the channel is called, after the namespace.
const CHANNEL: &str = "~inv";
/// What a key begins with, after the namespace, that is named after a pattern. What puts it into a slot follows in braces.
const MARK: &str = "~gone:";
/// How many of them are known again.
const MARKS: usize = 256;
/// How long connecting and subscribing may take.
const ALLOWANCE: Duration = Duration::from_secs(5);
/// How long it is left alone where it is refused.
const REFUSED: Duration = Duration::from_secs(3_600);

/// What was changed, names without the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// These keys.
    Keys(Vec<&'a [u8]>),
    /// What matches.
    Pattern(&'a [u8]),
    /// It is not known what.
    Unknown,
}

/// A message on the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who sent it.
    pub source: u64,
    /// When, by the sender's own clock.
    pub at: u64,
    /// What was changed.
    pub change: Change<'a>,
}

impl<'a> Message<'a> {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.at.to_be_bytes());
        match &self.change {
            Change::Keys(keys) => {
                bytes.push(b'k');
                for key in keys {
                    // Keys are at most 32 KiB.
                    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
                    bytes.extend(length.to_be_bytes());
                    bytes.extend(&key[..usize::from(length)]);
                }
            }
            Change::Pattern(pattern) => {
                bytes.push(b'p');
                bytes.extend(*pattern);
            }
            Change::Unknown => bytes.push(b'u'),
        }
        bytes
    }

    /// Reads one; what is none, or of a later version, may have been about anything.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (source, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (kind, mut rest) = rest.split_first()?;
        let change = match kind {
            b'k' => {
                let mut keys = Vec::new();
                while let Some((length, more)) = rest.split_first_chunk::<2>() {
                    let (key, more) =
                        more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                    keys.push(key);
                    rest = more;
                }
                if !rest.is_empty() {
                    return None;
                }
                Change::Keys(keys)
            }
            b'p' => Change::Pattern(rest),
            b'u' if rest.is_empty() => Change::Unknown,
            _ => return None,
        };
        Some(Self {
            source: u64::from_be_bytes(*source),
            at: u64::from_be_bytes(*at),
            change,
        })
    }
}

/// The sending side.
pub struct Bus {
    source: u64,
    prefix: String,
    channel: String,
    speech: AtomicU8,
    /// The numbers of the last marks.
    marks: Mutex<VecDeque<u64>>,
}

/// How other processes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Speech {
    /// Not at all.
    Mute,
    /// By what the server pushes: of keys by itself, of patterns by a key that is named after the pattern.
    Marks,
    /// By messages.
    Publishes,
}

impl Bus {
    /// Of a link that was never up.
    #[must_use]
    pub fn new(config: &Config, db: i64) -> Self {
        let prefix = config.prefix.clone();
        let channel = match db {
            0 => format!("{prefix}{CHANNEL}"),
            db => format!("{prefix}{CHANNEL}:{db}"),
        };
        Self {
            source: fastrand::u64(..),
            prefix,
            channel,
            speech: AtomicU8::new(Speech::Mute as u8),
            marks: Mutex::default(),
        }
    }

    /// How changes are told from now on.
    pub(super) fn speak(&self, speech: Speech) {
        self.speech.store(speech as u8, Relaxed);
    }

    fn speaks(&self, speech: Speech) -> bool {
        self.speech.load(Relaxed) == speech as u8
    }

    fn publish(&self, change: Change<'_>) -> Cmd {
        let message = Message {
            source: self.source,
            at: clock::now(),
            change,
        };
        let mut cmd = redis::cmd("PUBLISH");
        cmd.arg(&self.channel).arg(message.encode());
        cmd
    }

    /// What tells of the changes that these commands make, if it is to be told.
    #[must_use]
    pub fn telling_of(&self, pipeline: &Pipeline) -> Option<Cmd> {
        if !self.speaks(Speech::Publishes) {
            return None;
        }
        let mut changed = Vec::new();
        for cmd in pipeline.cmd_iter() {
            let words = commands::words(cmd);
            let (name, args) = words.split_first()?;
            match Changes::of(name, args.iter().copied()) {
                Changes::Keys(keys) => changed.extend(keys),
                Changes::Unknown => return Some(self.publish(Change::Unknown)),
            }
        }
        let names = changed
            .into_iter()
            .filter_map(|key| key.strip_prefix(self.prefix.as_bytes()));
        let names: Vec<&[u8]> = names.filter(|name| !name.starts_with(b"~")).collect();
        (!names.is_empty()).then(|| self.publish(Change::Keys(names)))
    }

    /// What tells that everything that matches was removed, if it is to be told. `home` puts a key into a slot of the link.
    #[must_use]
    pub fn telling_of_pattern(&self, pattern: &[u8], home: &str) -> Option<Cmd> {
        let escaped = crate::resilience::glob::escape(self.prefix.as_bytes());
        let name = pattern.strip_prefix(&escaped[..]);
        if self.speaks(Speech::Marks) {
            let number = fastrand::u64(..);
            self.remember(number);
            let mark = format!("{}{MARK}{{{home}}}:{number:016x}:", self.prefix);
            let key = [mark.as_bytes(), name?].concat();
            return Some(commands::set(&key, b"", Some(1), None));
        }
        let change = name.map_or(Change::Unknown, Change::Pattern);
        self.speaks(Speech::Publishes).then(|| self.publish(change))
    }

    /// The pattern that a pushed key is named after, with the namespace, if it is, and was not pushed before: a mark is
    /// pushed once more when it expires.
    #[must_use]
    pub fn heard_mark(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mark = key.strip_prefix(self.prefix.as_bytes())?;
        let mark = mark.strip_prefix(MARK.as_bytes())?;
        let end = mark.iter().position(|&byte| byte == b'}')?;
        let (number, name) = mark[end..].strip_prefix(b"}:")?.split_at_checked(16)?;
        let number = u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
        let name = name.strip_prefix(b":")?;
        let escaped = crate::resilience::glob::escape(self.prefix.as_bytes());
        self.remember(number).then(|| [&escaped[..], name].concat())
    }

    /// Whether a mark is new.
    fn remember(&self, number: u64) -> bool {
        let mut marks = self.marks.lock();
        if marks.contains(&number) {
            return false;
        }
        if marks.len() == MARKS {
            marks.pop_front();
        }
        marks.push_back(number);
        true
    }
}

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
            Ok(channel) => {
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
                let heard = hear(channel, setting.config.health.interval, pinged, take);
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
) -> Result<PubSub, Refusal> {
    let info = handshake::connection_info(setting, memory, protocol).await;
    let dialed = setting
        .dial_any
        .dial(&mut memory.last_good, ALLOWANCE)
        .await?;
    handshake::count_greeting(link, setting, &info);
    link.counters.l2_commands.fetch_add(1, Relaxed);
    let refused = |error| handshake::refusal(&error, protocol, setting.redis.tls.is_some());
    let mut channel = PubSub::new(&info, dialed.stream).await.map_err(refused)?;
    channel
        .subscribe(&link.shared.bus.channel)
        .await
        .map_err(refused)?;
    Ok(channel)
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
            let escaped = crate::resilience::glob::escape(prefix);
            setting.listener.removed(&[&escaped, pattern].concat());
        }
        Change::Unknown => setting.listener.missed(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bus(prefix: &str) -> Bus {
        let config =
            Config::parse(&format!(r#"{{"namespace":"{prefix}"}}"#)).expect("sound options");
        let bus = Bus::new(&config, 0);
        bus.speak(Speech::Publishes);
        bus
    }

    fn told(bus: &Bus, commands: &[&[&str]]) -> Option<Vec<u8>> {
        let mut pipeline = redis::pipe();
        for words in commands {
            let mut cmd = redis::cmd(words[0]);
            for word in &words[1..] {
                cmd.arg(*word);
            }
            pipeline.add_command(cmd);
        }
        let cmd = bus.telling_of(&pipeline)?;
        let words: Vec<Vec<u8>> = cmd
            .args_iter()
            .filter_map(|arg| commands::argument(&arg).map(<[u8]>::to_vec))
            .collect();
        assert_eq!(words[..2], [b"PUBLISH".to_vec(), b"n:~inv".to_vec()]);
        Some(words[2].clone())
    }

    #[test]
    fn one_message_tells_of_all_that_a_pipeline_changes() {
        let bus = bus("n");
        let message = told(
            &bus,
            &[
                &["SET", "n:a", "1"],
                &["GET", "n:b"],
                &["UNLINK", "n:c", "n:d"],
            ],
        );
        let message = message.expect("something was changed");
        let message = Message::decode(&message).expect("a message");
        assert_eq!(message.change, Change::Keys(vec![b"a", b"c", b"d"]));
        assert_eq!(message.source, bus.source);
    }

    #[test]
    fn nothing_is_told_of_reads_our_own_keys_and_other_namespaces() {
        let commands: &[&[&str]] = &[
            &["GET", "n:a"],
            &["SET", "n:~quota", "1"],
            &["SET", "m:a", "1"],
            &["PING"],
        ];
        assert_eq!(told(&bus("n"), commands), None);
    }

    #[test]
    fn what_a_command_changes_that_nobody_knows_may_be_everything() {
        let message = told(
            &bus("n"),
            &[&["SET", "n:a", "1"], &["RENAME", "n:a", "n:b"]],
        )
        .expect("told");
        assert_eq!(
            Message::decode(&message).map(|message| message.change),
            Some(Change::Unknown)
        );
    }

    #[test]
    fn a_removal_by_pattern_is_told_by_a_message_or_by_the_name_of_a_key() {
        let bus = bus("n");
        let words = |cmd: &Cmd| -> Vec<Vec<u8>> {
            let words = commands::words(cmd);
            words.into_iter().map(<[u8]>::to_vec).collect()
        };
        let cmd = bus.telling_of_pattern(b"n:a{*", "").expect("told");
        let message = words(&cmd)[2].clone();
        let message = Message::decode(&message).expect("a message");
        assert_eq!(message.change, Change::Pattern(b"a{*"));
        bus.speak(Speech::Marks);
        let other = Bus::new(
            &Config::parse(r#"{"namespace":"n"}"#).expect("sound options"),
            0,
        );
        for home in ["", "12"] {
            let cmd = bus.telling_of_pattern(b"n:a{}:*", home).expect("told");
            let key = words(&cmd)[1].clone();
            assert_eq!(other.heard_mark(&key).as_deref(), Some(&b"n:a{}:*"[..]));
            assert_eq!(other.heard_mark(&key), None, "it expired");
            assert_eq!(bus.heard_mark(&key), None, "it is our own");
        }
        assert!(bus.telling_of_pattern(b"*", "").is_none());
        assert_eq!(other.heard_mark(b"n:~gone:x"), None);
        bus.speak(Speech::Mute);
        assert!(bus.telling_of_pattern(b"n:*", "").is_none());
    }

    #[test]
    fn a_database_other_than_the_first_has_a_channel_of_its_own() {
        let config = Config::parse(r#"{"namespace":"n"}"#).expect("sound options");
        assert_eq!(Bus::new(&config, 3).channel, "n:~inv:3");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(source: u64, at: u64, keys: Vec<Vec<u8>>, pattern: Vec<u8>) {
            let keys = keys.iter().map(Vec::as_slice).collect();
            for change in [Change::Keys(keys), Change::Pattern(&pattern), Change::Unknown] {
                let message = Message { source, at, change };
                let bytes = message.encode();
                prop_assert_eq!(Message::decode(&bytes), Some(message));
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let with_magic = [MAGIC.as_slice(), &bytes].concat();
            for bytes in [bytes, with_magic] {
                if let Some(message) = Message::decode(&bytes) {
                    prop_assert_eq!(message.encode(), bytes);
                }
            }
        }
    }
}
