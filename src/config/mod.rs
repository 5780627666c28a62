//! The validated configuration: the JSON that `lib/options.js` hands over becomes one [`Config`]. Every default of the
//! package is written in this folder, once. Names, types and ranges were checked in JavaScript; here is checked what
//! needs parsing. A secret enters neither a message nor a `Debug` text.

mod guards;
mod memory;
mod millis;
mod redis;
mod redis_options;
mod secret;
mod tiers;
mod url;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::{
    guards::{Breaker, Connections, Health, Quota, Window},
    redis::{Endpoint, Family, Redis, Sentinels, Tls, Topology},
    secret::Secret,
    tiers::{Compress, Format, L1, L2, Loader, SoftTimeout},
};
use self::{millis::switch, redis_options::RedisOptions};
use crate::error::{CacheError, Code};

/// How other processes' writes reach this L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Invalidation {
    /// The best that works.
    #[default]
    Auto,
    /// The server pushes them over the data connection.
    Tracking,
    /// Whoever changes something publishes it; heard over a socket beside the data connection.
    Pubsub,
    /// Not at all: what others wrote is seen when the TTL in L1 is over.
    Off,
}

/// What a cache was made with, every default filled in.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Config {
    /// The name the application gave; `None` for an unnamed cache.
    pub name: Option<String>,
    /// What stands before every key in Redis: the namespace and its colon, or `redis.keyPrefix` as it is.
    pub prefix: String,
    /// Whether calls are strict unless they say otherwise.
    pub strict: bool,
    /// Whether the cache starts with Redis switched off.
    pub memory_mode: bool,
    /// The second tier; `None` for a memory cache.
    pub redis: Option<Redis>,
    /// The first tier; `None` where it is switched off.
    pub l1: Option<L1>,
    /// How values are kept in the second tier.
    pub l2: L2,
    /// Defaults of `getOrSet`.
    pub loader: Loader,
    /// By which share, at most, a TTL is shortened at random.
    pub jitter: f64,
    /// How other processes' writes reach this L1.
    pub invalidation: Invalidation,
    /// The tick.
    pub health: Health,
    /// When Redis is left alone for a while.
    pub breaker: Breaker,
    /// What the Redis plan allows.
    pub quota: Option<Quota>,
    /// Whether the application gave a logger.
    pub logger: bool,
    /// Whether the application gave a codec.
    pub codec: bool,
    /// Whether keys may appear in log lines.
    pub log_keys: bool,
    /// The options that are data, as canonical JSON, to compare caches of the same name within this process. Secrets
    /// stand in it as digests under a key of this process.
    pub fingerprint: String,
}

impl Config {
    /// Reads what `lib/options.js` made of the application's options.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` for a URL or a combination that cannot be used, and for JSON of another shape.
    pub fn parse(json: &str) -> Result<Self, CacheError> {
        let options = serde_json::from_str::<Options>(json).map_err(|error| misshapen(&error))?;
        options.resolve()
    }

    /// Every default as JSON, in the shape of the options, for tests and documents. `l1.maxBytes` is this machine's.
    #[must_use]
    pub fn defaults() -> Value {
        let options = Options {
            redis: Some(RedisOptions::default().settled()),
            ..Options::default()
        };
        serde_json::to_value(options).unwrap_or_else(|_| json!({}))
    }
}

/// The options as they arrive.
#[derive(Clone, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
struct Options {
    #[serde(skip_serializing)]
    name: Option<String>,
    namespace: String,
    memory_mode: bool,
    strict: bool,
    redis: Option<RedisOptions>,
    #[serde(with = "switch")]
    l1: Option<L1>,
    l2: L2,
    loader: Loader,
    jitter: f64,
    invalidation: Invalidation,
    health: Health,
    breaker: Breaker,
    quota: Option<Quota>,
    #[serde(skip_serializing)]
    logger: bool,
    #[serde(skip_serializing)]
    codec: bool,
    log_keys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            namespace: String::new(),
            memory_mode: false,
            strict: false,
            redis: None,
            l1: Some(L1::default()),
            l2: L2::default(),
            loader: Loader::default(),
            jitter: 0.1,
            invalidation: Invalidation::default(),
            health: Health::default(),
            breaker: Breaker::default(),
            quota: None,
            logger: false,
            codec: false,
            log_keys: false,
        }
    }
}

impl Options {
    fn resolve(mut self) -> Result<Config, CacheError> {
        self.redis = self.redis.map(RedisOptions::with_url).transpose()?;
        let fingerprint = serde_json::to_string(&self).unwrap_or_default();
        Ok(Config {
            prefix: self.prefix(),
            redis: self.redis.map(Redis::from),
            name: self.name,
            strict: self.strict,
            memory_mode: self.memory_mode,
            l1: self.l1,
            l2: self.l2,
            loader: self.loader,
            jitter: self.jitter,
            invalidation: self.invalidation,
            health: self.health,
            breaker: self.breaker,
            quota: self.quota,
            logger: self.logger,
            codec: self.codec,
            log_keys: self.log_keys,
            fingerprint,
        })
    }

    fn prefix(&self) -> String {
        let prefix = self
            .redis
            .as_ref()
            .and_then(|redis| redis.key_prefix.clone());
        match prefix {
            Some(prefix) => prefix,
            None if self.namespace.is_empty() => String::new(),
            None => format!("{}:", self.namespace),
        }
    }
}

/// Serde's message shows the value it stumbled over, which may be a secret; only names of fields are kept.
fn misshapen(error: &serde_json::Error) -> CacheError {
    let text = error.to_string();
    let got = match text.split_once("`, expected") {
        Some((unknown, _)) if unknown.starts_with("unknown field `") => format!("{unknown}`"),
        Some(_) | None => format!("JSON that does not fit at column {}", error.column()),
    };
    CacheError::new(
        Code::Options,
        format!("Expected `options` to be as documented, got {got}"),
    )
}

#[cfg(test)]
mod tests;
