//! The patterns of a journal.
//!
//! Owns their order, their bytes and whether a key matches one of them. How many
//! there may be is the journal's affair.

use super::glob;

/// Patterns by age, each of them once.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// The globs, with the numbers under which they were noted.
    list: Vec<(Box<[u8]>, u64)>,
    /// Bytes of all globs.
    bytes: usize,
}

impl Patterns {
    /// Makes `glob` the newest.
    pub(super) fn record(&mut self, glob: Box<[u8]>, seq: u64) {
        self.remove(&glob, u64::MAX);
        self.bytes += glob.len();
        self.list.push((glob, seq));
    }

    /// Removes `glob` if it was noted no later than `seq`. True if it was.
    pub(super) fn remove(&mut self, glob: &[u8], seq: u64) -> bool {
        let covered = |(known, noted): &(Box<[u8]>, u64)| **known == *glob && *noted <= seq;
        let found = self.list.iter().position(covered);
        if let Some(index) = found {
            self.bytes -= self.list.remove(index).0.len();
        }
        found.is_some()
    }

    /// The globs and their numbers, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.list.iter().map(|(glob, noted)| (&**glob, *noted))
    }

    /// Whether one of them matches `key`.
    pub(super) fn cover(&self, key: &[u8]) -> bool {
        self.list.iter().any(|(glob, _)| glob::matches(glob, key))
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
