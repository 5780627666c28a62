//! The `redis` option as it arrives, under ioredis' names, and its defaults. Its own keys override the parts of its URL.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    Endpoint, Family, Redis, Secret, Sentinels, Tls, Topology,
    millis::{always, switch},
    url,
};
use crate::error::{CacheError, Code};

const HOST: &str = "localhost";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

impl From<RedisOptions> for Redis {
    fn from(mut options: RedisOptions) -> Self {
        Self {
            topology: options.topology(),
            username: options.username,
            password: options.password,
            db: options.db.unwrap_or_default(),
            tls: options.tls,
            connect_timeout: options.connect_timeout,
            max_retries: options.max_retries_per_request,
            retry_strategy: options.retry_strategy,
            credentials: options.credentials,
            keep_alive: options.keep_alive,
            lazy_connect: options.lazy_connect,
            ready_check: options.enable_ready_check,
            connection_name: options.connection_name,
            family: options.family.unwrap_or_default(),
            max_connections: options.max_connections,
        }
    }
}

/// The option as it arrives, under ioredis' names. `None` may still come from the URL.
#[derive(Clone, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(super) struct RedisOptions {
    #[serde(skip_serializing)]
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    db: Option<i64>,
    #[serde(with = "switch")]
    tls: Option<Tls>,
    #[serde(with = "always")]
    connect_timeout: Duration,
    max_retries_per_request: u32,
    #[serde(skip_serializing)]
    retry_strategy: bool,
    #[serde(skip_serializing)]
    credentials: bool,
    #[serde(
        deserialize_with = "keep_alive",
        serialize_with = "super::millis::or_off::serialize"
    )]
    keep_alive: Option<Duration>,
    lazy_connect: bool,
    enable_ready_check: bool,
    connection_name: Option<String>,
    pub(super) key_prefix: Option<String>,
    family: Option<Family>,
    max_connections: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sentinels: Vec<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinel_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinel_password: Option<Secret>,
    #[serde(
        rename = "sentinelTLS",
        with = "switch",
        skip_serializing_if = "Option::is_none"
    )]
    sentinel_tls: Option<Tls>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<Node>,
}

/// A server among several.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    host: Option<String>,
    port: Option<u16>,
}

impl Node {
    fn at(self, port: u16) -> Endpoint {
        Endpoint::Tcp {
            host: self
                .host
                .map_or_else(|| HOST.to_owned(), |host| bare(&host)),
            port: self.port.unwrap_or(port),
        }
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            path: None,
            username: None,
            password: None,
            db: None,
            tls: None,
            connect_timeout: Duration::from_secs(15),
            max_retries_per_request: 5,
            retry_strategy: false,
            credentials: false,
            keep_alive: Some(KEEP_ALIVE),
            lazy_connect: false,
            enable_ready_check: true,
            connection_name: None,
            key_prefix: None,
            family: None,
            max_connections: 1,
            sentinels: Vec::new(),
            name: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_tls: None,
            nodes: Vec::new(),
        }
    }
}

impl RedisOptions {
    fn topology(&mut self) -> Topology {
        if !self.nodes.is_empty() {
            let nodes = std::mem::take(&mut self.nodes).into_iter();
            return Topology::Cluster(nodes.map(|node| node.at(PORT)).collect());
        }
        if !self.sentinels.is_empty() {
            let nodes = std::mem::take(&mut self.sentinels).into_iter();
            return Topology::Sentinels(Sentinels {
                nodes: nodes.map(|node| node.at(SENTINEL_PORT)).collect(),
                name: self.name.take().unwrap_or_default(),
                username: self.sentinel_username.take(),
                password: self.sentinel_password.take(),
                tls: self.sentinel_tls.take(),
            });
        }
        Topology::Single(match self.path.take() {
            Some(path) => Endpoint::Unix(PathBuf::from(path)),
            None => Endpoint::Tcp {
                host: self.host.take().unwrap_or_else(|| HOST.to_owned()),
                port: self.port.unwrap_or(PORT),
            },
        })
    }

    /// Fills from the URL what the other keys leave open.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` for a bad URL, and for a socket path where there are no such sockets.
    pub(super) fn with_url(mut self) -> Result<Self, CacheError> {
        let url = match self.url.take() {
            Some(url) => url::parse(&url)?,
            None => url::Parts::default(),
        };
        if self.host.is_none() {
            self.path = self.path.or(url.path);
        }
        if self.path.is_some() && !cfg!(unix) {
            let message = "Expected `redis.path` to be absent on Windows, got a path; connect to a host and port";
            return Err(CacheError::new(Code::Options, message));
        }
        self.host = self.host.or(url.host);
        self.port = self.port.or(url.port);
        self.username = self.username.or(url.username);
        self.password = self.password.or(url.password);
        self.db = self.db.or(url.db);
        self.family = self.family.or(url.family);
        self.tls = self.tls.or(url.tls.then(Tls::default));
        Ok(self.settled())
    }

    /// Fills in what is still open, so that two ways to say the same are equal. A path wins over a host, as in ioredis.
    pub(super) fn settled(self) -> Self {
        let tcp = self.path.is_none();
        Self {
            host: tcp.then(|| {
                self.host
                    .map_or_else(|| HOST.to_owned(), |host| bare(&host))
            }),
            port: tcp.then(|| self.port.unwrap_or(PORT)),
            family: tcp.then(|| self.family.unwrap_or_default()),
            db: self.db.or(Some(0)),
            ..self
        }
    }
}

/// A number switches keepalive on, and as in ioredis so does 0, which only names no time; anything else means off.
fn keep_alive<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let millis = Value::deserialize(from)?
        .as_u64()
        .map(Duration::from_millis);
    Ok(millis.map(|idle| if idle.is_zero() { KEEP_ALIVE } else { idle }))
}
