//! Tells other processes what this one changes, where the server itself does not tell: one channel for each namespace and
//! database. Whoever writes publishes in the pipeline of the write, behind it; `subscriber` hears.
//!
//! A message: `ek`, a version, who sent it and when by its own clock (8 bytes each), a kind, and then for each key its
//! length in 2 bytes and its name without the namespace, or a pattern without the namespace. Numbers are big-endian.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline};

use super::{changes::Changes, commands};
use crate::{
    clock,
    config::Config,
    resilience::{gate::Kind, glob},
};

const MAGIC: &[u8; 3] = b"ek\x01";
/// What the channel is called, after the namespace.
const CHANNEL: &str = "~inv";
/// What a key begins with, after the namespace, that is named after a pattern. What puts it into a slot follows in braces.
const MARK: &str = "~gone:";
/// What the key of a tag's version begins with, after the namespace.
pub const TAG: &[u8] = b"~tag:";
/// How many marks are known again.
const MARKS: usize = 256;
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
    pub(super) source: u64,
    pub(super) prefix: String,
    pub(super) channel: String,
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
        let mut names: Vec<&[u8]> = Vec::new();
        for cmd in pipeline.cmd_iter() {
            let words = commands::words(cmd);
            let (name, args) = words.split_first()?;
            let Changes::Keys(keys) = Changes::of(name, args.iter().copied()) else {
                return Some(self.publish(Change::Unknown));
            };
            let deletes = commands::kind(cmd) == Kind::Deletion;
            let changed = keys
                .into_iter()
                .filter_map(|key| key.strip_prefix(self.prefix.as_bytes()));
            // Of our own keys only the end of a tag's version is news.
            names.extend(
                changed
                    .filter(|name| !name.starts_with(b"~") || (deletes && name.starts_with(TAG))),
            );
        }
        (!names.is_empty()).then(|| self.publish(Change::Keys(names)))
    }

    /// What tells that everything that matches was removed, if it is to be told. `home` puts a key into a slot of the link.
    #[must_use]
    pub fn telling_of_pattern(&self, pattern: &[u8], home: &str) -> Option<Cmd> {
        let escaped = glob::escape(self.prefix.as_bytes());
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
        let escaped = glob::escape(self.prefix.as_bytes());
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
                &["UNLINK", "n:~tag:e", "n:~lock:f"],
            ],
        );
        let message = message.expect("something was changed");
        let message = Message::decode(&message).expect("a message");
        assert_eq!(
            message.change,
            Change::Keys(vec![b"a", b"c", b"d", b"~tag:e"])
        );
        assert_eq!(message.source, bus.source);
    }

    #[test]
    fn nothing_is_told_of_reads_our_own_keys_and_other_namespaces() {
        let commands: &[&[&str]] = &[
            &["GET", "n:a"],
            &["SET", "n:~quota", "1"],
            &["EVAL", "script", "1", "n:~tag:a"],
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
