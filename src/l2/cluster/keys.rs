//! Where what is asked belongs: the slots of requests, by what is known of where commands name their keys.

use redis::Cmd;

use super::slots::slot_of;
use crate::l2::{commands, port::Request};

/// Where a request belongs.
#[must_use]
pub(in crate::l2) fn slot_of_request(request: &Request) -> Option<u16> {
    match request {
        Request::Get(key) => Some(slot_of(key)),
        Request::Write(_, keys) => keys.first().map(|key| slot_of(key)),
        Request::Raw(cmd) => first_key(cmd).map(slot_of),
    }
}

/// The first key that a command names, as far as it is known where commands name keys. A wrong guess costs a redirection.
fn first_key(cmd: &Cmd) -> Option<&[u8]> {
    let words = commands::words(cmd);
    let name = words.first()?.to_ascii_uppercase();
    let at = match name.as_slice() {
        b"PING" | b"ECHO" | b"INFO" | b"DBSIZE" | b"SCAN" | b"TIME" | b"CLIENT" | b"CONFIG"
        | b"COMMAND" | b"PUBLISH" | b"SCRIPT" | b"FUNCTION" | b"CLUSTER" | b"FLUSHDB"
        | b"FLUSHALL" | b"LASTSAVE" | b"KEYS" | b"RANDOMKEY" | b"ACL" | b"LATENCY" | b"SLOWLOG"
        | b"ASKING" => return None,
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => 3,
        b"OBJECT" | b"MEMORY" | b"XGROUP" | b"XINFO" | b"BITOP" | b"ZUNION" | b"ZINTER"
        | b"ZDIFF" | b"SINTERCARD" | b"LMPOP" | b"ZMPOP" => 2,
        b"XREAD" | b"XREADGROUP" => {
            let streams = words
                .iter()
                .position(|word| word.eq_ignore_ascii_case(b"STREAMS"))?;
            streams + 1
        }
        _ => 1,
    };
    words.get(at).copied()
}
