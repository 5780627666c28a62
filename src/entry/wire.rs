//! The form of an entry in Redis, described with test vectors in `docs/wire.md`: a header of 20 bytes and more, then
//! the payload; or, for integers and `format: 'plain'`, the bare payload. Reading accepts both.

use bytes::Bytes;

use super::{
    Kind, Left, Life, Payload, is_safe_integer,
    packed::{Refusal, Sizes, pack, unpack},
    pages, thousandths,
};

/// Two bytes that no JSON, no UTF-8 text and no digits begin with.
pub const MAGIC: [u8; 2] = [0xF5, 0xEC];
const VERSION: u8 = 1;
const FLAG_STALE: u8 = 0x10;
const FLAG_EPOCH: u8 = 0x20;
const FLAG_TAGS: u8 = 0x40;
const FLAG_PACKED: u8 = 0x80;
const KIND_MASK: u8 = 0x0F;
const CREATED: usize = 4;
const CHECKSUM: usize = 16;
/// The length of the fixed part of the header; as much as is needed to learn an entry's life.
pub const HEADER: usize = 20;
const U48: u64 = (1 << 48) - 1;

/// The most tags of an entry, and bytes of a tag's name.
pub const MOST_TAGS: usize = 255;

/// A tag of an entry, and the version that it was made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The tag's name, without the namespace.
    pub name: Bytes,
    /// Its version.
    pub version: u64,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub payload: Payload,
    /// How long ago it was made, in ms.
    pub age_ms: u64,
    /// What is left of its life; nothing, for one that is past it.
    pub left: Left,
    /// How long ago its life ended, in ms.
    pub past_ms: u64,
    /// How long past its life a loader may serve it, in ms.
    pub stale_ms: u64,
    /// Its tags.
    pub stamps: Vec<Stamp>,
}

impl Stored {
    /// How much of its life is over, in thousandths; 0 for one that never ends.
    #[must_use]
    pub fn spent(&self) -> u32 {
        match self.left {
            Left::Forever => 0,
            Left::Ms(left) => thousandths(self.age_ms, self.age_ms.saturating_add(left)),
        }
    }
}

/// What bytes from Redis turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A value in its life.
    Fresh(Stored),
    /// A value past its life, which a loader may still serve: a miss for everybody else.
    Stale(Stored),
    /// A value without an envelope: its life is known to Redis only.
    Bare(Payload),
    /// An entry past its life, or made under another epoch: a miss that may be overwritten.
    Gone,
    /// An envelope of a version we do not know, or larger than we unpack: a miss that must be left alone.
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
    /// What is compressed, and what is unpacked.
    pub sizes: Sizes,
}

/// The bytes of an entry with its envelope.
#[must_use]
pub fn encode(context: Context<'_>, payload: &Payload, life: Life, stamps: &[Stamp]) -> Vec<u8> {
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
    if !stamps.is_empty() {
        flags |= FLAG_TAGS;
        put_tags(&mut extra, stamps);
    }
    let packed = pack(&payload.data, context.sizes.above);
    if packed.is_some() {
        flags |= FLAG_PACKED;
    }
    let body = packed.as_deref().unwrap_or(&payload.data);
    let form = payload.kind as u8 | flags;
    let mut out = Vec::with_capacity(HEADER + extra.len() + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, form]);
    out.extend_from_slice(&life_patch(context.unix_ms, life.ttl_ms));
    out.extend_from_slice(&[0; HEADER - CHECKSUM]);
    out.extend_from_slice(&extra);
    out.extend_from_slice(body);
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
        return Decoded::Bare(bare(pages::own(data), coded));
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
    let mut stale_ms = 0;
    if form & FLAG_STALE != 0 {
        stale_ms = get_u48(data.get(at..at + 6)?);
        at += 6;
    }
    let mut epoch = 0;
    if form & FLAG_EPOCH != 0 {
        epoch = u64::from_le_bytes(data.get(at..at + 8)?.try_into().ok()?);
        at += 8;
    }
    let mut stamps = Vec::new();
    if form & FLAG_TAGS != 0 {
        (stamps, at) = get_tags(data, at)?;
    }
    if epoch != context.epoch {
        return Some(Decoded::Gone);
    }
    let body = data.get(at..).map(|_| data.slice(at..))?;
    let age_ms = context.unix_ms.saturating_sub(get_u48(&header[CREATED..]));
    let left = life_left(header, context.unix_ms);
    let past_ms = age_ms.saturating_sub(match get_u48(&header[CREATED + 6..]) {
        0 => age_ms,
        life => life,
    });
    if left == Left::Ms(0) && past_ms >= stale_ms {
        return Some(Decoded::Gone);
    }
    let body = if form & FLAG_PACKED == 0 {
        body
    } else {
        match unpack(&body, context.sizes.most) {
            Ok(payload) => payload,
            Err(Refusal::TooLarge) => return Some(Decoded::Foreign),
            Err(Refusal::Damaged) => return None,
        }
    };
    let stored = Stored {
        payload: Payload::new(kind, pages::own(body)),
        age_ms,
        left,
        past_ms,
        stale_ms,
        stamps,
    };
    Some(match stored.left {
        Left::Ms(0) => Decoded::Stale(stored),
        Left::Ms(_) | Left::Forever => Decoded::Fresh(stored),
    })
}

fn put_tags(out: &mut Vec<u8>, stamps: &[Stamp]) {
    // Their number and their lengths were checked where they came from.
    let stamps = &stamps[..stamps.len().min(MOST_TAGS)];
    out.push(u8::try_from(stamps.len()).unwrap_or(u8::MAX));
    for stamp in stamps {
        let name = &stamp.name[..stamp.name.len().min(MOST_TAGS)];
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.extend_from_slice(&stamp.version.to_le_bytes());
    }
}

/// The tags at `at`, and where they end.
fn get_tags(data: &Bytes, mut at: usize) -> Option<(Vec<Stamp>, usize)> {
    let count = usize::from(*data.get(at)?);
    at += 1;
    let mut stamps = Vec::with_capacity(count);
    for _ in 0..count {
        let name_end = at + 1 + usize::from(*data.get(at)?);
        let version = data.get(name_end..name_end + 8)?.try_into().ok()?;
        stamps.push(Stamp {
            name: data.slice(at + 1..name_end),
            version: u64::from_le_bytes(version),
        });
        at = name_end + 8;
    }
    Some((stamps, at))
}

/// What the first [`HEADER`] bytes of a value in Redis say of its life (0 ms: it is past it); `None` if there is no
/// envelope.
#[must_use]
pub fn peek_life(start: &[u8], unix_ms: u64) -> Option<Left> {
    (start.len() >= HEADER && start.starts_with(&PREFIX)).then(|| life_left(start, unix_ms))
}

/// Whether the first [`HEADER`] bytes of a value in Redis are those of an envelope with tags.
#[must_use]
pub fn is_tagged(start: &[u8]) -> bool {
    start.len() >= HEADER && start.starts_with(&PREFIX) && start[3] & FLAG_TAGS != 0
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

    const SIZES: Sizes = Sizes {
        above: None,
        most: 1 << 20,
    };

    fn context(key: &[u8]) -> Context<'_> {
        Context {
            key,
            unix_ms: NOW,
            epoch: 0,
            sizes: SIZES,
        }
    }

    fn packing(key: &[u8]) -> Context<'_> {
        let sizes = Sizes {
            above: Some(0),
            ..SIZES
        };
        Context {
            sizes,
            ..context(key)
        }
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn tags() -> Vec<Stamp> {
        let stamp = |name: &'static [u8], version| Stamp {
            name: Bytes::from_static(name),
            version,
        };
        vec![
            stamp(b"products", 0x0102_0304_0506_0708),
            stamp(b"shop:7", 9),
        ]
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
            encode(context(b"app:product:7"), &json, day, &[]),
            encode(epoch, &bytes, graced, &[]),
            encode(context(b"app:tagged"), &json, day, &tags()),
        ] {
            assert!(
                text.contains(&hex(&vector)),
                "not in docs/wire.md: {}",
                hex(&vector)
            );
        }
    }

    #[test]
    fn the_packed_vector_of_the_documentation_is_read() {
        let vector = "f5ec018200505c18a301e093040000008379cb6c640000001f7801004a60787878787878";
        assert!(include_str!("../../docs/wire.md").contains(vector));
        let byte = |at| u8::from_str_radix(&vector[at..at + 2], 16).unwrap();
        let data: Vec<u8> = (0..vector.len()).step_by(2).map(byte).collect();
        let Decoded::Fresh(stored) = decode(context(b"app:long"), data.into(), false) else {
            panic!("not fresh");
        };
        assert_eq!(stored.payload, Payload::new(Kind::Text, vec![b'x'; 100]));
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
                let life = Life { ttl_ms, stale_ms };
                let data = encode(context, &payload, life, &tags());
                assert_eq!(
                    decode(context, data.into(), false),
                    Decoded::Fresh(Stored {
                        payload: payload.clone(),
                        age_ms: 0,
                        left: ttl_ms.map_or(Left::Forever, Left::Ms),
                        past_ms: 0,
                        stale_ms,
                        stamps: tags(),
                    })
                );
            }
        }
    }

    #[test]
    fn a_packed_entry_is_read_by_all_and_left_alone_where_it_is_too_large() {
        let payload = Payload::new(Kind::Text, vec![b'x'; 9_000]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 9,
        };
        let data = Bytes::from(encode(packing(b"k"), &payload, life, &tags()));
        assert!(data.len() < 200);
        let Decoded::Fresh(stored) = decode(context(b"k"), data.clone(), false) else {
            panic!("not fresh");
        };
        assert_eq!((stored.payload, stored.stamps), (payload, tags()));
        let sizes = Sizes {
            above: None,
            most: 8_999,
        };
        let small = Context {
            sizes,
            ..context(b"k")
        };
        assert_eq!(decode(small, data, false), Decoded::Foreign);
    }

    #[test]
    fn a_packed_entry_that_is_none_is_corrupt() {
        let payload = Payload::new(Kind::Text, &b"no block"[..]);
        let life = Life {
            ttl_ms: None,
            stale_ms: 0,
        };
        let mut data = encode(context(b"k"), &payload, life, &[]);
        data[3] |= FLAG_PACKED;
        let sum = checksum(data[3], b"k", &data[HEADER..]).to_le_bytes();
        data[CHECKSUM..HEADER].copy_from_slice(&sum);
        // Its first bytes are a size that nobody unpacks.
        let read = |most| {
            let sizes = Sizes { above: None, most };
            let at = Context {
                sizes,
                ..context(b"k")
            };
            decode(at, data.clone().into(), false)
        };
        assert_eq!(read(1 << 20), Decoded::Foreign);
        assert_eq!(read(usize::MAX), Decoded::Corrupt);
    }

    #[test]
    fn an_entry_ends_with_its_life_and_with_its_epoch() {
        let payload = Payload::new(Kind::Json, &b"1"[..]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 0,
        };
        let data = Bytes::from(encode(context(b"k"), &payload, life, &[]));
        let read = |unix_ms, epoch| {
            let context = Context {
                key: b"k",
                unix_ms,
                epoch,
                sizes: SIZES,
            };
            decode(context, data.clone(), false)
        };
        let fresh = |age_ms, left| {
            Decoded::Fresh(Stored {
                payload: payload.clone(),
                age_ms,
                left: Left::Ms(left),
                past_ms: 0,
                stale_ms: 0,
                stamps: Vec::new(),
            })
        };
        assert_eq!(read(NOW + 999, 0), fresh(999, 1));
        assert_eq!(read(NOW + 1_000, 0), Decoded::Gone);
        assert_eq!(read(NOW, 5), Decoded::Gone);
        // A reader whose clock is behind gets no longer life than was given.
        assert_eq!(read(NOW - 50_000, 0), fresh(0, 1_000));
    }

    #[test]
    fn past_its_life_an_entry_is_stale_until_its_window_ends() {
        let payload = Payload::new(Kind::Json, &b"1"[..]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 500,
        };
        let data = Bytes::from(encode(context(b"k"), &payload, life, &[]));
        let read = |unix_ms| {
            let at = Context {
                unix_ms,
                ..context(b"k")
            };
            decode(at, data.clone(), false)
        };
        assert!(matches!(read(NOW + 999), Decoded::Fresh(_)));
        let Decoded::Stale(stored) = read(NOW + 1_499) else {
            panic!("not stale");
        };
        assert_eq!((stored.age_ms, stored.left), (1_499, Left::Ms(0)));
        assert_eq!(read(NOW + 1_500), Decoded::Gone);
    }

    #[test]
    fn every_damaged_byte_that_matters_is_noticed() {
        let payload = Payload::new(Kind::Json, &b"{\"a\":1}"[..]);
        let life = Life {
            ttl_ms: Some(1_000),
            stale_ms: 9,
        };
        let good = encode(context(b"k"), &payload, life, &tags());
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
            other @ (Decoded::Fresh(_)
            | Decoded::Stale(_)
            | Decoded::Gone
            | Decoded::Foreign
            | Decoded::Corrupt) => {
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
        let mut data = encode(context(b"k"), &payload, life, &tags());
        data[LIFE_OFFSET..LIFE_OFFSET + 12].copy_from_slice(&life_patch(NOW + 5, Some(99)));
        let at = Context {
            unix_ms: NOW + 5,
            ..context(b"k")
        };
        let touched = Stored {
            payload,
            age_ms: 0,
            left: Left::Ms(99),
            past_ms: 0,
            stale_ms: 0,
            stamps: tags(),
        };
        assert_eq!(decode(at, data.into(), false), Decoded::Fresh(touched));
    }
}
