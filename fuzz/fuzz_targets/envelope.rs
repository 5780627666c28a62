//! Bytes that Redis holds under a key, whoever wrote them: as they are, and with the magic, the version and the checksum
//! put right, so that what lies behind them is read too.

#![no_main]

use bytes::Bytes;
use evenkeel::entry::{
    Kind, Left, Life, Payload,
    packed::Sizes,
    wire::{Context, Decoded, HEADER, PREFIX, Stamp, Stored, decode, encode, is_tagged, peek_life},
};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_800_000_000_000;
const KEY: &[u8] = b"k";
const CHECKSUM: usize = 16;
/// What is unpacked at most.
const MOST: usize = 1 << 20;
const PACKED: u8 = 0x80;

const CONTEXT: Context = Context {
    key: KEY,
    unix_ms: NOW,
    epoch: 0,
    sizes: Sizes {
        above: None,
        most: MOST,
    },
};

fuzz_target!(|data: &[u8]| {
    let decoded = decode(CONTEXT, Bytes::copy_from_slice(data), false);
    check(data, &decoded);
    if data.len() >= HEADER {
        let sealed = sealed(data);
        let decoded = decode(CONTEXT, Bytes::copy_from_slice(&sealed), false);
        check(&sealed, &decoded);
        let other = Context {
            key: b"other",
            ..CONTEXT
        };
        let decoded = decode(other, sealed.into(), false);
        assert!(
            matches!(decoded, Decoded::Corrupt),
            "the value of another key"
        );
    }
    there_and_back(data);
});

/// What is read lies within what was there, and no life is longer than its header says.
fn check(data: &[u8], decoded: &Decoded) {
    match decoded {
        Decoded::Fresh(stored) => {
            assert!(is_packed(data) || data.ends_with(&stored.payload.data));
            assert_eq!(peek_life(data, NOW), Some(stored.left));
            assert_ne!(stored.left, Left::Ms(0));
            tags_are_within(data, stored);
        }
        Decoded::Stale(stored) => {
            assert_eq!(stored.left, Left::Ms(0));
            assert!(stored.past_ms < stored.stale_ms);
            tags_are_within(data, stored);
        }
        Decoded::Bare(payload) => assert_eq!(payload.data, data),
        Decoded::Gone | Decoded::Foreign | Decoded::Corrupt => (),
    }
}

fn tags_are_within(data: &[u8], stored: &Stored) {
    let size: usize = stored.stamps.iter().map(|stamp| stamp.name.len() + 9).sum();
    if is_packed(data) {
        assert!(stored.payload.data.len() <= MOST);
    } else {
        assert!(HEADER + size + stored.payload.data.len() <= data.len());
    }
    assert_eq!(is_tagged(data), data[3] & 0x40 != 0);
}

fn is_packed(data: &[u8]) -> bool {
    data[3] & PACKED != 0
}

/// As docs/wire.md has it: over form, key and everything behind the header.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut sealed = data.to_vec();
    sealed[..PREFIX.len()].copy_from_slice(&PREFIX);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sealed[3..4]);
    hasher.update(KEY);
    hasher.update(&sealed[HEADER..]);
    sealed[CHECKSUM..HEADER].copy_from_slice(&hasher.finalize().to_le_bytes());
    sealed
}

fn there_and_back(data: &[u8]) {
    let [number, ttl, stale, rest @ ..] = data else {
        return;
    };
    let Some(kind) = Kind::from_u8(*number) else {
        return;
    };
    let payload = Payload::new(kind, rest.to_vec());
    let life = Life {
        ttl_ms: (*ttl > 0).then_some(u64::from(*ttl) << 20),
        stale_ms: u64::from(*stale),
    };
    let context = Context {
        epoch: u64::from(*stale),
        sizes: Sizes {
            above: (*stale % 2 == 1).then_some(usize::from(*ttl)),
            most: MOST,
        },
        ..CONTEXT
    };
    let stamps: Vec<Stamp> = rest
        .chunks(3)
        .take(usize::from(*ttl % 4))
        .map(|name| Stamp {
            name: Bytes::copy_from_slice(name),
            version: u64::from(*stale) << 40,
        })
        .collect();
    let data = encode(context, &payload, life, &stamps);
    let stored = Stored {
        payload,
        age_ms: 0,
        left: life.ttl_ms.map_or(Left::Forever, Left::Ms),
        past_ms: 0,
        stale_ms: life.stale_ms,
        stamps,
    };
    assert_eq!(decode(context, data.into(), false), Decoded::Fresh(stored));
}
