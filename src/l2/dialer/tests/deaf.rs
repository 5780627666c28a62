//! Addresses that swallow everything.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use tokio::net::TcpSocket;

use super::*;

/// A loopback address that never answers: its backlog is full, so that the kernel drops further SYNs.
struct Deaf {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<JoinHandle<()>>,
}

impl Deaf {
    async fn new(host: u8) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, 0, host], 0)))
            .unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let hold = || {
            tokio::spawn(async move {
                let _stream = TcpStream::connect(address).await;
                std::future::pending::<()>().await;
            })
        };
        let queued = (0..8).map(|_| hold()).collect();
        let deaf = || async {
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        };
        while deaf().await.is_ok() {}
        Self {
            address,
            _listener: listener,
            _queued: queued,
        }
    }

    /// How many sockets of this machine wait for it to answer.
    fn waiting(&self) -> usize {
        let IpAddr::V4(ip) = self.address.ip() else {
            return 0;
        };
        let remote = format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(ip.octets()),
            self.address.port()
        );
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table
            .lines()
            .map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>());
        let waiting = fields.filter(|fields| fields.get(1..) == Some(&[remote.as_str(), "02"]));
        // A table that changes while it is read may list a socket twice; its local address tells.
        waiting
            .filter_map(|fields| fields.first().copied())
            .collect::<HashSet<_>>()
            .len()
    }
}

fn dialer(redis: &Redis, allowance: Duration) -> Dialer<'_> {
    Dialer {
        redis,
        tls: None,
        until: Instant::now() + allowance,
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_delays_the_next_by_300_ms_and_has_no_socket_open_then() {
    let (first, second) = (Deaf::new(31).await, Deaf::new(32).await);
    let (_listener, port) = listen().await;
    let live = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let queued = [first.waiting(), second.waiting()];
    let redis = at(port);
    let most = AtomicU32::new(0);
    let count = async {
        loop {
            let open = first.waiting() - queued[0] + second.waiting() - queued[1];
            most.fetch_max(u32::try_from(open).unwrap(), Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let addresses = [first.address, second.address, live];
    let dialer = dialer(&redis, Duration::from_secs(10));
    let start = Instant::now();
    let found = tokio::select! {
        found = dialer.try_all(&addresses, None) => found.unwrap(),
        () = count => unreachable!("it counts for ever"),
    };
    assert_eq!(found.0, live);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(590) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(most.load(Relaxed), 1);
    assert_eq!([first.waiting(), second.waiting()], queued);
}

#[tokio::test]
async fn the_second_pass_shares_the_rest_of_the_time_and_ends_with_it() {
    let (first, second) = (Deaf::new(33).await, Deaf::new(34).await);
    let redis = at(1);
    let start = Instant::now();
    let dialer = dialer(&redis, Duration::from_millis(1_500));
    let error = dialer
        .try_all(&[first.address, second.address], None)
        .await
        .unwrap_err();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1_450) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!((error.class, error.code), (Class::Transient, "ETIMEDOUT"));
    assert_eq!(error.message, "no answer in time [127.0.0.33, 127.0.0.34]");
}

#[tokio::test]
async fn different_failures_are_told_together() {
    let deaf = Deaf::new(35).await;
    let (listener, port) = listen().await;
    drop(listener);
    let gone = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let redis = at(1);
    let dialer = dialer(&redis, Duration::from_millis(800));
    let error = dialer
        .try_all(&[deaf.address, gone], None)
        .await
        .unwrap_err();
    assert!(
        error.message.contains("connection refused [127.0.0.1]"),
        "{error}"
    );
    assert!(
        error.message.contains("no answer in time [127.0.0.35]"),
        "{error}"
    );
}

#[tokio::test]
async fn a_single_address_has_all_the_time_and_a_cancelled_dial_leaves_no_socket() {
    let deaf = Deaf::new(36).await;
    let queued = deaf.waiting();
    let redis = redis(&json!({ "host": "127.0.0.36", "port": deaf.address.port() }));
    let mut last_good = None;
    let dialing = dial(&redis, None, &mut last_good);
    let cut = tokio::time::timeout(Duration::from_millis(500), dialing).await;
    assert!(cut.is_err(), "one address is not given up after 300 ms");
    assert_eq!(deaf.waiting(), queued);
}
