//! The options of what watches over Redis: the tick, the breaker and the quota, with their defaults.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use super::millis::{always, or_off};

/// The tick: one command after a time without traffic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// How long the link is idle before the tick; `None` for no tick.
    #[serde(with = "or_off")]
    pub interval: Option<Duration>,
    /// How long its answer may take.
    #[serde(with = "always")]
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(30)),
            timeout: Duration::from_secs(2),
        }
    }
}

/// When Redis is left alone for a while.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Breaker {
    /// The time over which calls are judged.
    #[serde(with = "always")]
    pub window: Duration,
    /// How many calls it takes to judge.
    pub min_calls: u32,
    /// The share of failures that opens it.
    pub failure_rate: f64,
    /// The share of slow calls that opens it.
    pub slow_rate: f64,
    /// How long it stays open the first time.
    #[serde(with = "always")]
    pub open_for: Duration,
    /// How long it stays open at most.
    #[serde(with = "always")]
    pub max_open_for: Duration,
    /// How many good probes in a row close it.
    pub probes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            min_calls: 20,
            failure_rate: 0.5,
            slow_rate: 0.8,
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(60),
            probes: 3,
        }
    }
}

/// The span a quota is for, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
}

/// How many connections the plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// This many.
    AtMost(u64),
    /// As many as the server says.
    Server,
}

impl<'de> Deserialize<'de> for Connections {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(from)?;
        match (given.as_u64(), given.as_str()) {
            (Some(count), _) => Ok(Self::AtMost(count)),
            (_, Some("server")) => Ok(Self::Server),
            _ => Err(D::Error::custom("expected a count or \"server\"")),
        }
    }
}

impl Serialize for Connections {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(count) => to.serialize_u64(*count),
            Self::Server => to.serialize_str("server"),
        }
    }
}

/// What the Redis plan allows.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// How many commands in a window.
    pub commands: u64,
    /// The window.
    pub window: Window,
    /// How many connections; `None` if nothing was said.
    pub connections: Option<Connections>,
    /// At which shares of the quota to warn.
    #[serde(default = "warn_at")]
    pub warn_at: Vec<f64>,
}

fn warn_at() -> Vec<f64> {
    vec![0.8, 0.95]
}
