//! The link's figures for `health()` and `metrics()`, and the parsing of the server's own from INFO.

use super::hearing::Hearing;
use crate::{clock, config::Connections, resilience::breaker::BreakerState};

/// The last thing that went wrong on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// A short stable name, such as ECONNREFUSED or WRONGPASS.
    pub code: String,
    /// What it was, and a hint where one helps.
    pub message: String,
    /// When, in ms since 1970.
    pub at: u64,
}

impl LastError {
    /// An error that happened now.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            at: clock::unix(),
        }
    }
}

/// What the server says of itself, as far as it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Commands it has processed.
    pub total_commands: Option<u64>,
    /// Connections it has accepted.
    pub total_connections: Option<u64>,
    /// Keys in our database.
    pub total_keys: Option<u64>,
    /// Connections it has now.
    pub connected_clients: Option<u64>,
    /// Connections it takes at most.
    pub max_clients: Option<u64>,
    /// Whether it is reading its data set from disk.
    pub loading: bool,
    /// Whether it is a replica.
    pub replica: bool,
    /// Whether it is a node of a cluster.
    pub cluster: bool,
}

impl Server {
    /// Reads the answer to INFO for database `db`.
    #[must_use]
    pub fn parse(info: &str, db: i64) -> Self {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let number = |name| field(name).and_then(|text| text.trim().parse().ok());
        let keys = field(&format!("db{db}"))
            .and_then(|line| line.split(',').find_map(|part| part.strip_prefix("keys=")))
            .and_then(|text| text.parse().ok());
        let total_commands = number("total_commands_processed");
        Self {
            total_commands,
            total_connections: number("total_connections_received"),
            connected_clients: number("connected_clients"),
            max_clients: number("maxclients"),
            // A server that gives figures but has no line for the database has no key in it.
            total_keys: keys.or(total_commands.map(|_| 0)),
            loading: field("loading").is_some_and(|text| text.trim() == "1"),
            replica: field("role").is_some_and(|text| text.trim() == "slave"),
            // As Redis and as Valkey call it.
            cluster: field("redis_mode")
                .or_else(|| field("server_mode"))
                .is_some_and(|text| text.trim() == "cluster"),
        }
    }
}

impl Server {
    /// Connections it has and may have, by `limit`, if it tells.
    #[must_use]
    pub fn connections(&self, limit: Connections) -> Option<(u64, u64)> {
        let most = match limit {
            Connections::AtMost(most) => most,
            Connections::Server => self.max_clients?,
        };
        Some((self.connected_clients?, most))
    }
}

/// The link's figures.
#[derive(Debug, Clone)]
pub struct Status {
    /// `host:port` or a path; never a secret.
    pub endpoint: String,
    /// How changes of others are heard of.
    pub hearing: Hearing,
    /// When a ping was last answered, in ms since 1970.
    pub last_ping: Option<u64>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// A moving average of round trips, in ms.
    pub latency_ms: Option<f64>,
    /// The server's own figures, at the last tick.
    pub server: Server,
    /// The last INFO, for `health({ verbose: true })`.
    pub info: String,
    /// Sockets in use.
    pub connections: u64,
    /// The tiers in use, as the application was told last.
    pub mode: &'static str,
    /// What the breaker lets through.
    pub breaker: BreakerState,
    /// Commands written and not yet answered.
    pub in_flight: u64,
    /// Whether somebody read the figures since the last tick.
    pub watched: bool,
    /// The last link events, oldest first: when, and what in words.
    pub events: std::collections::VecDeque<(u64, String)>,
}

/// Link events kept for `health({ verbose: true })`.
const KEPT_EVENTS: usize = 50;
/// The weight of the newest round trip in the average.
const NEWEST: f64 = 0.1;

impl Status {
    /// The figures of a link that was never up.
    #[must_use]
    pub fn new(endpoint: String, hearing: Hearing) -> Self {
        Self {
            endpoint,
            hearing,
            last_ping: None,
            last_error: None,
            latency_ms: None,
            server: Server::default(),
            info: String::new(),
            connections: 0,
            mode: "memory",
            breaker: BreakerState::Closed,
            in_flight: 0,
            watched: false,
            events: std::collections::VecDeque::new(),
        }
    }

    /// Takes a round trip into the average.
    pub fn round_trip(&mut self, ms: f64) {
        self.latency_ms = Some(
            self.latency_ms
                .map_or(ms, |mean| mean + (ms - mean) * NEWEST),
        );
    }

    /// Remembers a link event.
    pub fn event(&mut self, what: impl Into<String>) {
        if self.events.len() == KEPT_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((clock::unix(), what.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n# Persistence\r\nloading:0\r\n# Clients\r\nconnected_clients:3\r\nmaxclients:10000\r\n# Stats\r\n\
        total_connections_received:65\r\ntotal_commands_processed:267\r\n# Replication\r\nrole:master\r\n\
        # Keyspace\r\ndb0:keys=13,expires=2,avg_ttl=5\r\ndb10:keys=4,expires=0,avg_ttl=0\r\n";

    #[test]
    fn info_gives_the_figures_of_our_database() {
        let server = Server::parse(INFO, 0);
        let expected = Server {
            total_commands: Some(267),
            total_connections: Some(65),
            total_keys: Some(13),
            connected_clients: Some(3),
            max_clients: Some(10_000),
            loading: false,
            replica: false,
            cluster: false,
        };
        assert_eq!(server, expected);
        assert_eq!(Server::parse(INFO, 10).total_keys, Some(4));
        assert_eq!(Server::parse(INFO, 1).total_keys, Some(0));
        assert_eq!(Server::parse("", 0), Server::default());
    }

    #[test]
    fn info_tells_a_node_of_a_cluster() {
        for mode in ["redis_mode", "server_mode"] {
            assert!(Server::parse(&format!("{mode}:cluster\r\n"), 0).cluster);
            assert!(!Server::parse(&format!("{mode}:standalone\r\n"), 0).cluster);
        }
    }

    #[test]
    fn info_tells_a_loading_replica() {
        let server = Server::parse("loading:1\r\nrole:slave\r\n", 0);
        assert!(server.loading && server.replica);
    }
}
