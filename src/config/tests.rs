use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::*;

fn config(options: &Value) -> Config {
    Config::parse(&options.to_string()).unwrap_or_else(|error| panic!("{options}: {error}"))
}

fn redis(options: &Value) -> Redis {
    config(&json!({ "redis": options }))
        .redis
        .expect("redis was given")
}

fn tcp(host: &str, port: u16) -> Topology {
    Topology::Single(node(host, port))
}

fn node(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn sentinels_and_nodes_have_ports_of_their_own() {
    let options = json!({
        "sentinels": [{ "host": "[::1]" }, { "host": "b", "port": 1 }], "name": "m", "sentinelPassword": "CANARY",
        "sentinelTLS": true, "password": "p",
    });
    let given = redis(&options);
    assert_eq!(given.topology.to_string(), "m of [::1]:26379,b:1");
    let Topology::Sentinels(sentinels) = given.topology else {
        panic!("sentinels were given");
    };
    assert_eq!(sentinels.nodes, [node("::1", 26_379), node("b", 1)]);
    assert_eq!(sentinels.tls, Some(Tls::default()));
    assert_eq!(
        sentinels.password.as_ref().map(Secret::expose),
        Some("CANARY")
    );
    let nodes = json!({ "nodes": [{ "host": "a" }, { "port": 7_000 }] });
    let expected = Topology::Cluster(vec![node("a", 6_379), node("localhost", 7_000)]);
    assert_eq!(redis(&nodes).topology, expected);
}

#[test]
fn nothing_given_is_a_memory_cache_with_every_default() {
    let config = config(&json!({}));
    assert!(config.redis.is_none() && config.name.is_none() && config.quota.is_none());
    assert!(
        !config.strict
            && !config.memory_mode
            && !config.logger
            && !config.codec
            && !config.log_keys
    );
    assert_eq!(config.prefix, "");
    assert_eq!(config.invalidation, Invalidation::Auto);
    assert!((config.jitter - 0.1).abs() < f64::EPSILON);
    assert_eq!(config.l1, Some(L1::default()));
    assert_eq!(config.l2, L2::default());
    assert_eq!(config.loader, Loader::default());
}

#[test]
fn defaults_are_those_of_the_contract() {
    let mut defaults = Config::defaults();
    let most = defaults["l1"]["maxBytes"].take();
    assert!(
        most.as_u64()
            .is_some_and(|bytes| bytes > 0 && bytes <= 64 << 20)
    );
    let expected = json!({
        "namespace": "", "memoryMode": false, "strict": false, "jitter": 0.1, "invalidation": "auto", "logKeys": false,
        "redis": {
            "host": "localhost", "port": 6379, "path": null, "username": null, "password": null, "db": 0, "tls": false,
            "connectTimeout": 15_000, "maxRetriesPerRequest": 5, "keepAlive": 30_000, "lazyConnect": false,
            "enableReadyCheck": true, "connectionName": null, "keyPrefix": null, "family": 0, "maxConnections": 1,
        },
        "l1": { "ttl": 60_000, "maxBytes": null, "maxEntries": null, "shareObjects": false, "plainTtl": 5_000 },
        "l2": { "ttl": 300_000, "format": "envelope", "maxValueBytes": 1_048_576, "compress": false, "timeout": 500, "softTimeout": "auto" },
        "loader": { "factoryTimeout": 30_000, "retryAfter": 30_000, "lock": false, "fresh": false },
        "health": { "interval": 30_000, "timeout": 2_000 },
        "breaker": {
            "window": 10_000, "minCalls": 20, "failureRate": 0.5, "slowRate": 0.8, "openFor": 5_000,
            "maxOpenFor": 60_000, "probes": 3,
        },
        "quota": null,
    });
    assert_eq!(defaults, expected);
}

#[test]
fn every_option_arrives() {
    let config = config(&json!({
        "name": "main", "namespace": "app", "memoryMode": true, "strict": true, "jitter": 0, "invalidation": "off",
        "l1": { "ttl": 1, "maxBytes": 2, "maxEntries": 3, "shareObjects": true, "plainTtl": 4 },
        "l2": {
            "ttl": null, "format": "plain", "maxValueBytes": 5, "compress": { "above": 13 }, "timeout": 6, "softTimeout": 7,
        },
        "loader": { "ttl": null, "l1Ttl": 8, "staleFor": 9, "jitter": 0.5, "strict": true, "factoryTimeout": false },
        "health": { "interval": 0, "timeout": 10 },
        "breaker": { "minCalls": 11 },
        "quota": { "commands": 12, "window": "day", "connections": "server" },
        "logger": true, "codec": true, "logKeys": true,
    }));
    assert_eq!(
        (config.name.as_deref(), config.prefix.as_str()),
        (Some("main"), "app:")
    );
    assert!(
        config.memory_mode && config.strict && config.logger && config.codec && config.log_keys
    );
    assert_eq!(config.invalidation, Invalidation::Off);
    let l1 = config.l1.expect("l1 is on");
    assert_eq!(
        (l1.ttl_ms, l1.max_bytes, l1.max_entries, l1.plain_ttl_ms),
        (1, 2, Some(3), 4)
    );
    assert_eq!(
        (
            config.l2.ttl_ms,
            config.l2.format,
            config.l2.max_value_bytes
        ),
        (None, Format::Plain, 5)
    );
    assert_eq!(config.l2.timeout, Duration::from_millis(6));
    assert_eq!(
        config.l2.soft_timeout,
        SoftTimeout::After(Duration::from_millis(7))
    );
    assert_eq!(
        (config.loader.ttl_ms, config.loader.l1_ttl_ms),
        (Some(None), Some(8))
    );
    assert_eq!(
        (config.loader.stale_for_ms, config.loader.factory_timeout),
        (Some(9), None)
    );
    assert_eq!(
        (config.health.interval, config.health.timeout),
        (None, Duration::from_millis(10))
    );
    assert_eq!((config.breaker.min_calls, config.breaker.probes), (11, 3));
    let quota = config.quota.expect("a quota was given");
    assert_eq!(
        (quota.window, quota.connections),
        (Window::Day, Some(Connections::Server))
    );
    assert_eq!(quota.warn_at, [0.8, 0.95]);
}

#[test]
fn switches_are_understood() {
    assert_eq!(config(&json!({ "l1": false })).l1, None);
    assert_eq!(config(&json!({ "l1": true })).l1, Some(L1::default()));
    assert_eq!(
        config(&json!({ "l2": { "softTimeout": false } }))
            .l2
            .soft_timeout,
        SoftTimeout::Off
    );
    assert_eq!(
        config(&json!({ "l2": { "softTimeout": "auto" } }))
            .l2
            .soft_timeout,
        SoftTimeout::Auto
    );
    let keep_alive = |given: Value| redis(&json!({ "keepAlive": given })).keep_alive;
    assert_eq!(redis(&json!({})).keep_alive, Some(Duration::from_secs(30)));
    assert_eq!(keep_alive(json!(0)), Some(Duration::from_secs(30)));
    assert_eq!(keep_alive(json!(2_500)), Some(Duration::from_millis(2_500)));
    assert_eq!(keep_alive(json!(false)), None);
    assert_eq!(redis(&json!({ "tls": false })).tls, None);
    assert_eq!(redis(&json!({ "tls": true })).tls, Some(Tls::default()));
    assert_eq!(
        redis(&json!({ "url": "rediss://h" })).tls,
        Some(Tls::default())
    );
}

#[test]
fn the_options_override_the_parts_of_the_url() {
    let given = redis(&json!({
        "url": "rediss://app:old@h.example:6390/3?family=6", "host": "[::1]", "port": 7_000, "username": "me",
        "password": "new", "db": 0, "family": 4, "tls": { "servername": "real.example", "rejectUnauthorized": false },
    }));
    assert_eq!(given.topology, tcp("::1", 7_000));
    assert_eq!(given.topology.to_string(), "[::1]:7000");
    assert_eq!(
        (given.username.as_deref(), given.db, given.family),
        (Some("me"), 0, Family::V4)
    );
    assert_eq!(given.password.as_ref().map(Secret::expose), Some("new"));
    let tls = given.tls.expect("tls is on");
    assert_eq!(
        (tls.servername.as_deref(), tls.reject_unauthorized),
        (Some("real.example"), false)
    );
    let url =
        json!({ "url": "rediss://app:old@h.example:6390/3?family=6", "connectTimeout": 1_000 });
    let url = redis(&url);
    assert_eq!(url.topology, tcp("h.example", 6390));
    assert_eq!(
        (url.username.as_deref(), url.db, url.family),
        (Some("app"), 3, Family::V6)
    );
    assert_eq!(
        (url.connect_timeout, url.max_retries),
        (Duration::from_secs(1), 5)
    );
}

#[cfg(unix)]
#[test]
fn a_path_wins_over_a_host_and_a_host_over_the_urls_socket() {
    let socket = Topology::Single(Endpoint::Unix(PathBuf::from("/run/redis.sock")));
    assert_eq!(
        redis(&json!({ "path": "/run/redis.sock", "host": "h" })).topology,
        socket
    );
    assert_eq!(
        redis(&json!({ "path": "/run/redis.sock", "url": "redis://h" })).topology,
        socket
    );
    assert_eq!(
        redis(&json!({ "url": "unix:///run/redis.sock" })).topology,
        socket
    );
    assert_eq!(
        redis(&json!({ "url": "unix:///run/redis.sock", "host": "h" })).topology,
        tcp("h", 6379)
    );
    assert_eq!(socket.to_string(), "/run/redis.sock");
}

#[test]
fn a_key_prefix_is_used_as_it_is_instead_of_the_namespace() {
    let options = json!({ "namespace": "app", "redis": { "keyPrefix": "legacy-" } });
    assert_eq!(config(&options).prefix, "legacy-");
    assert_eq!(
        config(&json!({ "namespace": "app", "redis": {} })).prefix,
        "app:"
    );
}

#[test]
fn the_connection_is_named_after_the_cache_and_the_process() {
    let mut redis = redis(&json!({}));
    redis.name_connection("my cache\n");
    let expected = format!("evenkeel:my-cache-:{}", std::process::id());
    assert_eq!(redis.connection_name.as_deref(), Some(expected.as_str()));
    redis.name_connection("other");
    assert_eq!(redis.connection_name.as_deref(), Some(expected.as_str()));
}

#[test]
fn the_fingerprint_is_equal_for_two_ways_to_say_the_same_and_for_what_belongs_to_a_thread() {
    let fingerprint = |options: Value| config(&options).fingerprint;
    let plain = fingerprint(json!({ "redis": { "url": "redis://:CANARY@localhost/0" } }));
    let same = [
        json!({ "redis": { "password": "CANARY" }, "name": "a", "l1": { "ttl": 60_000 }, "jitter": 0.1 }),
        json!({ "redis": { "password": "CANARY", "host": "localhost", "port": 6379, "connectTimeout": 15_000 } }),
        json!({ "redis": { "password": "CANARY", "credentials": true, "retryStrategy": true }, "logger": true, "codec": true }),
    ];
    for options in same {
        assert_eq!(fingerprint(options.clone()), plain, "{options}");
    }
    let different = [
        json!({}),
        json!({ "redis": { "password": "canary" } }),
        json!({ "redis": { "password": "CANARY", "db": 1 } }),
        json!({ "redis": { "password": "CANARY" }, "l1": false }),
        json!({ "redis": { "password": "CANARY" }, "namespace": "a" }),
        json!({ "redis": { "password": "CANARY", "tls": { "key": "k" } } }),
    ];
    for options in different {
        assert_ne!(fingerprint(options.clone()), plain, "{options}");
    }
}

#[test]
fn a_secret_is_nowhere_to_be_seen() {
    let config = config(&json!({ "redis": {
        "url": "rediss://app:CANARY@h", "tls": { "cert": "c", "key": "CANARY" }
    } }));
    let redis = config.redis.clone().expect("redis was given");
    let password = redis.password.clone().expect("a password was given");
    let shown = [
        format!("{config:?}"),
        format!("{config:#?}"),
        config.fingerprint.clone(),
        redis.topology.to_string(),
        format!("{password}{password:?}"),
    ];
    for text in shown {
        assert!(!text.contains("CANARY"), "{text}");
    }
}

#[test]
fn json_of_another_shape_is_refused_without_its_values() {
    let table = [
        (r#"{"l1x":{}}"#, "got unknown field `l1x`"),
        (
            r#"{"redis":{"pasword":"CANARY"}}"#,
            "got unknown field `pasword`",
        ),
        (
            r#"{"redis":{"tls":{"caa":"CANARY"}}}"#,
            "got unknown field `caa`",
        ),
        (r#"{"redis":{"db":"CANARY"}}"#, "does not fit"),
        (r#"{"redis":{"family":5}}"#, "does not fit"),
        (r#"{"redis":{"tls":"CANARY"}}"#, "does not fit"),
        (r#"{"invalidation":"push"}"#, "does not fit"),
        (r#"{"l2":{"softTimeout":"CANARY"}}"#, "does not fit"),
        ("CANARY", "does not fit"),
    ];
    for (text, expected) in table {
        let error = Config::parse(text).expect_err(text);
        assert_eq!(error.code, Code::Options);
        assert!(
            error.message.contains(expected) && !error.message.contains("CANARY"),
            "{text}: {error}"
        );
    }
}
