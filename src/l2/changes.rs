//! Which keys a command changes, by what is known of Redis' commands.

/// Commands that change no key.
const READ_ONLY: &[&str] = &[
    "ASKING",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "ECHO",
    "EXISTS",
    "GET",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HVALS",
    "INFO",
    "KEYS",
    "LASTSAVE",
    "LINDEX",
    "LLEN",
    "LRANGE",
    "MEMORY",
    "MGET",
    "OBJECT",
    "PING",
    "PTTL",
    "PUBLISH",
    "SCAN",
    "SCARD",
    "SISMEMBER",
    "SMEMBERS",
    "STRLEN",
    "TIME",
    "TTL",
    "TYPE",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANK",
    "ZSCORE",
];

/// Commands that change the key that they name first, and no other.
const FIRST_KEY: &[&str] = &[
    "APPEND",
    "DECR",
    "DECRBY",
    "EXPIRE",
    "EXPIREAT",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HDEL",
    "HINCRBY",
    "HMSET",
    "HSET",
    "HSETNX",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "LPOP",
    "LPUSH",
    "LREM",
    "LSET",
    "LTRIM",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PSETEX",
    "RESTORE",
    "RPOP",
    "RPUSH",
    "SADD",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SPOP",
    "SREM",
    "XADD",
    "XDEL",
    "XTRIM",
    "ZADD",
    "ZINCRBY",
    "ZREM",
];

/// What a command changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes<'a> {
    /// These keys, if any.
    Keys(Vec<&'a [u8]>),
    /// It is not known: it may be everything.
    Unknown,
}

impl<'a> Changes<'a> {
    /// What a command of this name, in whatever case, with these arguments changes.
    pub fn of(name: &[u8], mut args: impl Iterator<Item = &'a [u8]>) -> Self {
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        Self::Keys(match &*name {
            name if READ_ONLY.contains(&name) => Vec::new(),
            "DEL" | "UNLINK" => args.collect(),
            "MSET" | "MSETNX" => args.step_by(2).collect(),
            name if FIRST_KEY.contains(&name) => args.next().into_iter().collect(),
            "EVAL" | "EVALSHA" => {
                let count = args.nth(1).map(String::from_utf8_lossy);
                match count.and_then(|count| count.parse().ok()) {
                    Some(count @ 1..) => args.take(count).collect(),
                    // A script that names no key changes what it likes.
                    Some(0) | None => return Self::Unknown,
                }
            }
            _ => return Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &'static str) -> Changes<'static> {
        let mut words = command.split(' ').map(str::as_bytes);
        Changes::of(words.next().unwrap(), words)
    }

    fn keys(names: &'static [&'static str]) -> Changes<'static> {
        Changes::Keys(names.iter().map(|name| name.as_bytes()).collect())
    }

    #[test]
    fn the_keys_are_those_that_the_command_names() {
        assert_eq!(of("GET a"), keys(&[]));
        assert_eq!(of("set a 1 PX 5"), keys(&["a"]));
        assert_eq!(of("UNLINK a b"), keys(&["a", "b"]));
        assert_eq!(of("MSET a 1 b 2"), keys(&["a", "b"]));
        assert_eq!(of("EVAL script 2 a b c"), keys(&["a", "b"]));
        assert_eq!(of("EVAL script x"), Changes::Unknown);
        assert_eq!(of("EVAL script 0 a"), Changes::Unknown);
        assert_eq!(of("FLUSHDB ASYNC"), Changes::Unknown);
        assert_eq!(of("RENAME a b"), Changes::Unknown);
    }
}
