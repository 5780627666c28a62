//! Bytes from a socket that should be replies. However they are cut, the reader takes the same out of them, and what it takes,
//! everybody who looks at it survives.

#![no_main]

use bytes::BytesMut;
use evenkeel::l2::{
    commands::{bytes, fits, integer, scanned},
    link::{meaning_of, server_text},
    resp::reader::Reader,
};
use evenkeel::telemetry::counters::{CommandFamily, Label};
use libfuzzer_sys::fuzz_target;
use redis::Value;

/// The replies in `data`, which comes in pieces of this size; `None` if it is not the protocol.
fn read(data: &[u8], piece: usize) -> Option<Vec<Value>> {
    let (mut reader, mut input, mut values) = (Reader::default(), BytesMut::new(), Vec::new());
    for piece in data.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(value) = reader.next(&mut input).ok()? {
            values.push(value);
        }
    }
    Some(values)
}

fuzz_target!(|data: &[u8]| {
    let values = read(data, data.len().max(1));
    // Debug, since a NaN is not equal to itself.
    assert_eq!(format!("{values:?}"), format!("{:?}", read(data, 3)));
    for value in values.into_iter().flatten() {
        if let Value::ServerError(error) = &value {
            let _ = meaning_of(error);
            assert!(server_text(error).starts_with(error.code().trim_end()));
        }
        for family in CommandFamily::ALL {
            let _ = fits(*family, &value);
        }
        let _ = integer(&value);
        let _ = bytes(value.clone());
        let _ = scanned(value);
    }
});
