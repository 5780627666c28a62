//! The closed sets of label values.
//!
//! Owns the words under which things are counted and exposed, and the class of a
//! server's error. A new value is a new series for every cache: keep them few.

/// A closed set of label values, in the order in which they are exposed.
pub trait Label: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];
    /// The value as it is exposed.
    fn as_str(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $value,)+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Why L1 let an entry go that nobody had deleted or replaced.
    EvictionCause {
        /// To make room.
        Size = "size",
        /// Past its TTL.
        Expired = "expired",
    }
}

label! {
    /// What went wrong with Redis.
    ErrorClass {
        /// Refused, reset, ended, unreachable, name service, TLS.
        Connection = "connection",
        /// A deadline was missed.
        Timeout = "timeout",
        /// The key holds another Redis type.
        Type = "type",
        /// One of our own entries is damaged.
        Corrupt = "corrupt",
        /// A reply that is none of the others', or makes no sense.
        Reply = "reply",
        /// Password, user or permission.
        Auth = "auth",
        /// The server is loading its data, or its master is.
        Loading = "loading",
        /// The server is a replica.
        ReadOnly = "readonly",
        /// The server has no memory left.
        Oom = "oom",
        /// The server refuses writes: it cannot persist or replicate them.
        Misconf = "misconf",
        /// A script keeps the server busy.
        Busy = "busy",
        /// The key lives on another node, or the cluster is down.
        Moved = "moved",
        /// A plan's limit is used up.
        Quota = "quota",
        /// Anything else.
        Other = "other",
    }
}

impl ErrorClass {
    /// The class of an error reply, by its first word.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        match code {
            "WRONGTYPE" => Self::Type,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Self::Auth,
            "LOADING" | "MASTERDOWN" => Self::Loading,
            "READONLY" => Self::ReadOnly,
            "OOM" => Self::Oom,
            "MISCONF" | "NOREPLICAS" => Self::Misconf,
            "BUSY" => Self::Busy,
            "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" | "CLUSTERDOWN" => Self::Moved,
            _ => Self::Reply,
        }
    }
}

label! {
    /// How a load by `getOrSet` ended.
    LoadResult {
        /// The factory gave a value.
        Ok = "ok",
        /// The factory failed.
        Error = "error",
        /// The factory took longer than `factoryTimeout`.
        Timeout = "timeout",
        /// The factory failed or was late, and the stale value was served.
        Stale = "stale",
    }
}

label! {
    /// Who changed an entry that L1 had to drop.
    InvalidationSource {
        /// Another cache or thread of this process.
        Local = "local",
        /// Another process.
        Remote = "remote",
    }
}

label! {
    /// What a command that operations asked for is about.
    CommandFamily {
        /// One key's value.
        Get = "get",
        /// The values of keys whose reads were joined.
        MGet = "mget",
        /// A value stored.
        Set = "set",
        /// Keys removed.
        Delete = "delete",
        /// A step of a walk over all keys.
        Scan = "scan",
        /// A script.
        Script = "script",
        /// A counter changed.
        Increment = "increment",
        /// The time that a key has left.
        Life = "life",
        /// Anything else.
        Other = "other",
    }
}

impl CommandFamily {
    /// The family of a command, by its name in capitals.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"MGET" => Self::MGet,
            b"SET" => Self::Set,
            b"UNLINK" | b"DEL" => Self::Delete,
            b"SCAN" => Self::Scan,
            b"EVAL" | b"EVALSHA" => Self::Script,
            b"INCRBY" => Self::Increment,
            // Of an envelope, `ttl()` reads the start.
            b"PTTL" | b"GETRANGE" => Self::Life,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_are_unique_and_in_place<L: Label>() {
        for (index, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), index);
            let same = L::ALL
                .iter()
                .filter(|other| other.as_str() == value.as_str())
                .count();
            assert_eq!(same, 1, "{}", value.as_str());
        }
    }

    #[test]
    fn every_label_value_has_a_place_and_a_name_of_its_own() {
        names_are_unique_and_in_place::<EvictionCause>();
        names_are_unique_and_in_place::<ErrorClass>();
        names_are_unique_and_in_place::<LoadResult>();
        names_are_unique_and_in_place::<InvalidationSource>();
        names_are_unique_and_in_place::<CommandFamily>();
    }

    #[test]
    fn a_reply_is_classed_by_its_first_word() {
        assert_eq!(ErrorClass::of_code("WRONGTYPE"), ErrorClass::Type);
        assert_eq!(ErrorClass::of_code("NOPERM"), ErrorClass::Auth);
        assert_eq!(ErrorClass::of_code("MASTERDOWN"), ErrorClass::Loading);
        assert_eq!(ErrorClass::of_code("ERR"), ErrorClass::Reply);
    }
}
