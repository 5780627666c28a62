//! What an error reply of the server means.
//!
//! Owns the reading of every text that a Redis, a relative of it or a hosted service is known to answer, and the hint
//! that goes with it. Everything that acts on an error reply asks here; nothing else looks at its words.
//!
//! | meaning | what follows |
//! |---|---|
//! | [`Meaning::NotReady`] | counts against the breaker; the link stays |
//! | [`Meaning::DeletesOnly`], [`Meaning::NoWrites`] | the write gate closes, as far as it says |
//! | [`Meaning::Role`] | the link is made anew, elsewhere |
//! | [`Meaning::Credentials`] | the link is made anew, and waits for somebody to repair it |
//! | [`Meaning::Forbidden`] | this command is refused for good |
//! | [`Meaning::Quota`] | the breaker opens for long |
//! | [`Meaning::Capacity`] | there is no room for another connection |
//! | [`Meaning::Setup`] | somebody has to change an option |
//! | [`Meaning::OldProtocol`] | the server does not know RESP3 |
//! | [`Meaning::WrongType`] | the key holds something that is no value of ours |
//! | [`Meaning::Elsewhere`] | another node of the cluster is asked |
//! | [`Meaning::Caller`] | the caller asked for what cannot be |

/// What an error reply means for those who sent the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Loading, busy, without its master or its slots: it goes away by itself.
    NotReady,
    /// There is no room for values; what frees some is carried out.
    DeletesOnly,
    /// Nothing is written at the moment.
    NoWrites,
    /// The server is a replica.
    Role,
    /// Who we are is not known, or no longer.
    Credentials,
    /// We may not do this.
    Forbidden,
    /// The plan's commands are used up.
    Quota,
    /// The server has no room for another connection.
    Capacity,
    /// An option does not fit this server.
    Setup,
    /// The server does not know RESP3.
    OldProtocol,
    /// The key holds another type.
    WrongType,
    /// Another node of the cluster serves the slot.
    Elsewhere,
    /// The command itself is at fault: bad arguments, too large, unknown here.
    Caller,
}

/// The first words that tell by themselves.
const CODES: [(&str, Meaning); 25] = [
    ("LOADING", Meaning::NotReady),
    ("MASTERDOWN", Meaning::NotReady),
    ("BUSY", Meaning::NotReady),
    ("CLUSTERDOWN", Meaning::NotReady),
    ("TRYAGAIN", Meaning::NotReady),
    ("NOTREADY", Meaning::NotReady),
    ("IOERR", Meaning::NotReady),
    ("OOM", Meaning::DeletesOnly),
    ("MISCONF", Meaning::NoWrites),
    ("NOREPLICAS", Meaning::NoWrites),
    ("NOGOODSLAVE", Meaning::NoWrites),
    ("READONLY", Meaning::Role),
    ("UNBLOCKED", Meaning::Role),
    ("NOAUTH", Meaning::Credentials),
    ("WRONGPASS", Meaning::Credentials),
    ("NOPERM", Meaning::Forbidden),
    ("DENIED", Meaning::Forbidden),
    ("NOPROTO", Meaning::OldProtocol),
    ("WRONGTYPE", Meaning::WrongType),
    ("INVALIDOBJ", Meaning::WrongType),
    ("EXECABORT", Meaning::Caller),
    ("NOSCRIPT", Meaning::Caller),
    ("CROSSSLOT", Meaning::Caller),
    ("MOVED", Meaning::Elsewhere),
    ("ASK", Meaning::Elsewhere),
];

/// What the texts that begin with `ERR` are known by, in lower case.
const TEXTS: [(&str, Meaning); 13] = [
    ("max number of clients", Meaning::Capacity),
    ("max concurrent connections", Meaning::Capacity),
    ("max daily request limit exceeded", Meaning::Quota),
    ("max daily requests limit exceeded", Meaning::Quota),
    ("max request limit exceeded", Meaning::Quota),
    ("max requests limit exceeded", Meaning::Quota),
    ("db capacity quota exceeded", Meaning::DeletesOnly),
    ("db index is out of range", Meaning::Setup),
    ("select is not allowed", Meaning::Setup),
    ("without any password configured", Meaning::Setup),
    ("operation not permitted", Meaning::Credentials),
    ("invalid password", Meaning::Credentials),
    ("authentication failed", Meaning::Credentials),
];

/// What an error reply means: `code` is its first word, `text` all of it.
#[must_use]
pub fn meaning(code: &str, text: &str) -> Meaning {
    if let Some((_, meaning)) = CODES.iter().find(|(known, _)| *known == code) {
        return *meaning;
    }
    let text = text.to_ascii_lowercase();
    if text.contains("unknown command") && text.contains("hello") {
        return Meaning::OldProtocol;
    }
    let known = TEXTS.iter().find(|(known, _)| text.contains(known));
    known.map_or(Meaning::Caller, |(_, meaning)| *meaning)
}

/// An error reply for people: its text, and what to do about it where that is known.
#[must_use]
pub fn explained(code: &str, text: &str) -> String {
    match meaning(code, text).hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text.to_owned(),
    }
}

impl Meaning {
    /// Whether the server is at fault, and all of it: what the breaker counts.
    #[must_use]
    pub const fn counts_against_server(self) -> bool {
        matches!(self, Self::NotReady | Self::Quota)
    }

    /// Whether the same command would be refused again however often it is sent.
    #[must_use]
    pub const fn is_for_good(self) -> bool {
        matches!(self, Self::Forbidden)
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::NotReady => Some("the server is not ready: it is used as soon as it is"),
            Self::DeletesOnly => Some(
                "the server has no room for values: raise maxmemory, set a maxmemory-policy or a larger plan",
            ),
            Self::NoWrites => Some(
                "the server refuses writes: look at its persistence (MISCONF) or its replicas (NOREPLICAS)",
            ),
            Self::Role => Some("the server is a replica: connect to its master"),
            Self::Credentials => Some("check redis.username and redis.password"),
            Self::Forbidden => Some("the ACL user lacks rights that evenkeel needs"),
            Self::Quota => {
                Some("the plan's commands are used up: wait for the reset or take a larger plan")
            }
            Self::Capacity => Some(
                "the server has no connection to spare: raise maxclients or take a larger plan",
            ),
            Self::Setup => Some(
                "check redis.db, redis.username and redis.password: this server knows none of that kind",
            ),
            Self::OldProtocol | Self::WrongType | Self::Elsewhere | Self::Caller => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Meaning; 13] = [
        Meaning::Elsewhere,
        Meaning::NotReady,
        Meaning::DeletesOnly,
        Meaning::NoWrites,
        Meaning::Role,
        Meaning::Credentials,
        Meaning::Forbidden,
        Meaning::Quota,
        Meaning::Capacity,
        Meaning::Setup,
        Meaning::OldProtocol,
        Meaning::WrongType,
        Meaning::Caller,
    ];

    fn of(text: &str) -> Meaning {
        meaning(text.split(' ').next().unwrap_or_default(), text)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_known_text_has_its_meaning() {
        let table = [
            ("NOPROTO unsupported protocol version", Meaning::OldProtocol),
            (
                "ERR unknown command 'HELLO', with args beginning with: '3' ",
                Meaning::OldProtocol,
            ),
            (
                "ERR unknown command `HELLO`, with args beginning with: `3`, ",
                Meaning::OldProtocol,
            ),
            (
                "ERR unknown command 'UNLINK', with args beginning with: 'k' ",
                Meaning::Caller,
            ),
            (
                "ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.",
                Meaning::Caller,
            ),
            ("ERR max number of clients reached", Meaning::Capacity),
            (
                "ERR max number of clients + cluster connections reached",
                Meaning::Capacity,
            ),
            ("ERR max concurrent connections exceeded", Meaning::Capacity),
            ("NOAUTH Authentication required.", Meaning::Credentials),
            (
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used",
                Meaning::Credentials,
            ),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Meaning::Credentials,
            ),
            (
                "WRONGPASS invalid or missing auth token",
                Meaning::Credentials,
            ),
            ("ERR invalid password", Meaning::Credentials),
            ("ERR operation not permitted", Meaning::Credentials),
            (
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
                Meaning::Setup,
            ),
            ("ERR DB index is out of range", Meaning::Setup),
            ("ERR SELECT is not allowed in cluster mode", Meaning::Setup),
            (
                "NOPERM User app has no permissions to run the 'set' command",
                Meaning::Forbidden,
            ),
            (
                "DENIED Redis is running in protected mode",
                Meaning::Forbidden,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Meaning::DeletesOnly,
            ),
            ("ERR DB capacity quota exceeded", Meaning::DeletesOnly),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Meaning::NoWrites,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Meaning::NoWrites,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Meaning::Role,
            ),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                Meaning::Role,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Meaning::NotReady,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Meaning::NotReady,
            ),
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Meaning::NotReady,
            ),
            ("CLUSTERDOWN Hash slot not served", Meaning::NotReady),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Meaning::NotReady,
            ),
            ("NOTREADY Initiated failover", Meaning::NotReady),
            (
                "IOERR error or timeout connecting to the client",
                Meaning::NotReady,
            ),
            (
                "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
                Meaning::Quota,
            ),
            (
                "ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
                Meaning::Quota,
            ),
            ("ERR max request size exceeded", Meaning::Caller),
            ("ERR max single record size exceeded", Meaning::Caller),
            (
                "ERR max key size exceeded. Limit: 32768 bytes, Actual: 40000 bytes",
                Meaning::Caller,
            ),
            ("ERR Protocol error: invalid bulk length", Meaning::Caller),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Meaning::WrongType,
            ),
            ("MOVED 3999 127.0.0.1:6381", Meaning::Elsewhere),
            ("ASK 3999 127.0.0.1:6381", Meaning::Elsewhere),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Meaning::Caller,
            ),
            (
                "EXECABORT Transaction discarded because of previous errors.",
                Meaning::Caller,
            ),
            ("NOSCRIPT No matching script.", Meaning::Caller),
            ("ERR syntax error", Meaning::Caller),
            (
                "ERR value is not an integer or out of range",
                Meaning::Caller,
            ),
            (
                "ERR wrong number of arguments for 'get' command",
                Meaning::Caller,
            ),
            ("", Meaning::Caller),
        ];
        for (text, expected) in table {
            assert_eq!(of(text), expected, "{text}");
        }
        for meaning in ALL {
            assert!(
                table.iter().any(|(_, seen)| *seen == meaning),
                "{meaning:?}"
            );
        }
    }

    #[test]
    fn what_somebody_has_to_repair_comes_with_a_hint() {
        for meaning in ALL {
            let ours = matches!(
                meaning,
                Meaning::OldProtocol | Meaning::WrongType | Meaning::Elsewhere | Meaning::Caller
            );
            assert_eq!(meaning.hint().is_none(), ours, "{meaning:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn any_text_has_a_meaning(code in ".{0,12}", text in ".{0,60}") {
            let _ = meaning(&code, &text);
        }

        #[test]
        fn the_first_word_decides_whatever_follows(at in 0..CODES.len(), tail in ".{0,60}") {
            let (code, expected) = CODES[at];
            prop_assert_eq!(meaning(code, &format!("{code} {tail}")), expected);
        }
    }
}
