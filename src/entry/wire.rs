//! The form of an entry in Redis, described with test vectors in `docs/wire.md`: a header of 20 bytes and more, then
//! the payload; or, for integers and `format: 'plain'`, the bare payload. Reading accepts both.

use bytes::Bytes;

use super::{Kind, Left, Life, Payload, is_safe_integer};

/// Two bytes that no JSON, no UTF-8 text and no digits begin with.
pub const MAGIC: [u8; 2] = [0xF5, 0xEC];
const VERSION: u8 = 1;
const FLAG_STALE: u8 = 0x10;
const FLAG_EPOCH: u8 = 0x20;
const FLAG_TAGS: u8 = 0x40;
const KIND_MASK: u8 = 0x0F;
const CREATED: usize = 4;
const CHECKSUM: usize = 16;
/// The length of the fixed part of the header; as much as is needed to learn an entry's life.
pub const HEADER: usize = 20;
const U48: u64 = (1 << 48) - 1;

/// What bytes from Redis turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A value in its life, and what is left of it.
    Fresh(Payload, Left),
    /// A value without an envelope: its life is known to Redis only.
    Bare(Payload),
    /// An entry past its life, or made under another epoch: a miss that may be overwritten.
    Gone,
    /// An envelope of a version we do not know: a miss that must be left alone.
    Foreign,
    /// One of our own envelopes, damaged or under another key: a miss to be removed.
    Corrupt,
}

/// Who is writing what, for [`encode`] and [`decode`].
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The key as it is in Redis.
    pub key: &'a [u8],
    /// The wall clock in ms.
    pub unix_ms: u64,
    /// The namespace's epoch, 0 for none.
    pub epoch: u64,
}

/// The bytes of an entry with its envelope.
#[must_use]
pub fn encode(context: Context<'_>, payload: &Payload, life: Life) -> Vec<u8> {
    let mut flags = 0;
    let mut extra = Vec::new();
    if life.stale_ms > 0 {
        flags |= FLAG_STALE;
        put_u48(&mut extra, life.stale_ms);
    }
    if context.epoch != 0 {
        flags |= FLAG_EPOCH;
        extra.extend_from_slice(&context.epoch.to_le_bytes());
    }
    let form = payload.kind as u8 | flags;
    let mut out = Vec::with_capacity(HEADER + extra.len() + payload.data.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, form]);
    out.extend_from_slice(&life_patch(context.unix_ms, life.ttl_ms));
    out.extend_from_slice(&[0; HEADER - CHECKSUM]);
    out.extend_from_slice(&extra);
    out.extend_from_slice(&payload.data);
    let sum = checksum(form, context.key, &out[HEADER..]).to_le_bytes();
    out[CHECKSUM..HEADER].copy_from_slice(&sum);
    out
}

/// The twelve bytes at [`LIFE_OFFSET`]: when the entry was made and how long it lives. They are outside the checksum,
/// so that `touch` and `markStale` may replace them in place.
#[must_use]
pub fn life_patch(unix_ms: u64, ttl_ms: Option<u64>) -> [u8; 12] {
    let mut patch = [0; 12];
    patch[..6].copy_from_slice(&(unix_ms & U48).to_le_bytes()[..6]);
    patch[6..].copy_from_slice(&ttl_ms.unwrap_or(0).min(U48).to_le_bytes()[..6]);
    patch
}

/// Where [`life_patch`] goes.
pub const LIFE_OFFSET: usize = CREATED;

/// The first bytes of every envelope of this version, for scripts that must tell it from a bare value.
pub const PREFIX: [u8; 3] = [MAGIC[0], MAGIC[1], VERSION];

/// What Redis holds under `context.key`, read with no other knowledge than the bytes. `coded` says that a bare
/// payload belongs to the user's codec.
#[must_use]
pub fn decode(context: Context<'_>, data: Bytes, coded: bool) -> Decoded {
    let Some(after_magic) = data.strip_prefix(&MAGIC) else {
        return Decoded::Bare(bare(data, coded));
    };
    if after_magic.first() != Some(&VERSION) {
        return Decoded::Foreign;
    }
    read_envelope(context, &data).unwrap_or(Decoded::Corrupt)
}

fn read_envelope(context: Context<'_>, data: &Bytes) -> Option<Decoded> {
    let header = data.get(..HEADER)?;
    let form = header[3];
    let kind = Kind::from_u8(form & KIND_MASK)?;
    let sum = u32::from_le_bytes(header[CHECKSUM..].try_into().ok()?);
    if sum != checksum(form, context.key, &data[HEADER..]) {
        return None;
    }
    let mut at = HEADER;
    if form & FLAG_STALE != 0 {
        at += 6;
    }
    let mut epoch = 0;
    if form & FLAG_EPOCH != 0 {
        epoch = u64::from_le_bytes(data.get(at..at + 8)?.try_into().ok()?);
        at += 8;
    }
    if form & FLAG_TAGS != 0 {
        at = skip_tags(data, at)?;
    }
    let left = life_left(header, context.unix_ms);
    if epoch != context.epoch || left == Left::Ms(0) {
        return Some(Decoded::Gone);
    }
    let payload = Payload::new(kind, data.get(at..).map(|_| data.slice(at..))?);
    Some(Decoded::Fresh(payload, left))
}

fn skip_tags(data: &[u8], mut at: usize) -> Option<usize> {
    let count = *data.get(at)?;
    at += 1;
    for _ in 0..count {
        at += 1 + usize::from(*data.get(at)?) + 8;
    }
    (at <= data.len()).then_some(at)
}

/// What the first [`HEADER`] bytes of a value in Redis say of its life (0 ms: it is past it); `None` if there is no
/// envelope.
#[must_use]
pub fn peek_life(start: &[u8], unix_ms: u64) -> Option<Left> {
    (start.len() >= HEADER && start.starts_with(&PREFIX)).then(|| life_left(start, unix_ms))
}

/// What is left of the life in a complete header; never more than the whole of it, whatever the writer's clock said.
fn life_left(header: &[u8], unix_ms: u64) -> Left {
    let created = get_u48(&header[CREATED..]);
    match get_u48(&header[CREATED + 6..]) {
        0 => Left::Forever,
        life => Left::Ms((created + life).saturating_sub(unix_ms).min(life)),
    }
}

/// A payload without an envelope: JSON where it looks like JSON and is, else text.
fn bare(data: Bytes, coded: bool) -> Payload {
    if coded {
        return Payload::new(Kind::Coded, data);
    }
    let json = match data.first() {
        Some(b'{' | b'[' | b'"') => serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok(),
        Some(_) => matches!(&*data, b"true" | b"false" | b"null") || is_safe_integer(&data),
        None => false,
    };
    Payload::new(if json { Kind::Json } else { Kind::Text }, data)
}

fn checksum(form: u8, key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[form]);
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize()
}

fn put_u48(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.min(U48).to_le_bytes()[..6]);
}

fn get_u48(bytes: &[u8]) -> u64 {
    bytes[..6]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn context(key: &[u8]) -> Context<'_> {
        Context {
            key,
            unix_ms: NOW,
            epoch: 0,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    #[test]
    fn the_vectors_of_the_documentation_hold() {
        let text = include_str!("../../docs/wire.md");
        let json = Payload::new(Kind::Json, &b"{\"id\":7}"[..]);
        let day = Life {
            ttl_ms: Some(300_000),
            stale_ms: 0,
        };
        let bytes = Payload::new(Kind::Bytes, &[0, 255][..]);
        let graced = Life {
            ttl_ms: None,
            stale_ms: 60_000,
        };
        let epoch = Context {
            epoch: 0x0102_0304_0506_0708,
            ..context(b"app:b")
        };
        for vector in [
            encode(context(b"app:product:7"), &json, day),
            encode(epoch, &bytes, graced),
        ] {
            assert!(
                text.contains(&hex(&vector)),
                "not in docs/wire.md: {}",
                hex(&vector)
            );
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for kind in 1..=5 {
            let payload = Payload::new(Kind::from_u8(kind).unwrap(), &b"payload"[..]);
            for (ttl_ms, stale_ms, epoch) in [(None, 0, 0), (Some(5), 0, 9), (Some(70_000), 3, 0)] {
                let context = Context {
                    epoch,
                    ..context(b"k")
                };
                let data = encode(context, &payload, Life { ttl_ms, stale_ms });
                assert_eq!(
                    decode(context, data.into(), false),
                    Decoded::Fresh(payload.clone(), ttl_ms.map_or(Left::Forever, Left::Ms))
                );
            }
        }
    }

    #[test]
    fn an_entry_ends_with_its_life_and_with_its_epoch() {
        let payload = Payload::new(Kind::Json, &b"1"[..]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 0,
        };
        let data = Bytes::from(encode(context(b"k"), &payload, life));
        let read = |unix_ms, epoch| {
            let context = Context {
                key: b"k",
                unix_ms,
                epoch,
            };
            decode(context, data.clone(), false)
        };
        assert_eq!(
            read(NOW + 999, 0),
            Decoded::Fresh(payload.clone(), Left::Ms(1))
        );
        assert_eq!(read(NOW + 1_000, 0), Decoded::Gone);
        assert_eq!(read(NOW, 5), Decoded::Gone);
        // A reader whose clock is behind gets no longer life than was given.
        assert_eq!(
            read(NOW - 50_000, 0),
            Decoded::Fresh(payload, Left::Ms(1_000))
        );
    }

    #[test]
    fn every_damaged_byte_that_matters_is_noticed() {
        let payload = Payload::new(Kind::Json, &b"{\"a\":1}"[..]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 9,
        };
        let good = encode(context(b"k"), &payload, life);
        for at in 3..good.len() {
            if (CREATED..CHECKSUM).contains(&at) {
                continue;
            }
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            let read = decode(context(b"k"), bad.into(), false);
            assert_eq!(read, Decoded::Corrupt, "byte {at}");
        }
        for end in 3..good.len() {
            let read = decode(context(b"k"), Bytes::copy_from_slice(&good[..end]), false);
            assert_eq!(read, Decoded::Corrupt, "cut at {end}");
        }
        assert_eq!(
            decode(context(b"other"), good.into(), false),
            Decoded::Corrupt
        );
    }

    #[test]
    fn an_unknown_version_is_left_alone() {
        let read = decode(
            context(b"k"),
            Bytes::from_static(&[0xF5, 0xEC, 2, 1, 7]),
            false,
        );
        assert_eq!(read, Decoded::Foreign);
    }

    #[test]
    fn bare_values_are_json_where_they_are_json() {
        let kind = |text: &'static str| match decode(
            context(b"k"),
            Bytes::from_static(text.as_bytes()),
            false,
        ) {
            Decoded::Bare(payload) => payload.kind,
            other @ (Decoded::Fresh(..) | Decoded::Gone | Decoded::Foreign | Decoded::Corrupt) => {
                panic!("{other:?}")
            }
        };
        for json in [
            "{\"a\":[1]}",
            "[]",
            "\"x\"",
            "true",
            "false",
            "null",
            "42",
            "-1",
        ] {
            assert_eq!(kind(json), Kind::Json, "{json}");
        }
        for text in ["", "{oops", "[1", "hello", "1.5", "007", "NaN", "truth"] {
            assert_eq!(kind(text), Kind::Text, "{text}");
        }
    }

    #[test]
    fn touching_replaces_the_life_and_nothing_else() {
        let payload = Payload::new(Kind::Text, &b"x"[..]);
        let life = Life {
            ttl_ms: Some(10),
            stale_ms: 0,
        };
        let mut data = encode(context(b"k"), &payload, life);
        data[LIFE_OFFSET..LIFE_OFFSET + 12].copy_from_slice(&life_patch(NOW + 5, Some(99)));
        let at = Context {
            unix_ms: NOW + 5,
            ..context(b"k")
        };
        assert_eq!(
            decode(at, data.into(), false),
            Decoded::Fresh(payload, Left::Ms(99))
        );
    }
}
