//! The options of the two tiers and of the loader, with their defaults.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use crate::{clock, entry::packed::Sizes};

use super::{
    memory,
    millis::{always, given, or_off, switch},
};

/// The most that is unpacked of an entry from Redis, unless `l2.maxValueBytes` is more.
const MOST_UNPACKED: usize = 16 << 20;

/// The tier in process memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct L1 {
    /// How long an entry is kept while Redis backs it, in ms.
    #[serde(rename = "ttl")]
    pub ttl_ms: u64,
    /// What entries and their overhead may take.
    pub max_bytes: u64,
    /// How many entries there may be; `None` leaves it to the bytes.
    pub max_entries: Option<u64>,
    /// Whether all callers share one frozen object.
    pub share_objects: bool,
    /// How long an entry of another program, without an envelope, is kept at most, in ms.
    #[serde(rename = "plainTtl")]
    pub plain_ttl_ms: u64,
}

impl Default for L1 {
    fn default() -> Self {
        Self {
            ttl_ms: 60_000,
            max_bytes: memory::default_max_bytes(),
            max_entries: None,
            share_objects: false,
            plain_ttl_ms: 5_000,
        }
    }
}

/// How a value is written to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A binary header and the payload.
    #[default]
    Envelope,
    /// Exactly what `JSON.stringify` makes.
    Plain,
}

/// How long `getOrSet` waits for Redis when it can make the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SoftTimeout {
    /// What the link's own replies suggest.
    #[default]
    Auto,
    /// This long.
    After(Duration),
    /// As long as the deadline allows.
    Off,
}

impl<'de> Deserialize<'de> for SoftTimeout {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(from)?;
        match (given.as_u64(), given.as_str(), given.as_bool()) {
            (Some(millis), ..) => Ok(Self::After(Duration::from_millis(millis))),
            (_, Some("auto"), _) => Ok(Self::Auto),
            (.., Some(false)) => Ok(Self::Off),
            _ => Err(D::Error::custom("expected milliseconds, \"auto\" or false")),
        }
    }
}

impl Serialize for SoftTimeout {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => to.serialize_str("auto"),
            Self::After(duration) => to.serialize_u64(clock::millis(*duration)),
            Self::Off => to.serialize_bool(false),
        }
    }
}

/// The tier in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct L2 {
    /// How long an entry lives, in ms; `None` for ever.
    #[serde(rename = "ttl")]
    pub ttl_ms: Option<u64>,
    /// How values are written.
    pub format: Format,
    /// The size above which a value is not written to Redis.
    pub max_value_bytes: usize,
    /// Which values are compressed; `None`: none are.
    #[serde(with = "switch")]
    pub compress: Option<Compress>,
    /// The deadline of one operation, from call to answer.
    #[serde(with = "always")]
    pub timeout: Duration,
    /// How long `getOrSet` waits for Redis before it calls the factory.
    pub soft_timeout: SoftTimeout,
}

/// Which values are compressed on their way to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compress {
    /// Those of more bytes.
    pub above: usize,
}

impl Default for Compress {
    fn default() -> Self {
        Self { above: 1_024 }
    }
}

impl L2 {
    /// What is compressed and unpacked: whatever this cache writes, it reads what others have compressed.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            above: self.compress.map(|compress| compress.above),
            most: self.max_value_bytes.max(MOST_UNPACKED),
        }
    }

    /// The deadline of one operation in ms.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        clock::millis(self.timeout)
    }
}

impl Default for L2 {
    fn default() -> Self {
        Self {
            ttl_ms: Some(300_000),
            format: Format::default(),
            max_value_bytes: 1 << 20,
            compress: None,
            timeout: Duration::from_millis(500),
            soft_timeout: SoftTimeout::default(),
        }
    }
}

/// Defaults of `getOrSet`; `None` is what the cache itself says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Loader {
    /// The life of a loaded entry, in ms: `None` is `l2.ttl`, `Some(None)` is for ever.
    #[serde(
        rename = "ttl",
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub ttl_ms: Option<Option<u64>>,
    /// How long L1 keeps it, in ms.
    #[serde(rename = "l1Ttl", skip_serializing_if = "Option::is_none")]
    pub l1_ttl_ms: Option<u64>,
    /// How long it may be served after its life, in ms.
    #[serde(rename = "staleFor", skip_serializing_if = "Option::is_none")]
    pub stale_for_ms: Option<u64>,
    /// By which share, at most, its TTL is shortened at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// Whether loads are strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// How long a factory may take; `None` for ever.
    #[serde(with = "or_off")]
    pub factory_timeout: Option<Duration>,
    /// How long callers wait for a factory if there is a stale value, in ms; `None`: not at all.
    #[serde(rename = "factorySoftTimeout", skip_serializing_if = "Option::is_none")]
    pub factory_soft_timeout_ms: Option<u64>,
    /// How long a load waits for Redis; `None` is `l2.softTimeout`.
    #[serde(rename = "l2SoftTimeout", skip_serializing_if = "Option::is_none")]
    pub l2_soft_timeout: Option<SoftTimeout>,
    /// From which share of its life on an entry is renewed behind those who get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eager_refresh: Option<f64>,
    /// For how long a factory that failed is not tried again while there is a stale value, in ms.
    #[serde(rename = "retryAfter")]
    pub retry_after_ms: u64,
    /// How long a loaded `null` lives, in ms; `None` is as any other value.
    #[serde(rename = "nullTtl", skip_serializing_if = "Option::is_none")]
    pub null_ttl_ms: Option<u64>,
    /// For how long the error of a factory is the answer, in ms; `None`: not at all.
    #[serde(rename = "errorTtl", skip_serializing_if = "Option::is_none")]
    pub error_ttl_ms: Option<u64>,
    /// Whether one process at a time makes the value.
    pub lock: bool,
    /// Whether what is cached is ignored.
    pub fresh: bool,
    /// The tags of loaded entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            ttl_ms: None,
            l1_ttl_ms: None,
            stale_for_ms: None,
            jitter: None,
            strict: None,
            factory_timeout: Some(Duration::from_secs(30)),
            factory_soft_timeout_ms: None,
            l2_soft_timeout: None,
            eager_refresh: None,
            retry_after_ms: 30_000,
            null_ttl_ms: None,
            error_ttl_ms: None,
            lock: false,
            fresh: false,
            tags: Vec::new(),
        }
    }
}
