//! Large payloads have pages of their own, which the system has back the moment the last holder drops them. From the heap they
//! would leave holes: with values of 1 MiB a full L1 took 1.3 times its limit.

use bytes::Bytes;
use memmap2::MmapMut;

/// From so many bytes on, a page that is filled in part is a small loss.
const LARGE: usize = 256 << 10;

/// The same bytes, in pages of their own if they are many; as they are if the system has no pages to give.
#[must_use]
pub fn own(data: Bytes) -> Bytes {
    if data.len() < LARGE {
        return data;
    }
    MmapMut::map_anon(data.len()).map_or_else(
        |_| data.clone(),
        |mut pages| {
            pages.copy_from_slice(&data);
            Bytes::from_owner(pages)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_same_and_only_many_are_moved() {
        for (length, is_moved) in [(0, false), (LARGE - 1, false), (LARGE, true)] {
            let data: Bytes = (0_u8..251).cycle().take(length).collect();
            let owned = own(data.clone());
            assert_eq!(owned, data);
            assert_eq!(owned.as_ptr() != data.as_ptr(), is_moved);
        }
    }
}
