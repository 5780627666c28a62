//! The Redis commands that evenkeel sends, each built in one place, and the reading of their replies.

use redis::{Cmd, Value};

use super::bus::TAG;
use crate::{
    entry::wire::{HEADER, LIFE_OFFSET, PREFIX},
    resilience::gate::Kind,
    telemetry::counters::CommandFamily,
};

/// Whether a write depends on the key being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyIf {
    /// Only if it is not there: NX.
    Absent,
    /// Only if it is there: XX.
    Present,
}

/// SET with its expiry in the same command.
#[must_use]
pub fn set(key: &[u8], value: &[u8], expire_ms: Option<u64>, only_if: Option<OnlyIf>) -> Cmd {
    let mut cmd = Cmd::with_capacity(6, key.len() + value.len() + 32);
    cmd.arg("SET").arg(key).arg(value);
    if let Some(ms) = expire_ms {
        cmd.arg("PX").arg(ms);
    }
    match only_if {
        Some(OnlyIf::Absent) => cmd.arg("NX"),
        Some(OnlyIf::Present) => cmd.arg("XX"),
        None => &mut cmd,
    };
    cmd
}

/// GET of one key, or MGET of many.
#[must_use]
pub fn get(keys: &[&[u8]]) -> Cmd {
    let bytes: usize = keys.iter().map(|key| key.len()).sum();
    let mut cmd = Cmd::with_capacity(keys.len() + 1, bytes + 4);
    cmd.arg(if keys.len() == 1 { "GET" } else { "MGET" });
    for key in keys {
        cmd.arg(*key);
    }
    cmd
}

/// UNLINK of one key or many.
#[must_use]
pub fn unlink<K: AsRef<[u8]>>(keys: &[K]) -> Cmd {
    let mut cmd = redis::cmd("UNLINK");
    for key in keys {
        cmd.arg(key.as_ref());
    }
    cmd
}

/// What a write does to the server.
#[must_use]
pub fn kind(cmd: &Cmd) -> Kind {
    let name = cmd.args_iter().next();
    if name.as_ref().and_then(argument) == Some(b"UNLINK") {
        Kind::Deletion
    } else {
        Kind::Value
    }
}

/// What a command is counted as.
#[must_use]
pub fn family(cmd: &Cmd) -> CommandFamily {
    let name = cmd.args_iter().next();
    let name = name.as_ref().and_then(argument);
    name.map_or(CommandFamily::Other, CommandFamily::of_name)
}

/// Whether `value` can be the answer to a write of this family that was carried out.
#[must_use]
pub const fn fits(family: CommandFamily, value: &Value) -> bool {
    match family {
        CommandFamily::Set => matches!(value, Value::Okay | Value::SimpleString(_) | Value::Nil),
        CommandFamily::Delete | CommandFamily::Increment | CommandFamily::Script => {
            matches!(value, Value::Int(_))
        }
        CommandFamily::Get
        | CommandFamily::Life
        | CommandFamily::Scan
        | CommandFamily::MGet
        | CommandFamily::Other => true,
    }
}

/// One step of a SCAN over keys that match `pattern`.
#[must_use]
pub fn scan(cursor: &str, pattern: &[u8], count: usize) -> Cmd {
    let mut cmd = redis::cmd("SCAN");
    cmd.arg(cursor)
        .arg("MATCH")
        .arg(pattern)
        .arg("COUNT")
        .arg(count);
    cmd
}

/// The cursor and the keys of a SCAN's reply.
#[must_use]
pub fn scanned(reply: Value) -> Option<(String, Vec<Vec<u8>>)> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [cursor, keys] = <[Value; 2]>::try_from(parts).ok()?;
    let Value::Array(keys) = keys else {
        return None;
    };
    let keys = keys.into_iter().filter_map(bytes).collect();
    Some((String::from_utf8(bytes(cursor)?).ok()?, keys))
}

/// Of keys that were scanned, those that are not our own: what a pattern names is the user's.
#[must_use]
pub fn users(mut keys: Vec<Vec<u8>>, prefix: &str) -> Vec<Vec<u8>> {
    keys.retain(|key| !own_name(key, prefix).starts_with(b"~"));
    keys
}

/// The same, and the versions of tags: where all entries go, nobody needs them.
#[must_use]
pub fn users_and_tags(mut keys: Vec<Vec<u8>>, prefix: &str) -> Vec<Vec<u8>> {
    keys.retain(|key| {
        let name = own_name(key, prefix);
        !name.starts_with(b"~") || name.starts_with(TAG)
    });
    keys
}

fn own_name<'a>(key: &'a [u8], prefix: &str) -> &'a [u8] {
    key.strip_prefix(prefix.as_bytes()).unwrap_or_default()
}

/// The start of a value, enough to read an envelope's life.
#[must_use]
pub fn header(key: &[u8]) -> Cmd {
    let mut cmd = redis::cmd("GETRANGE");
    cmd.arg(key).arg(0).arg(HEADER - 1);
    cmd
}

/// PTTL.
#[must_use]
pub fn pttl(key: &[u8]) -> Cmd {
    let mut cmd = redis::cmd("PTTL");
    cmd.arg(key);
    cmd
}

/// Replaces the life in an envelope and the key's expiry in one atomic step; 1 if the key is there, and not past its life.
/// KEYS: the key. ARGV: the envelope's prefix, the offset of the life, the life, the new expiry in ms ('' to keep it, 0 for
/// none), to which the stale window is added, and the time.
const REWRITE_LIFE: &str = "if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 0 end \
    local head, stale = redis.call('GETRANGE', KEYS[1], 0, 25), 0 \
    local function u48(at) local n = 0 for i = at + 6, at + 1, -1 do n = n * 256 + (string.byte(head, i) or 0) end return n end \
    if string.sub(head, 1, #ARGV[1]) == ARGV[1] then \
    local life = u48(10) \
    if life > 0 and u48(4) + life <= tonumber(ARGV[5]) then return 0 end \
    if math.floor((string.byte(head, 4) or 0) / 16) % 2 == 1 then stale = u48(20) end \
    redis.call('SETRANGE', KEYS[1], ARGV[2], ARGV[3]) \
    elseif ARGV[4] == '' then redis.call('DEL', KEYS[1]) return 1 end \
    if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1]) \
    elseif ARGV[4] ~= '' then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[4] + stale)) end \
    return 1";

/// What becomes of a key's expiry when its life is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// As it was. A value without an envelope, which cannot be marked stale, is deleted.
    Keep,
    /// After so many ms.
    After(u64),
    /// Never.
    Never,
}

/// The script that `touch` and `markStale` run.
#[must_use]
pub fn rewrite_life(key: &[u8], life: &[u8; 12], expiry: Expiry, unix_ms: u64) -> Cmd {
    let mut cmd = script(REWRITE_LIFE, key);
    cmd.arg(&PREFIX[..]).arg(LIFE_OFFSET).arg(&life[..]);
    match expiry {
        Expiry::Keep => cmd.arg(""),
        Expiry::After(ms) => cmd.arg(ms.max(1)),
        Expiry::Never => cmd.arg(0),
    };
    cmd.arg(unix_ms);
    cmd
}

/// Counts a key up, and gives it a life in the same step if that created it. What is past its life is not there. ARGV: the
/// number, the life in ms ('' for none), the envelope's prefix, the time, and whether it is only to be done if there was
/// something past its life.
const INCREMENT: &str = "local head, over = redis.call('GETRANGE', KEYS[1], 0, 15), false \
    if string.sub(head, 1, #ARGV[3]) == ARGV[3] then \
    local function u48(at) local n = 0 for i = at + 6, at + 1, -1 do n = n * 256 + (string.byte(head, i) or 0) end return n end \
    local life = u48(10) \
    over = life > 0 and u48(4) + life <= tonumber(ARGV[4]) end \
    if over then redis.call('DEL', KEYS[1]) \
    elseif ARGV[5] == '1' then return redis.error_reply('ERR value is not an integer or out of range') end \
    local fresh = redis.call('EXISTS', KEYS[1]) == 0 \
    local n = redis.call('INCRBY', KEYS[1], ARGV[1]) \
    if fresh and ARGV[2] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
    return n";

/// INCRBY, for a key that holds a number or nothing and is to get no life.
#[must_use]
pub fn increment(key: &[u8], by: i64) -> Cmd {
    let mut cmd = redis::cmd("INCRBY");
    cmd.arg(key).arg(by);
    cmd
}

/// The script that counts up, with a life for a new key, or without one only in place of what is past its life.
#[must_use]
pub fn increment_anew(key: &[u8], by: i64, ttl_ms: Option<u64>, unix_ms: u64) -> Cmd {
    let mut cmd = script(INCREMENT, key);
    cmd.arg(by);
    match ttl_ms {
        Some(ms) => cmd.arg(ms),
        None => cmd.arg(""),
    };
    cmd.arg(&PREFIX[..])
        .arg(unix_ms)
        .arg(i32::from(ttl_ms.is_none()));
    cmd
}

/// PEXPIRE, or PERSIST for a life that never ends.
#[must_use]
pub fn expire(key: &[u8], ttl_ms: Option<u64>) -> Cmd {
    let Some(ms) = ttl_ms else {
        let mut cmd = redis::cmd("PERSIST");
        cmd.arg(key);
        return cmd;
    };
    let mut cmd = redis::cmd("PEXPIRE");
    cmd.arg(key).arg(ms);
    cmd
}

/// Takes a lease, or finds that it is ours already; the server's time in microseconds. If somebody else has it, what is
/// left of it in ms, less one and negative: 0 is for one that has no end.
const TAKE_LEASE: &str = "local owner = redis.call('GET', KEYS[1]) \
    if owner and owner ~= ARGV[1] then return -1 - redis.call('PTTL', KEYS[1]) end \
    local time = redis.call('TIME') \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
    return time[1] * 1000000 + time[2]";

/// Gives a lease another life if it is still ours; 1 if it is.
const EXTEND_LEASE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// Ends a lease if it is still ours; 1 if it was.
const END_LEASE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
    return redis.call('DEL', KEYS[1])";

/// The script that takes a lease.
#[must_use]
pub fn take_lease(key: &[u8], token: &str, ttl_ms: u64) -> Cmd {
    let mut cmd = script(TAKE_LEASE, key);
    cmd.arg(token).arg(ttl_ms.max(1));
    cmd
}

/// The script that gives a lease another life.
#[must_use]
pub fn extend_lease(key: &[u8], token: &str, ttl_ms: u64) -> Cmd {
    let mut cmd = script(EXTEND_LEASE, key);
    cmd.arg(token).arg(ttl_ms.max(1));
    cmd
}

/// The script that ends a lease.
#[must_use]
pub fn end_lease(key: &[u8], token: &str) -> Cmd {
    let mut cmd = script(END_LEASE, key);
    cmd.arg(token);
    cmd
}

/// A script about one key; its arguments follow.
fn script(text: &str, key: &[u8]) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(text).arg(1).arg(key);
    cmd
}

/// Adds to a field of a hash; the reply is its sum.
#[must_use]
pub fn add(key: &str, field: &str, by: u64) -> Cmd {
    let mut cmd = redis::cmd("HINCRBY");
    cmd.arg(key).arg(field).arg(by);
    cmd
}

/// The bytes of a string reply.
#[must_use]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's kinds of replies may grow"
)]
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        _ => None,
    }
}

/// The number of an integer reply.
#[must_use]
pub const fn integer(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value {
        Some(*number)
    } else {
        None
    }
}

/// The name of a command and its arguments.
#[must_use]
pub fn words(cmd: &Cmd) -> Vec<&[u8]> {
    cmd.args_iter().filter_map(|arg| argument(&arg)).collect()
}

/// One argument of a command, if it is not the place of a cursor.
#[must_use]
pub const fn argument<'a>(arg: &redis::Arg<&'a [u8]>) -> Option<&'a [u8]> {
    if let redis::Arg::Simple(bytes) = arg {
        Some(*bytes)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cmd: &Cmd) -> String {
        let parts: Vec<String> = cmd
            .args_iter()
            .map(|arg| String::from_utf8_lossy(argument(&arg).unwrap_or_default()).into_owned())
            .collect();
        parts.join(" ")
    }

    #[test]
    fn a_set_carries_its_expiry_and_condition() {
        assert_eq!(text(&set(b"k", b"v", Some(5), None)), "SET k v PX 5");
        assert_eq!(
            text(&set(b"k", b"v", None, Some(OnlyIf::Absent))),
            "SET k v NX"
        );
        assert_eq!(
            text(&set(b"k", b"v", Some(1), Some(OnlyIf::Present))),
            "SET k v PX 1 XX"
        );
    }

    #[test]
    fn one_key_is_read_by_get_and_more_by_mget() {
        assert_eq!(text(&get(&[b"k"])), "GET k");
        assert_eq!(text(&get(&[b"k", b"l"])), "MGET k l");
    }

    #[test]
    fn counting_is_one_command_with_or_without_a_life() {
        assert_eq!(text(&increment(b"k", -2)), "INCRBY k -2");
        assert!(text(&increment_anew(b"k", 2, Some(9), 7)).starts_with("EVAL "));
    }

    #[test]
    fn a_command_is_counted_by_what_it_is_about() {
        assert_eq!(family(&set(b"k", b"v", None, None)), CommandFamily::Set);
        assert_eq!(family(&unlink(&[b"k"])), CommandFamily::Delete);
        assert_eq!(family(&scan("0", b"*", 1)), CommandFamily::Scan);
        assert_eq!(family(&increment(b"k", 1)), CommandFamily::Increment);
        assert_eq!(
            family(&increment_anew(b"k", 1, Some(1), 1)),
            CommandFamily::Script
        );
        assert_eq!(family(&pttl(b"k")), CommandFamily::Life);
        assert_eq!(family(&header(b"k")), CommandFamily::Life);
        assert_eq!(family(&redis::cmd("HGET")), CommandFamily::Other);
    }

    #[test]
    fn a_scan_reply_is_a_cursor_and_keys() {
        let reply = Value::Array(vec![
            Value::BulkString(b"17".to_vec()),
            Value::Array(vec![Value::BulkString(b"a".to_vec())]),
        ]);
        assert_eq!(scanned(reply), Some(("17".into(), vec![b"a".to_vec()])));
        assert_eq!(scanned(Value::Nil), None);
    }
}
