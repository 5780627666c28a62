//! The patterns of a journal.
//!
//! Owns their order, their bytes and whether a key matches one of them. How many
//! there may be is the journal's affair.

use std::collections::HashSet;

use super::glob;

/// Some slots of a cluster: what is about their keys only.
#[derive(Debug, Clone)]
pub struct Scope {
    slot_of: fn(&[u8]) -> u16,
    slots: HashSet<u16, ahash::RandomState>,
}

impl Scope {
    /// The slots given, by the function that tells a key's.
    #[must_use]
    pub fn new(slot_of: fn(&[u8]) -> u16, slots: &[u16]) -> Self {
        Self {
            slot_of,
            slots: slots.iter().copied().collect(),
        }
    }

    /// Whether a key is in one of them.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        self.slots.contains(&(self.slot_of)(key))
    }
}

#[derive(Debug)]
struct Noted {
    glob: Box<[u8]>,
    seq: u64,
    /// All keys that match, if there is none.
    scope: Option<Scope>,
}

/// Patterns by age, each of them once for all keys, and once for those of some slots.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    list: Vec<Noted>,
    /// Bytes of all globs.
    bytes: usize,
}

impl Patterns {
    /// Makes `glob` the newest, for all keys.
    pub(super) fn record(&mut self, glob: Box<[u8]>, seq: u64) {
        self.list.retain(|noted| noted.glob != glob);
        self.push(glob, seq, None);
    }

    /// Makes `glob` the newest for the keys of some slots, beside those it was noted for.
    pub(super) fn record_within(&mut self, glob: Box<[u8]>, seq: u64, scope: &Scope) {
        let same = |noted: &Noted| noted.glob == glob && noted.scope.is_some();
        let mut scope = scope.clone();
        if let Some(at) = self.list.iter().position(same) {
            let before = self.list.remove(at);
            let slots = before.scope.into_iter().flat_map(|scope| scope.slots);
            scope.slots.extend(slots);
        }
        self.push(glob, seq, Some(scope));
    }

    fn push(&mut self, glob: Box<[u8]>, seq: u64, scope: Option<Scope>) {
        self.list.push(Noted { glob, seq, scope });
        self.bytes = self.list.iter().map(|noted| noted.glob.len()).sum();
    }

    /// Removes `glob` as it was noted under `seq`. True if it still was.
    pub(super) fn remove(&mut self, glob: &[u8], seq: u64) -> bool {
        let found = self
            .list
            .iter()
            .position(|noted| *noted.glob == *glob && noted.seq == seq);
        if let Some(index) = found {
            self.bytes -= self.list.remove(index).glob.len();
        }
        found.is_some()
    }

    /// The globs, their numbers and what they are about, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64, Option<&Scope>)> {
        let list = self.list.iter();
        list.map(|noted| (&*noted.glob, noted.seq, noted.scope.as_ref()))
    }

    /// Whether one of them covers `key`.
    pub(super) fn cover(&self, key: &[u8]) -> bool {
        self.list.iter().any(|noted| {
            let is_within = noted.scope.as_ref().is_none_or(|scope| scope.holds(key));
            is_within && glob::matches(&noted.glob, key)
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of all globs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
