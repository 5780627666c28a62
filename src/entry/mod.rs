//! What is cached: a payload of one kind and how long it lives. Owns the payload kinds, shared with `lib/codec.js`,
//! and the entry as L1 holds it; `wire` owns its form in Redis.

pub mod wire;

use bytes::Bytes;

use crate::clock::NEVER;

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
    /// Until when L1 may answer with it, on `clock::now`.
    pub l1_until: u64,
    /// The end of its life, `NEVER` for none; `None` if only Redis knows (a value without an envelope).
    pub life_until: Option<u64>,
    /// The generation of the link on which Redis was seen to agree; 0 if never.
    pub link: u64,
    /// The era of the cache in which it was made; of an older era it is gone.
    pub era: u32,
}

impl Entry {
    /// Whether L1 may not answer with it any more.
    #[must_use]
    pub const fn expired(&self, now: u64) -> bool {
        now >= self.l1_until
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
