//! Where the server is, who we are there, and how the link behaves, every default filled in.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Secret;

/// Where the server is. `Display` is what logs and `health()` show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host by name or address, without brackets.
    Tcp {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which servers there are. `Display` is what logs and `health()` show before one of them is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One.
    Single(Endpoint),
    /// The master that sentinels name.
    Sentinels(Sentinels),
    /// The masters of a cluster; these are some of its nodes.
    Cluster(Vec<Endpoint>),
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Endpoint]| {
            let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            texts.join(",")
        };
        match self {
            Self::Single(endpoint) => endpoint.fmt(f),
            Self::Sentinels(sentinels) => {
                write!(f, "{} of {}", sentinels.name, list(&sentinels.nodes))
            }
            Self::Cluster(nodes) => f.write_str(&list(nodes)),
        }
    }
}

/// Who knows where the master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are.
    pub nodes: Vec<Endpoint>,
    /// What they call the master.
    pub name: String,
    /// The ACL user at the sentinels.
    pub username: Option<String>,
    /// The password at the sentinels.
    pub password: Option<Secret>,
    /// How TLS is spoken with the sentinels; `None` for plain text.
    pub tls: Option<Tls>,
}

/// Which kinds of address are used; in the options 0, 4 or 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// `IPv4` only.
    V4,
    /// `IPv6` only.
    V6,
}

impl TryFrom<u8> for Family {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Any),
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err("expected 0, 4 or 6"),
        }
    }
}

impl From<Family> for u8 {
    fn from(family: Family) -> Self {
        match family {
            Family::Any => 0,
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

/// How TLS is spoken. The material is PEM text, read by `l2::tls`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Authorities to trust beside the system's and `NODE_EXTRA_CA_CERTS`.
    pub ca: Vec<String>,
    /// The client's certificate and its chain.
    pub cert: Option<String>,
    /// The key of `cert`.
    pub key: Option<Secret>,
    /// The name to ask for and to verify, instead of the host.
    pub servername: Option<String>,
    /// Whether the server's certificate is verified.
    pub reject_unauthorized: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            cert: None,
            key: None,
            servername: None,
            reject_unauthorized: true,
        }
    }
}

/// The link to Redis, every default filled in.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Redis {
    /// Which servers there are.
    pub topology: Topology,
    /// The ACL user; `None` is the server's default user.
    pub username: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database number.
    pub db: i64,
    /// How TLS is spoken; `None` for plain text.
    pub tls: Option<Tls>,
    /// What one connect may take, from DNS to the ready check.
    pub connect_timeout: Duration,
    /// How often a read is tried again inside its deadline.
    pub max_retries: u32,
    /// Whether the application names the delay between connects.
    pub retry_strategy: bool,
    /// Whether the application names the credentials at each connect.
    pub credentials: bool,
    /// An upper bound of the idle time before keepalive probes; `None` for none. As in ioredis a number switches them
    /// on and `false` off; so 0 is on, with the default.
    pub keep_alive: Option<Duration>,
    /// Whether the first operation connects, instead of the constructor.
    pub lazy_connect: bool,
    /// Whether the server is asked if it has loaded its data before it is used.
    pub ready_check: bool,
    /// What the connection is called at the server; see [`Redis::name_connection`].
    pub connection_name: Option<String>,
    /// Which kinds of address are used.
    pub family: Family,
    /// How many data connections there may be.
    pub max_connections: u32,
}

impl Redis {
    /// Gives the connection its default name, `evenkeel:<cache>:<pid>`, unless the application named it. The server
    /// takes printable ASCII only, so anything else in the cache's name becomes `-`.
    pub fn name_connection(&mut self, cache: &str) {
        let plain = |each: char| if each.is_ascii_graphic() { each } else { '-' };
        self.connection_name.get_or_insert_with(|| {
            let cache: String = cache.chars().map(plain).collect();
            format!("evenkeel:{cache}:{}", std::process::id())
        });
    }
}
