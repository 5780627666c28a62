//! What is cached: a payload of one kind and how long it lives. Owns the payload kinds, shared with `lib/codec.js`,
//! and the entry as L1 holds it; `wire` owns its form in Redis, `packed` that of compressed
//! payloads, `pages` where large ones are.

pub mod packed;
pub mod pages;
pub mod wire;

use bytes::Bytes;

use crate::{clock::NEVER, tags::Mark};

/// How the bytes of a payload are to be read. The numbers cross the boundary and stand in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// JSON text.
    Json = 1,
    /// A string as it is.
    Text = 2,
    /// Bytes as they are.
    Bytes = 3,
    /// JSON text with `lib/rich.js`' notation for what JSON lacks.
    Rich = 4,
    /// What the user's codec made.
    Coded = 5,
}

impl Kind {
    /// The kind of a number, if it is one.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Json),
            2 => Some(Self::Text),
            3 => Some(Self::Bytes),
            4 => Some(Self::Rich),
            5 => Some(Self::Coded),
            _ => None,
        }
    }
}

/// An encoded value: its kind and its bytes, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How to read `data`.
    pub kind: Kind,
    /// The encoded value.
    pub data: Bytes,
}

impl Payload {
    /// A payload of `kind` over `data`.
    pub fn new(kind: Kind, data: impl Into<Bytes>) -> Self {
        Self {
            kind,
            data: data.into(),
        }
    }

    /// Whether this is a number that Redis holds as plain digits, so that `increment` works on it.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        self.kind == Kind::Json && is_safe_integer(&self.data)
    }
}

/// The largest integer that a JavaScript number holds exactly.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Whether `text` is an integer in canonical form (no sign but `-`, no leading zeros, not `-0`) that a JavaScript
/// number holds exactly.
#[must_use]
pub fn is_safe_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < 16 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical
        && std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .is_some_and(|number| number.abs() <= MAX_SAFE_INTEGER)
}

/// How long a written value lives, as its caller asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The entry's life in ms; `None` never ends.
    pub ttl_ms: Option<u64>,
    /// How long past its life a loader may serve it, in ms.
    pub stale_ms: u64,
}

/// What is left of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It never ends.
    Forever,
    /// So many ms.
    Ms(u64),
}

/// An entry as L1 holds it. It never changes; a change is another entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The value.
    pub payload: Payload,
    /// When it was made, by whoever made it, on `clock::now`.
    pub made: u64,
    /// Until when L1 may answer with it, on `clock::now`.
    pub l1_until: u64,
    /// The end of its life, `NEVER` for none; `None` if only Redis knows (a value without an envelope).
    pub life_until: Option<u64>,
    /// The generation of the link on which Redis was seen to agree; 0 if never.
    pub link: u64,
    /// The era of the cache in which it was made; of an older era it is gone.
    pub era: u32,
    /// What most entries have not.
    pub extra: Option<Box<Extra>>,
}

/// What an entry may have beside its value.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// How long past its life a loader may serve it, in ms.
    pub stale_ms: u64,
    /// Its tags.
    pub marks: Box<[Mark]>,
}

impl Extra {
    /// What there is, if there is anything.
    #[must_use]
    pub fn of(stale_ms: u64, marks: Box<[Mark]>) -> Option<Box<Self>> {
        let is_any = stale_ms > 0 || !marks.is_empty();
        is_any.then(|| Box::new(Self { stale_ms, marks }))
    }
}

impl Entry {
    /// Whether L1 may not answer with it any more.
    #[must_use]
    pub const fn expired(&self, now: u64) -> bool {
        now >= self.l1_until
    }

    /// Whether it is of no use to anybody any more.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.expired(now) && now >= self.stale_until()
    }

    /// Until when a loader may fall back on it: to the end of its life if nothing was said, as long as L1 still has it.
    #[must_use]
    pub fn stale_until(&self) -> u64 {
        let stale_ms = self.extra.as_ref().map_or(0, |extra| extra.stale_ms);
        match self.life_until {
            Some(until) if stale_ms > 0 => until.saturating_add(stale_ms),
            Some(_) | None => 0,
        }
    }

    /// Its tags.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        self.extra.as_ref().map_or(&[], |extra| &extra.marks)
    }

    /// What is left of its life, if anybody but Redis knows.
    #[must_use]
    pub fn life_left(&self, now: u64) -> Option<Left> {
        self.life_until.map(|until| {
            if until == NEVER {
                Left::Forever
            } else {
                Left::Ms(until.saturating_sub(now))
            }
        })
    }

    /// How much of its life is over, in thousandths; 0 for one that never ends.
    #[must_use]
    pub fn spent(&self, now: u64) -> u32 {
        let until = self.life_until.filter(|until| *until != NEVER);
        until.map_or(0, |until| {
            thousandths(
                now.saturating_sub(self.made),
                until.saturating_sub(self.made),
            )
        })
    }
}

/// How many thousandths of `whole` `part` is, at most all.
#[must_use]
pub fn thousandths(part: u64, whole: u64) -> u32 {
    let share = part.saturating_mul(1_000).checked_div(whole);
    share.map_or(1_000, |share| {
        u32::try_from(share.min(1_000)).unwrap_or(1_000)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_safe_integers_are_integers() {
        for yes in [
            "0",
            "7",
            "-7",
            "10",
            "9007199254740991",
            "-9007199254740991",
        ] {
            assert!(is_safe_integer(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            "1.0",
            "1e3",
            " 1",
            "9007199254740992",
            "99999999999999999999999",
        ] {
            assert!(!is_safe_integer(no.as_bytes()), "{no}");
        }
    }
}
