use std::{fs, io, net::Ipv4Addr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::config::{Config, Topology};

mod authority;
#[cfg(target_os = "linux")]
mod deaf;
mod plain;
mod tls;

fn redis(options: &Value) -> Redis {
    let config = Config::parse(&json!({ "redis": options }).to_string()).unwrap();
    config.redis.expect("redis was given")
}

fn at(port: u16) -> Redis {
    redis(&json!({ "host": "127.0.0.1", "port": port }))
}

fn endpoint_of(redis: &Redis) -> Endpoint {
    let Topology::Single(endpoint) = &redis.topology else {
        panic!("one server was given: {}", redis.topology);
    };
    endpoint.clone()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn try_dial(redis: &Redis) -> Result<Dialed, DialError> {
    let tls = redis.tls.as_ref().map(|tls| TlsContext::new(tls).unwrap());
    let (endpoint, allowance) = (endpoint_of(redis), Duration::from_secs(10));
    dial_within(redis, &endpoint, tls.as_ref(), &mut None, allowance).await
}

async fn refused(redis: &Redis) -> DialError {
    try_dial(redis).await.expect_err("nobody should be reached")
}

/// What the peer sees when it reads to the end.
async fn end_of(mut stream: impl AsyncReadExt + Unpin) -> io::Result<usize> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await
}

/// [`dial_within`] the configured `connectTimeout`.
async fn dial(
    redis: &Redis,
    tls: Option<&TlsContext>,
    last_good: &mut Option<IpAddr>,
) -> Result<Dialed, DialError> {
    let endpoint = endpoint_of(redis);
    dial_within(redis, &endpoint, tls, last_good, redis.connect_timeout).await
}
