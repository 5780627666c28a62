//! What this process knows of tags. A tag has a version in Redis, a random number that goes when the tag is invalidated; an
//! entry carries the versions that it was made under, and is gone as soon as one of them is another or none. No clock is
//! compared.
//!
//! In L1 nobody compares versions: an entry holds a [`Mark`] of each of its tags, how often the tag had changed here when
//! the entry was seen to agree, and a change counts up. Marks keep their tag alive, so that it is the same one as long as
//! an entry asks for it.
//!
//! | what | does |
//! |---|---|
//! | `change` (invalidated here, or a push) | counts up, forgets the version |
//! | `learn`, `learn_gone` (Redis' answer) | keeps the version, if the tag was not changed since it was asked; counts up if it is another than before |
//!
//! Owns neither the asking nor the deleting: that is `cache::tagging`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use ahash::RandomState;
use parking_lot::Mutex;

/// Tags that nobody holds are remembered for so many sweeps after they changed, for flights that learn their tags at their
/// end; and not more of them than this.
const SWEEPS: usize = 12;
const MOST: usize = 50_000;

/// All tags that entries or callers hold, and those that changed of late.
pub struct Tags {
    held: Mutex<HashMap<Arc<[u8]>, Arc<Tag>, RandomState>>,
    /// How many changes there were.
    count: AtomicU64,
    /// How many there had been at the last sweeps.
    swept: Mutex<VecDeque<u64>>,
    /// How many tags there may be before those that nobody holds go.
    most: AtomicUsize,
    /// Of changes up to this one it is not known any more which tag they were of.
    forgotten: AtomicU64,
}

/// One tag, under the key of its version in Redis.
pub struct Tag {
    /// The key of the version.
    pub key: Arc<[u8]>,
    changes: AtomicU64,
    /// The number of its last change, of all that there were.
    changed: AtomicU64,
    known: Mutex<Known>,
}

/// What Redis said of a version.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The version; 0: it is not known.
    pub version: u64,
    /// The generation of the link over which it was heard.
    pub link: u64,
    /// Until when it is believed, on `clock::now`.
    pub until: u64,
    /// Until when Redis keeps it at least, on `clock::now`.
    pub kept_until: u64,
}

/// A tag as an entry in L1 knew it.
#[derive(Clone)]
pub struct Mark {
    tag: Arc<Tag>,
    changes: u64,
    /// The generation of the tag's link under which its version was seen; 0 if it was not.
    pub link: u64,
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mark")
            .field("changes", &self.changes)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl Mark {
    /// The key of the tag's version.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.tag.key
    }

    /// Until when what is known of the tag's version is believed, on `clock::now`.
    #[must_use]
    pub fn believed_until(&self) -> u64 {
        self.tag.known.lock().until
    }

    /// Whether the tag was not changed since, as far as this process knows.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.tag.changes.load(SeqCst) == self.changes
    }
}

impl Tags {
    /// None yet.
    #[must_use]
    pub fn new(hasher: &RandomState) -> Self {
        Self {
            held: Mutex::new(HashMap::with_hasher(hasher.clone())),
            count: AtomicU64::new(0),
            swept: Mutex::default(),
            forgotten: AtomicU64::new(0),
            most: AtomicUsize::new(MOST),
        }
    }

    /// The tag whose version is under `key`.
    #[must_use]
    pub fn get(&self, key: &Arc<[u8]>) -> Arc<Tag> {
        let mut held = self.held.lock();
        let tag = held
            .entry(Arc::clone(key))
            .or_insert_with(|| self.make(key));
        Arc::clone(tag)
    }

    /// A tag of which it is not known when it changed, but for what was not forgotten.
    fn make(&self, key: &Arc<[u8]>) -> Arc<Tag> {
        Arc::new(Tag {
            key: Arc::clone(key),
            changes: AtomicU64::new(0),
            changed: AtomicU64::new(self.forgotten.load(SeqCst)),
            known: Mutex::default(),
        })
    }

    /// Every entry made under the tag is gone from now on.
    pub fn change(&self, key: &[u8]) {
        let number = self.count.fetch_add(1, SeqCst) + 1;
        let mut held = self.held.lock();
        if held.len() >= self.most.load(SeqCst) && !held.contains_key(key) {
            self.forget(&mut held, number - 1);
            // Those that entries hold do not go: it is looked at again once there are twice as many.
            self.most.store(MOST.max(held.len() * 2), SeqCst);
        }
        let tag = held.get(key).map(Arc::clone);
        let tag = tag.unwrap_or_else(|| {
            let key = Arc::from(key);
            let tag = self.make(&key);
            held.insert(key, Arc::clone(&tag));
            tag
        });
        drop(held);
        let mut known = tag.known.lock();
        tag.changes.fetch_add(1, SeqCst);
        tag.changed.fetch_max(number, SeqCst);
        *known = Known::default();
    }

    /// How many changes there were, for [`Tags::changed_since`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Whether the tag changed since there were `count` changes; of a count from long ago that is not known, and taken for
    /// so.
    #[must_use]
    pub fn changed_since(&self, key: &[u8], count: u64) -> bool {
        match self.held.lock().get(key) {
            Some(tag) => tag.changed.load(SeqCst) > count,
            None => count < self.forgotten.load(SeqCst),
        }
    }

    /// Forgets the tags that nobody holds and that did not change of late.
    pub fn sweep(&self) {
        let mut swept = self.swept.lock();
        swept.push_back(self.count());
        if swept.len() > SWEEPS
            && let Some(until) = swept.pop_front()
        {
            self.forget(&mut self.held.lock(), until);
        }
    }

    fn forget(&self, held: &mut HashMap<Arc<[u8]>, Arc<Tag>, RandomState>, until: u64) {
        self.forgotten.fetch_max(until, SeqCst);
        held.retain(|_, tag| Arc::strong_count(tag) > 1 || tag.changed.load(SeqCst) > until);
    }
}

impl Tag {
    /// How often it was changed, as far as this process knows. Look before Redis is asked.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// What is known of its version, if that is to be believed at `now` while its link is of the generation `link`.
    #[must_use]
    pub fn known(&self, link: u64, now: u64) -> Option<Known> {
        let known = *self.known.lock();
        (known.version != 0 && known.link == link && now < known.until).then_some(known)
    }

    /// Keeps what Redis said, unless the tag was changed since there were `changes`; whether it was kept. Of two answers to
    /// the same question the expiry that was promised stays.
    pub fn learn(&self, changes: u64, told: Known) -> bool {
        let mut known = self.known.lock();
        if self.changes.load(SeqCst) != changes {
            return false;
        }
        let is_another = known.version != 0 && known.version != told.version;
        if is_another {
            self.changes.fetch_add(1, SeqCst);
        }
        let promised = if is_another { 0 } else { known.kept_until };
        *known = Known {
            kept_until: promised.max(told.kept_until),
            ..told
        };
        true
    }

    /// Redis has no version, unless the tag was changed since there were `changes`.
    pub fn learn_gone(&self, changes: u64) {
        let mut known = self.known.lock();
        if self.changes.load(SeqCst) == changes && known.version != 0 {
            self.changes.fetch_add(1, SeqCst);
            *known = Known::default();
        }
    }

    /// The mark of an entry that is made now.
    #[must_use]
    pub fn mark(self: &Arc<Self>, link: u64) -> Mark {
        Mark {
            tag: Arc::clone(self),
            changes: self.changes(),
            link,
        }
    }

    /// The mark of an entry that was made under `version`, if that is what was heard last, over this link, and nothing has
    /// changed since.
    #[must_use]
    pub fn mark_of(self: &Arc<Self>, version: u64, link: u64) -> Option<Mark> {
        let known = self.known.lock();
        (known.version == version && known.link == link).then(|| self.mark(link))
    }

    /// Until when Redis keeps its version at least, be that believed or not.
    #[must_use]
    pub fn kept_until(&self) -> u64 {
        self.known.lock().kept_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> (Tags, Arc<Tag>) {
        let tags = Tags::new(&RandomState::with_seed(1));
        let tag = tags.get(&Arc::from(&b"~tag:a"[..]));
        (tags, tag)
    }

    fn told(version: u64) -> Known {
        Known {
            version,
            link: 1,
            until: 100,
            kept_until: 0,
        }
    }

    #[test]
    fn a_mark_holds_until_its_tag_changes() {
        let (tags, tag) = tag();
        assert!(tag.learn(tag.changes(), told(7)));
        let mark = tag.mark_of(7, 1).expect("the version is known");
        assert!(mark.holds());
        tags.change(&tag.key);
        assert!(!mark.holds());
        assert!(tag.known(1, 50).is_none());
    }

    #[test]
    fn an_answer_that_crossed_a_change_is_not_kept() {
        let (tags, tag) = tag();
        let asked = tag.changes();
        tags.change(&tag.key);
        assert!(!tag.learn(asked, told(7)));
        assert!(tag.known(1, 50).is_none());
    }

    #[test]
    fn another_version_ends_the_marks_of_the_one_before_and_the_same_does_not() {
        let (_tags, tag) = tag();
        assert!(tag.learn(tag.changes(), told(7)));
        let mark = tag.mark(1);
        assert!(tag.learn(tag.changes(), told(7)));
        assert!(mark.holds());
        assert!(tag.learn(tag.changes(), told(8)));
        assert!(!mark.holds());
    }

    #[test]
    fn a_version_that_redis_lost_ends_the_marks_made_under_it() {
        let (_tags, tag) = tag();
        assert!(tag.learn(tag.changes(), told(7)));
        let mark = tag.mark(1);
        tag.learn_gone(tag.changes() + 1);
        assert!(mark.holds());
        tag.learn_gone(tag.changes());
        assert!(!mark.holds());
        assert!(tag.mark_of(7, 1).is_none());
    }

    #[test]
    fn a_version_is_believed_for_a_time_and_on_its_link() {
        let (_tags, tag) = tag();
        assert!(tag.learn(tag.changes(), told(7)));
        assert!(tag.known(1, 99).is_some());
        assert!(tag.known(1, 100).is_none());
        assert!(tag.known(2, 50).is_none());
        assert!(tag.mark_of(8, 1).is_none() && tag.mark_of(7, 2).is_none());
    }

    #[test]
    fn a_change_is_seen_by_who_asks_since_and_by_no_other() {
        let (tags, tag) = tag();
        let before = tags.count();
        tags.change(&tag.key);
        assert!(tags.changed_since(&tag.key, before));
        assert!(!tags.changed_since(&tag.key, tags.count()));
    }

    #[test]
    fn a_tag_that_an_entry_marks_is_not_forgotten() {
        let (tags, tag) = tag();
        let (key, mark) = (Arc::clone(&tag.key), tag.mark(0));
        drop(tag);
        let sweep = || (0..=SWEEPS).for_each(|_| tags.sweep());
        sweep();
        tags.change(&key);
        assert!(!mark.holds());
        drop(mark);
        tags.sweep();
        assert_eq!(tags.held.lock().len(), 1, "it changed just now");
        sweep();
        assert_eq!(tags.held.lock().len(), 0);
    }

    #[test]
    fn what_was_forgotten_may_have_changed_since_long_ago_and_not_since_just_now() {
        let (tags, tag) = tag();
        let before = tags.count();
        tags.change(&tag.key);
        let key = Arc::clone(&tag.key);
        drop(tag);
        (0..=SWEEPS).for_each(|_| tags.sweep());
        assert!(tags.changed_since(&key, before));
        assert!(tags.changed_since(b"~tag:other", before));
        assert!(!tags.changed_since(&key, tags.count()));
    }
}
