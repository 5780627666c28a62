//! Tags in Redis: a key of our own for each holds its version. Marks what is written, judges what Redis gave, invalidates.
//! A tag is invalidated by deleting its version, so that the journal makes up for it as it does for any key; how versions
//! are asked for and made is `versions`'.

mod versions;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;

pub(super) use self::versions::Questions;
use self::versions::{Answer, Answers};
use super::{Cache, Key, Outcome, Waiter, invalidate::number, many::All};
use crate::{
    clock::{self, NEVER},
    entry::wire::Stamp,
    l2::{
        bus::TAG,
        commands,
        port::{Failure, Reply},
    },
    resilience::gate::Kind,
    tags::{Known, Mark, Tag},
};

/// How long a version lives that was made only to be told of; who uses it gives it another life.
const RENEWED_MS: u64 = 3_600_000;
/// What a version is to be kept for is rounded up to this, so that entries whose lives differ a little share a question.
const GRAIN_MS: u64 = 3_600_000;

/// What becomes of an entry by its tags.
pub(super) enum Verdict {
    /// All versions are those that it was made under.
    Holds(Box<[Mark]>),
    /// One is another, or gone.
    Gone,
    /// It cannot be said.
    Failed(Failure),
}

impl Cache {
    /// The marks of an entry that is made now.
    pub(super) fn marks(&self, tags: &[Key]) -> Box<[Mark]> {
        let mark = |key: &Key| self.tags.get(key).mark(self.generation_in_use(key));
        tags.iter().map(mark).collect()
    }

    /// The versions of `tags`, if all are known and Redis keeps them for `life_ms` at least.
    pub(super) fn stamps(&self, tags: &[Key], life_ms: Option<u64>) -> Option<Vec<Stamp>> {
        let until = kept_until(life_ms);
        let stamp = |key: &Key| {
            let known = self.known(&self.tags.get(key))?;
            (known.kept_until >= until).then(|| self.stamp(key, known.version))
        };
        tags.iter().map(stamp).collect()
    }

    fn stamp(&self, key: &[u8], version: u64) -> Stamp {
        let own = self.config.prefix.len() + TAG.len();
        let name = key.get(own..).unwrap_or_default();
        Stamp {
            name: Bytes::copy_from_slice(name),
            version,
        }
    }

    fn tag_key(&self, name: &[u8]) -> Key {
        [self.config.prefix.as_bytes(), TAG, name].concat().into()
    }

    fn known(&self, tag: &Tag) -> Option<Known> {
        tag.known(self.generation_in_use(&tag.key), clock::now())
    }

    /// Has Redis keep a version of each tag for `life_ms` at least; `then` hears which.
    pub(super) fn obtain(
        self: &Arc<Self>,
        tags: &[Key],
        life_ms: Option<u64>,
        then: impl FnOnce(&Arc<Self>, Result<Vec<Stamp>, Failure>) + Send + 'static,
    ) {
        let until = kept_until(life_ms);
        let tags: Vec<_> = tags.iter().map(|key| self.tags.get(key)).collect();
        let keys: Vec<Key> = tags.iter().map(|tag| Arc::clone(&tag.key)).collect();
        let all = Answers::new(tags.len(), move |cache, answers| {
            let stamp = |(key, answer): (&Key, Answer)| match answer? {
                Some(version) => Ok(cache.stamp(key, version)),
                None => Err(Failure::Unavailable),
            };
            let stamps = keys.iter().zip(answers).map(stamp).collect();
            then(cache, stamps);
        });
        for (at, tag) in tags.iter().enumerate() {
            match self.known(tag).filter(|known| known.kept_until >= until) {
                Some(known) => all.told(at)(self, Ok(Some(known.version))),
                None => self.ask_tag(tag, Some(until), self.deadline(), all.told(at)),
            }
        }
        all.start(self);
        self.wake();
    }

    /// Judges an entry by the tags it carries; `then` hears at once if all are known.
    pub(super) fn judge(
        self: &Arc<Self>,
        stamps: &[Stamp],
        deadline: u64,
        then: impl FnOnce(&Arc<Self>, Verdict) + Send + 'static,
    ) {
        let made_under = |stamp: &Stamp| {
            let tag = self.tags.get(&self.tag_key(&stamp.name));
            let link = self.generation_in_use(&tag.key);
            (tag, stamp.version, link)
        };
        let made_under: Vec<_> = stamps.iter().map(made_under).collect();
        let tags: Vec<_> = made_under.iter().map(|(tag, ..)| Arc::clone(tag)).collect();
        let all = Answers::new(stamps.len(), move |cache, answers| {
            then(cache, verdict(&made_under, answers));
        });
        let mut asks = false;
        for (at, tag) in tags.iter().enumerate() {
            if let Some(known) = self.known(tag) {
                all.told(at)(self, Ok(Some(known.version)));
            } else {
                asks = true;
                self.ask_tag(tag, None, deadline, all.told(at));
            }
        }
        all.start(self);
        if asks {
            self.wake();
        }
    }

    /// Whether one of `tags` may have changed since there were `count` changes of tags.
    pub(super) fn tags_changed(&self, tags: &[Key], count: u64) -> bool {
        tags.iter().any(|key| self.tags.changed_since(key, count))
    }

    /// Every entry that carries one of `tags` is gone.
    pub fn invalidate_tags(
        self: &Arc<Self>,
        mut tags: Vec<Key>,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict) && self.l2.is_some();
        tags.sort_unstable();
        tags.dedup();
        let change = || tags.iter().for_each(|tag| self.tags.change(tag));
        change();
        let groups = self.l2.as_ref().filter(|_| !tags.is_empty());
        let groups = groups.map_or_else(Vec::new, |l2| l2.groups(tags.clone()));
        let all = Arc::new(All::new(groups.len(), waiter));
        for tags in groups {
            if !self.takes(&tags[0], Kind::Deletion) {
                for tag in &tags {
                    self.distrust(tag);
                }
                all.done(strict.then(|| self.failed(&Failure::Unavailable, b"")));
                continue;
            }
            let (all, asked) = (Arc::clone(&all), tags.clone());
            let told = move |cache: &Arc<Self>, reply: Reply| match reply {
                Ok(value) if number(&value) < asked.len() => cache.renew_versions(&asked, &all),
                Ok(_) => all.done(None),
                Err(failure) => all.done(strict.then(|| cache.failed(&failure, b""))),
            };
            self.send_write(&tags, commands::unlink(&tags), Box::new(told));
        }
        // Once more: a version that was asked for in between is the one that goes.
        change();
        all.now()
    }

    /// Gives tags another version where it is not known which of them had one: the end of what is not there is told to
    /// nobody, and somebody may be making a value that is to carry it.
    fn renew_versions(self: &Arc<Self>, tags: &[Key], all: &Arc<All>) {
        let each = Arc::new(AtomicUsize::new(tags.len()));
        for tag in tags {
            let version = fastrand::u64(1..).to_string();
            let set = commands::set(tag, version.as_bytes(), Some(RENEWED_MS), None);
            let (each, all) = (Arc::clone(&each), Arc::clone(all));
            let told = move |_: &Arc<Self>, _: Reply| {
                if each.fetch_sub(1, SeqCst) == 1 {
                    all.done(None);
                }
            };
            self.send_write(std::slice::from_ref(tag), set, Box::new(told));
            self.tags.change(tag);
        }
        self.wake();
    }
}

fn kept_until(life_ms: Option<u64>) -> u64 {
    let until = life_ms.map(|ms| clock::now().saturating_add(ms));
    until
        .and_then(|until| until.checked_next_multiple_of(GRAIN_MS))
        .unwrap_or(NEVER)
}

/// An entry holds if each of its tags has the version that it was made under, and did not change since that was said.
fn verdict(made_under: &[(Arc<Tag>, u64, u64)], answers: Vec<Answer>) -> Verdict {
    if let Some(failure) = answers.into_iter().find_map(Result::err) {
        return Verdict::Failed(failure);
    }
    let mark = |(tag, version, link): &(Arc<Tag>, u64, u64)| tag.mark_of(*version, *link);
    let marks = made_under.iter().map(mark).collect::<Option<_>>();
    marks.map_or(Verdict::Gone, Verdict::Holds)
}
