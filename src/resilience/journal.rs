//! What Redis may hold that is no longer true.
//!
//! Owns the keys and patterns whose last change Redis has not confirmed, in the
//! order in which they were made, and the answer to "may this key be read from
//! Redis". Does not own the replay: the supervisor takes a [`Journal::batch`],
//! sends it and reports each good reply with [`Journal::acknowledge`].
//!
//! Every entry carries a sequence number, and so does every write that is sent
//! ([`Journal::mark`]). A reply removes an entry only if the entry is not newer
//! than what was acknowledged; when in doubt an entry stays, and the worst of it
//! is one value that has to be loaded again.
//!
//! The journal is bounded. Past its bounds it *collapses*: the keys are forgotten
//! and all of the namespace counts as journaled, until a wipe of the namespace
//! that began later is done.
//!
//! | state | `record` | left by |
//! |---|---|---|
//! | listing | keeps the entry | an entry that does not fit → collapsed |
//! | collapsed | keeps nothing: the coming wipe covers it | `begin_wipe` → wiping |
//! | wiping | keeps the entry: the wipe may have passed its key | `end_wipe` of this wipe → listing; an entry that does not fit → collapsed; `begin_wipe` (the first one failed) → wiping |

use super::patterns::Patterns;
pub use super::patterns::Scope;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Keys kept before the journal collapses.
pub const MAX_KEYS: usize = 10_000;
/// Bytes kept before the journal collapses, overhead included.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Patterns kept before the journal collapses: each read is held against all.
pub const MAX_PATTERNS: usize = 64;
/// What an entry occupies beside its bytes, in both indexes and its `Arc`.
const ENTRY_OVERHEAD: usize = 96;

/// How much of the namespace is journaled beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Only what is listed.
    Listed,
    /// All of it, and no wipe is under way.
    Collapsed,
    /// All of it, until the wipe that began with this number is done.
    Wiping(u64),
}

/// The keys, patterns and the collapse that wait for Redis.
#[derive(Debug)]
pub struct Journal {
    /// The last change of each key.
    keys: HashMap<Arc<[u8]>, u64, ahash::RandomState>,
    /// The same entries by age, for the replay.
    order: BTreeMap<u64, Arc<[u8]>>,
    /// The patterns.
    patterns: Patterns,
    /// Keys with writes under way, and how many.
    writes: HashMap<Arc<[u8]>, u32, ahash::RandomState>,
    /// Bytes held by the keys, overhead included.
    bytes: usize,
    /// The last number given out, by this journal or one that shares it.
    last: Arc<AtomicU64>,
    /// Whether more than the entries is journaled.
    extent: Extent,
    /// Nobody has asked yet what is valid in Redis.
    blind: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::sharing(Arc::default())
    }

    /// An empty journal whose numbers are no other's that shares `last`: entries can go from one to the other.
    #[must_use]
    pub fn sharing(last: Arc<AtomicU64>) -> Self {
        Self {
            keys: HashMap::default(),
            order: BTreeMap::new(),
            patterns: Patterns::default(),
            writes: HashMap::default(),
            bytes: 0,
            last,
            extent: Extent::Listed,
            blind: false,
        }
    }

    /// Notes that Redis may hold an old value of `key` (as it is named in Redis),
    /// and gives the number under which it was noted. A key that was already
    /// there becomes the newest.
    pub fn record(&mut self, key: Arc<[u8]>) -> u64 {
        let seq = self.next();
        if self.extent != Extent::Collapsed {
            self.insert(key, seq);
        }
        seq
    }

    /// Notes that Redis may hold old values of all keys that match `glob` (with
    /// its namespace), and gives the number under which it was noted.
    pub fn record_pattern(&mut self, glob: Box<[u8]>) -> u64 {
        let seq = self.next();
        if self.extent != Extent::Collapsed {
            self.patterns.record(glob, seq);
            self.collapse_if_full();
        }
        seq
    }

    /// Gives up the list: from now on all of the namespace is journaled. For
    /// `clear()` while Redis is away, and for what does not fit.
    pub fn collapse(&mut self) {
        self.forget_entries();
        self.extent = Extent::Collapsed;
    }

    /// Whether `key` must not be read from Redis.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        self.covers(key) || self.keys.contains_key(key)
    }

    /// Whether more than `key` alone is journaled, and `key` with it: what is written under it now may be deleted with the
    /// rest.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        self.is_whole() || self.patterns.cover(key)
    }

    /// Whether nothing may be read from Redis: all is journaled, or it is not known what is valid there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.blind || self.collapsed()
    }

    /// Until [`Journal::see`], nothing in Redis is believed.
    pub fn go_blind(&mut self) {
        self.blind = true;
    }

    /// It is known now what is valid in Redis.
    pub fn see(&mut self) {
        self.blind = false;
    }

    /// Whether it has to be found out what is valid in Redis.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether all of the namespace is journaled.
    #[must_use]
    pub fn collapsed(&self) -> bool {
        self.extent != Extent::Listed
    }

    /// Whether nothing waits for Redis.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// Entries that wait for Redis: keys, patterns, one for a collapse, and one while it is not known what is valid.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.keys.len()
            + self.patterns.len()
            + usize::from(self.collapsed())
            + usize::from(self.blind)
    }

    /// Bytes that the entries occupy, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.patterns.bytes() + self.patterns.len() * ENTRY_OVERHEAD
    }

    /// The number of a write that is being sent now: newer than all that was
    /// noted so far, older than all that will be.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// Redis confirmed a write of `key` that was sent at `seq`, or refused it for
    /// good. True if that removed the entry; one noted later stays.
    pub fn acknowledge(&mut self, key: &[u8], seq: u64) -> bool {
        let covered = self.keys.get(key).is_some_and(|&noted| noted <= seq);
        if covered {
            self.remove_key(key);
        }
        covered
    }

    /// A scan removed all matches of `glob` as it was noted under `seq`, or Redis refuses
    /// that for good. True if that removed the entry; one noted later stays.
    pub fn acknowledge_pattern(&mut self, glob: &[u8], seq: u64) -> bool {
        self.patterns.remove(glob, seq)
    }

    /// A write of `key` is about to be sent; gives its number. Until [`Journal::end_write`], once for each,
    /// [`Journal::batch`] leaves the key out: its UNLINK would follow the write and undo it, acknowledged as it is.
    pub fn begin_write(&mut self, key: &Arc<[u8]>) -> u64 {
        *self.writes.entry(Arc::clone(key)).or_default() += 1;
        self.next()
    }

    /// The write that was given `seq` may not have been carried out. It is noted as of when it was sent, so that a
    /// write sent after it, once confirmed, makes up for it.
    pub fn record_write(&mut self, key: &Arc<[u8]>, seq: u64) {
        let newer = self.keys.get(key).is_some_and(|&noted| noted >= seq);
        if self.extent != Extent::Collapsed && !newer {
            self.insert(Arc::clone(key), seq);
        }
    }

    /// The deletion of `key` that was sent at `seq` was refused, and has ended: the key becomes the newest, so that others
    /// have their turn, unless a write that was sent later will make up for it.
    pub fn postpone(&mut self, key: &Arc<[u8]>, seq: u64) {
        let waits = self.keys.get(&**key).is_some_and(|&noted| noted <= seq);
        if waits && !self.writes.contains_key(&**key) {
            let seq = self.next();
            self.insert(Arc::clone(key), seq);
        }
    }

    /// A write that was begun has ended, however it did.
    pub fn end_write(&mut self, key: &[u8]) {
        if let Some(writes) = self.writes.get_mut(key) {
            *writes -= 1;
            if *writes == 0 {
                self.writes.remove(key);
            }
        }
    }

    /// The `most` oldest keys noted after `seq` (0: from the start) that no write is
    /// under way for, oldest first, with their numbers. They stay until acknowledged;
    /// the number of the last one leads to the next batch.
    #[must_use]
    pub fn batch(&self, seq: u64, most: usize) -> Vec<(Arc<[u8]>, u64)> {
        self.order
            .range(seq.saturating_add(1)..)
            .filter(|(_, key)| !self.writes.contains_key(*key))
            .take(most)
            .map(|(&noted, key)| (Arc::clone(key), noted))
            .collect()
    }

    /// The patterns, their numbers and the slots that they are about (all, if none), oldest first.
    pub fn patterns(&self) -> impl Iterator<Item = (&[u8], u64, Option<&Scope>)> {
        self.patterns.iter()
    }

    /// A wipe of the namespace begins, if the journal is collapsed: gives what
    /// [`Journal::end_wipe`] wants. Entries from before are covered by the wipe.
    pub fn begin_wipe(&mut self) -> Option<u64> {
        if !self.collapsed() {
            return None;
        }
        self.forget_entries();
        let seq = self.next();
        self.extent = Extent::Wiping(seq);
        Some(seq)
    }

    /// The wipe that began as `seq` is done. True if that ends the collapse; it
    /// does not if the journal has collapsed again or another wipe has begun.
    pub fn end_wipe(&mut self, seq: u64) -> bool {
        let ends = self.extent == Extent::Wiping(seq);
        if ends {
            self.extent = Extent::Listed;
        }
        ends
    }

    /// Takes over from `other` what concerns the keys of some slots: single keys, and patterns for these slots. A collapse
    /// becomes the pattern of `everything`, or, where there is no namespace, a collapse here too. Both must share their
    /// numbers.
    pub fn take_over(&mut self, other: &mut Self, scope: &Scope, everything: Option<&[u8]>) {
        let goes = |key: &[u8]| scope.holds(key);
        let all = everything.filter(|_| other.collapsed());
        if other.collapsed() && all.is_none() {
            self.collapse();
        }
        let globs: Vec<&[u8]> = other
            .patterns
            .iter()
            .map(|(glob, ..)| glob)
            .chain(all)
            .collect();
        for glob in globs {
            let seq = self.next();
            if self.extent != Extent::Collapsed {
                self.patterns.record_within(glob.into(), seq, scope);
                self.collapse_if_full();
            }
        }
        let moved: Vec<_> = other.keys.keys().filter(|key| goes(key)).cloned().collect();
        for key in moved {
            let seq = other.keys.get(&key).copied();
            other.remove_key(&key);
            if let Some(seq) = seq {
                self.record_write(&key, seq);
            }
        }
        other.writes.retain(|key, count| {
            let stays = !goes(key);
            if !stays {
                *self.writes.entry(Arc::clone(key)).or_default() += *count;
            }
            stays
        });
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, Relaxed) + 1
    }

    fn insert(&mut self, key: Arc<[u8]>, seq: u64) {
        self.remove_key(&key);
        self.bytes += key.len() + ENTRY_OVERHEAD;
        self.order.insert(seq, Arc::clone(&key));
        self.keys.insert(key, seq);
        self.collapse_if_full();
    }

    fn collapse_if_full(&mut self) {
        let full = self.keys.len() > MAX_KEYS
            || self.patterns.len() > MAX_PATTERNS
            || self.bytes() > MAX_BYTES;
        if full {
            self.collapse();
        }
    }

    /// Gives the memory back too: a long outage should leave no trace.
    fn forget_entries(&mut self) {
        self.keys = HashMap::default();
        self.order = BTreeMap::new();
        self.patterns = Patterns::default();
        self.bytes = 0;
    }

    fn remove_key(&mut self, key: &[u8]) {
        if let Some(noted) = self.keys.remove(key) {
            self.order.remove(&noted);
            self.bytes -= key.len() + ENTRY_OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u32) -> Arc<[u8]> {
        Arc::from(format!("k{number}").into_bytes())
    }

    #[test]
    fn what_is_taken_over_keeps_its_numbers() {
        let last = Arc::default();
        let mut from = Journal::sharing(Arc::clone(&last));
        let mut to = Journal::sharing(last);
        let (moved, stays) = (key(1), key(2));
        from.record(Arc::clone(&stays));
        let before = from.begin_write(&moved);
        from.record_write(&moved, before);
        let later = from.begin_write(&moved);
        from.record_pattern(b"p*"[..].into());
        to.record(key(3));
        let same = (key(6), key(7));
        from.record(Arc::clone(&same.0));
        to.record(Arc::clone(&same.1));
        // The digit of a key is its slot.
        let slot_of: fn(&[u8]) -> u16 = |key| u16::from(key[1]);
        let scope = Scope::new(slot_of, &[u16::from(b'1'), u16::from(b'6')]);
        to.take_over(&mut from, &scope, None);
        assert!(to.contains(&moved) && !from.contains(&moved) && from.contains(&stays));
        assert!(to.contains(b"p1") && from.contains(b"p1"));
        assert!(
            !to.contains(b"p2") && from.contains(b"p2"),
            "another slot's"
        );
        let due: Vec<_> = to.batch(0, 9).into_iter().map(|(key, _)| key).collect();
        assert_eq!(due, [key(3), same.0, same.1], "a write of k1 is under way");
        to.end_write(&moved);
        to.end_write(&moved);
        assert!(to.acknowledge(&moved, later), "sent after what is noted");
        assert!(to.record(key(4)) > later && from.record(key(5)) > later);
    }

    #[test]
    fn a_later_write_that_was_confirmed_makes_up_for_an_earlier_one_that_was_not() {
        let mut journal = Journal::new();
        let key: Arc<[u8]> = Arc::from(&b"k"[..]);
        let (first, second) = (journal.begin_write(&key), journal.begin_write(&key));
        journal.record_write(&key, first);
        assert!(journal.batch(0, 9).is_empty(), "a write is under way");
        assert!(journal.acknowledge(&key, second));
        journal.end_write(&key);
        journal.end_write(&key);
        assert!(journal.is_empty());
        let (first, second) = (journal.begin_write(&key), journal.begin_write(&key));
        journal.record_write(&key, second);
        journal.record_write(&key, first);
        assert!(
            !journal.acknowledge(&key, first),
            "the second is not made up for"
        );
    }

    #[test]
    fn a_key_is_journaled_until_a_write_sent_no_earlier_is_acknowledged() {
        let mut journal = Journal::new();
        let before = journal.mark();
        let noted = journal.record(key(1));
        assert!(journal.contains(b"k1") && !journal.contains(b"k2"));
        assert!(
            !journal.acknowledge(b"k1", before),
            "sent before the change"
        );
        assert!(journal.contains(b"k1"));
        assert!(journal.acknowledge(b"k1", noted));
        assert!(journal.is_empty() && journal.bytes() == 0);
    }

    #[test]
    fn a_key_noted_again_is_not_removed_by_the_reply_to_its_first_replay() {
        let mut journal = Journal::new();
        journal.record(key(1));
        let replayed = journal.batch(0, 64);
        journal.record(key(1));
        assert_eq!(replayed.len(), 1);
        assert!(!journal.acknowledge(&replayed[0].0, replayed[0].1));
        assert_eq!(journal.pending(), 1);
    }

    #[test]
    fn batches_follow_each_other_oldest_first() {
        let mut journal = Journal::new();
        for number in [3, 1, 2, 3] {
            journal.record(key(number));
        }
        let first = journal.batch(0, 2);
        let rest = journal.batch(first[1].1, 64);
        let names: Vec<_> = first
            .iter()
            .chain(&rest)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        assert_eq!(names, [key(1), key(2), key(3)]);
    }

    #[test]
    fn a_pattern_covers_its_matches_and_is_noted_once() {
        let mut journal = Journal::new();
        let old = journal.record_pattern(Box::from(*b"user:*"));
        let new = journal.record_pattern(Box::from(*b"user:*"));
        assert!(journal.contains(b"user:1") && !journal.contains(b"item:1"));
        assert_eq!(
            journal
                .patterns()
                .map(|(glob, seq, _)| (glob, seq))
                .collect::<Vec<_>>(),
            [(&b"user:*"[..], new)]
        );
        assert!(
            !journal.acknowledge_pattern(b"user:*", old),
            "noted again since"
        );
        assert!(journal.acknowledge_pattern(b"user:*", new));
        assert!(journal.is_empty() && journal.bytes() == 0);
    }

    #[test]
    fn a_key_with_a_write_under_way_is_not_replayed_over_it() {
        let mut journal = Journal::new();
        journal.record(key(1));
        journal.record(key(2));
        journal.begin_write(&key(1));
        journal.begin_write(&key(1));
        journal.end_write(b"k1");
        assert_eq!(journal.batch(0, 64), [(key(2), 2)]);
        assert!(journal.contains(b"k1"), "nor is it readable");
        journal.end_write(b"k1");
        journal.end_write(b"k1");
        assert_eq!(journal.batch(0, 64).len(), 2);
        assert!(journal.writes.is_empty());
    }

    #[test]
    fn a_key_whose_deletion_was_refused_waits_behind_the_others_unless_a_write_makes_up_for_it() {
        let mut journal = Journal::new();
        let refused = journal.record(key(1));
        journal.record(key(2));
        journal.postpone(&key(1), refused);
        assert_eq!(journal.batch(0, 1), [(key(2), 2)]);
        journal.postpone(&key(1), refused);
        journal.postpone(&key(3), refused);
        assert_eq!(journal.pending(), 2);
        assert_eq!(journal.mark(), 3, "it has another number already");

        let write = journal.begin_write(&key(1));
        journal.postpone(&key(1), write);
        assert!(journal.acknowledge(b"k1", write));
    }

    #[test]
    fn nothing_is_believed_before_it_is_known_what_is_valid() {
        let mut journal = Journal::new();
        journal.go_blind();
        assert!(journal.is_blind() && journal.is_whole() && journal.covers(b"k1"));
        assert!(journal.contains(b"k1") && journal.pending() == 1);
        assert_eq!(
            journal.begin_wipe(),
            None,
            "nothing is known to be untrue either"
        );
        journal.record(key(1));
        journal.see();
        assert!(journal.contains(b"k1") && !journal.contains(b"k2") && !journal.is_whole());
    }

    #[test]
    fn too_many_keys_bytes_or_patterns_collapse_it() {
        let mut keys = Journal::new();
        for number in 0..10_000 {
            keys.record(key(number));
        }
        assert!(!keys.collapsed(), "10,000 keys are kept");
        keys.record(key(10_000));
        assert!(keys.collapsed() && keys.pending() == 1 && keys.contains(b"anything"));

        let mut bytes = Journal::new();
        for number in 0..65_u8 {
            bytes.record(Arc::from(vec![number; 32 * 1024]));
        }
        assert!(bytes.collapsed());

        let mut patterns = Journal::new();
        for number in 0..65 {
            patterns.record_pattern(format!("{number}*").into_bytes().into());
        }
        assert!(patterns.collapsed());
    }

    #[test]
    fn a_collapse_ends_with_its_wipe_and_what_was_noted_meanwhile_stays() {
        let mut journal = Journal::new();
        assert_eq!(journal.begin_wipe(), None);
        journal.collapse();
        journal.record(key(1));
        let first = journal.begin_wipe().unwrap();
        assert_eq!(journal.pending(), 1, "covered by the wipe");
        journal.record(key(2));
        let second = journal.begin_wipe().unwrap();
        journal.record(key(3));
        assert!(!journal.end_wipe(first), "the first wipe failed");
        assert!(journal.end_wipe(second));
        assert!(!journal.contains(b"k1") && !journal.contains(b"k2") && journal.contains(b"k3"));
        assert!(!journal.end_wipe(second));
    }

    #[test]
    fn a_wipe_does_not_end_a_collapse_that_came_after_it() {
        let mut journal = Journal::new();
        journal.collapse();
        let wipe = journal.begin_wipe().unwrap();
        journal.collapse();
        assert!(!journal.end_wipe(wipe));
        assert!(journal.collapsed());
    }

    /// What can happen to a journal.
    #[derive(Debug, Clone)]
    enum Step {
        Record(u32),
        Pattern(u32),
        /// Acknowledges a key with the number of so many steps ago.
        Acknowledge(u32, u64),
        /// Makes a key the newest, if it has the number of so many steps ago.
        Postpone(u32, u64),
        Collapse,
        Begin,
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..6_u32).prop_map(Step::Record),
            2 => (0..6_u32).prop_map(Step::Pattern),
            8 => (0..6_u32, 0..4_u64).prop_map(|(number, ago)| Step::Acknowledge(number, ago)),
            2 => (0..6_u32, 0..4_u64).prop_map(|(number, ago)| Step::Postpone(number, ago)),
            1 => Just(Step::Collapse),
            1 => Just(Step::Begin),
            2 => Just(Step::End),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        /// The model knows, for each key, the last change that Redis has not
        /// confirmed. Whatever it knows of must never be readable.
        #[test]
        fn no_unconfirmed_change_is_ever_readable(steps in steps()) {
            let mut journal = Journal::new();
            let mut stale: HashMap<u32, u64> = HashMap::new();
            let mut all_stale_since = None;
            let mut wipe = None;
            for step in steps {
                match step {
                    Step::Record(number) => {
                        stale.insert(number, journal.record(key(number)));
                    }
                    Step::Pattern(number) => {
                        stale.insert(number, journal.record_pattern(key(number).as_ref().into()));
                    }
                    Step::Acknowledge(number, ago) => {
                        let sent = journal.mark().saturating_sub(ago);
                        if stale.get(&number).is_some_and(|&noted| noted <= sent) {
                            stale.remove(&number);
                        }
                        journal.acknowledge(&key(number), sent);
                    }
                    Step::Postpone(number, ago) => {
                        journal.postpone(&key(number), journal.mark().saturating_sub(ago));
                    }
                    Step::Collapse => {
                        journal.collapse();
                        all_stale_since = Some(journal.mark());
                    }
                    Step::Begin => wipe = journal.begin_wipe().or(wipe),
                    Step::End => if let Some(seq) = wipe && journal.end_wipe(seq) {
                        stale.retain(|_, noted| *noted > seq);
                        all_stale_since = all_stale_since.filter(|&since| since > seq);
                    }
                }
                for number in 0..6 {
                    let unconfirmed = all_stale_since.is_some() || stale.contains_key(&number);
                    prop_assert!(!unconfirmed || journal.contains(&key(number)));
                }
            }
        }

        #[test]
        fn bounds_and_both_indexes_hold(steps in steps()) {
            let mut journal = Journal::new();
            for step in steps {
                match step {
                    Step::Record(number) => { journal.record(key(number)); }
                    Step::Pattern(number) => { journal.record_pattern(key(number).as_ref().into()); }
                    Step::Acknowledge(number, ago) => { journal.acknowledge(&key(number), journal.mark().saturating_sub(ago)); }
                    Step::Postpone(number, ago) => journal.postpone(&key(number), journal.mark().saturating_sub(ago)),
                    Step::Collapse => journal.collapse(),
                    Step::Begin => { journal.begin_wipe(); }
                    Step::End => { journal.end_wipe(journal.mark()); }
                }
                prop_assert_eq!(journal.keys.len(), journal.order.len());
                let held: usize = journal.order.values().map(|k| k.len() + ENTRY_OVERHEAD).sum();
                let globs = journal.patterns.bytes() + journal.patterns.len() * ENTRY_OVERHEAD;
                prop_assert_eq!(journal.bytes(), held + globs);
                prop_assert!(journal.bytes() <= MAX_BYTES);
                for (name, noted) in journal.batch(0, usize::MAX) {
                    prop_assert_eq!(journal.keys.get(&name), Some(&noted));
                }
            }
        }
    }
}
