//! Payloads as LZ4 blocks. In front of a block stands how large it becomes, four bytes, little-endian. What is read is not
//! trusted with that: it may be as large as the reader allows and has to be as large as it says.

use bytes::Bytes;
use lz4_flex::block::{compress_prepend_size, decompress, uncompressed_size};

/// What a cache compresses, and what it unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Payloads of more bytes are compressed; `None`: none are.
    pub above: Option<usize>,
    /// A payload that would become larger is not unpacked.
    pub most: usize,
}

/// Why a packed payload was not unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It would be larger than the reader allows.
    TooLarge,
    /// It is no block, or not as large as it says.
    Damaged,
}

/// The payload packed, if it is larger than `above` and shorter so.
#[must_use]
pub fn pack(payload: &[u8], above: Option<usize>) -> Option<Vec<u8>> {
    above.filter(|above| payload.len() > *above)?;
    let packed = compress_prepend_size(payload);
    (packed.len() < payload.len()).then_some(packed)
}

/// The payload that was packed, of `most` bytes at most.
pub fn unpack(packed: &[u8], most: usize) -> Result<Bytes, Refusal> {
    let (size, block) = uncompressed_size(packed).map_err(|_| Refusal::Damaged)?;
    if size > most {
        return Err(Refusal::TooLarge);
    }
    let payload = decompress(block, size).map_err(|_| Refusal::Damaged)?;
    if payload.len() == size {
        Ok(payload.into())
    } else {
        Err(Refusal::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: [u8; 4_096] = [b'x'; 4_096];

    #[test]
    fn what_is_large_and_becomes_shorter_is_packed() {
        assert!(pack(&TEXT, Some(4_095)).is_some_and(|packed| packed.len() < 100));
        assert_eq!(pack(&TEXT, Some(4_096)), None);
        assert_eq!(pack(&TEXT, None), None);
        let noise: Vec<u8> = (0..4_096).map(|_| fastrand::u8(..)).collect();
        assert_eq!(pack(&noise, Some(0)), None);
    }

    #[test]
    fn no_more_is_unpacked_than_is_allowed() {
        let packed = pack(&TEXT, Some(0)).expect("shorter");
        assert_eq!(unpack(&packed, 4_096), Ok(Bytes::from_static(&TEXT)));
        assert_eq!(unpack(&packed, 4_095), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_block_of_another_size_than_it_says_is_damaged() {
        let packed = pack(&TEXT, Some(0)).expect("shorter");
        for size in [0, 1, 4_095, 4_097, 100_000_u32] {
            let mut lie = packed.clone();
            lie[..4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(unpack(&lie, 1 << 20), Err(Refusal::Damaged), "{size}");
        }
        for end in 0..packed.len() {
            assert_eq!(
                unpack(&packed[..end], 1 << 20),
                Err(Refusal::Damaged),
                "{end}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(payload in prop::collection::vec(0_u8..4, 0..2_000)) {
            if let Some(packed) = pack(&payload, Some(0)) {
                prop_assert_eq!(unpack(&packed, payload.len()), Ok(payload.into()));
            }
        }

        #[test]
        fn whatever_is_unpacked_is_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300), most in 0_usize..70_000) {
            if let Ok(payload) = unpack(&bytes, most) {
                prop_assert!(payload.len() <= most);
            }
        }
    }
}
