use super::*;

#[tokio::test]
async fn a_connection_carries_bytes_both_ways_and_remembers_who_answered() {
    let (listener, port) = listen().await;
    let redis = redis(&json!({ "url": format!("redis://localhost:{port}?family=4") }));
    let mut last_good = None;
    let mut dialed = dial(&redis, None, &mut last_good).await.unwrap();
    assert_eq!(last_good, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(dialed.endpoint, format!("localhost:{port}"));
    let (mut peer, _) = listener.accept().await.unwrap();
    dialed.stream.write_all(b"PING\r\n").await.unwrap();
    peer.read_exact(&mut [0; 6]).await.unwrap();
    peer.write_all(b"+PONG\r\n").await.unwrap();
    dialed.stream.read_exact(&mut [0; 7]).await.unwrap();
    assert_eq!(
        (dialed.activity.bytes_out(), dialed.activity.bytes_in()),
        (6, 7)
    );
}

#[tokio::test]
async fn dropping_the_stream_closes_it_even_while_the_handle_lives() {
    let (listener, port) = listen().await;
    let dialed = try_dial(&at(port)).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let Dialed { stream, reset, .. } = dialed;
    drop(stream);
    assert_eq!(end_of(peer).await.unwrap(), 0);
    drop(reset);
}

#[tokio::test]
async fn after_abort_the_peer_sees_a_reset() {
    let (listener, port) = listen().await;
    let dialed = try_dial(&at(port)).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    dialed.reset.abort();
    drop(dialed);
    let error = end_of(peer).await.expect_err("a reset is an error");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_refusal_is_told_at_once_with_every_address() {
    let (listener, port) = listen().await;
    drop(listener);
    let error = refused(&redis(
        &json!({ "url": format!("redis://app:CANARY@localhost:{port}") }),
    ))
    .await;
    assert_eq!(
        (error.class, error.code),
        (Class::Transient, "ECONNREFUSED")
    );
    let message = error.to_string();
    assert!(
        message.starts_with(&format!(
            "cannot connect to localhost:{port}: connection refused ["
        )),
        "{error}"
    );
    assert!(
        message.contains("127.0.0.1")
            && message.contains("is Redis running")
            && !message.contains("CANARY")
    );
}

#[tokio::test]
async fn an_unknown_host_is_told_with_its_name() {
    let error = refused(&redis(&json!({ "host": "no-such-host.invalid" }))).await;
    assert_eq!(error.class, Class::Transient);
    assert!(
        ["ENOTFOUND", "EAI_AGAIN"].contains(&error.code),
        "{error:?}"
    );
    assert!(error.message.contains("no-such-host.invalid"), "{error}");
}

#[tokio::test]
async fn a_host_without_an_address_of_the_wanted_family_is_not_found() {
    let error = refused(&redis(&json!({ "host": "127.0.0.1", "family": 6 }))).await;
    assert_eq!(
        (error.code, error.hint),
        ("ENOTFOUND", Some("check redis.family"))
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_in_the_file_system_is_dialed() {
    let path = std::env::temp_dir().join(format!("evenkeel-dial-{}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    let redis = redis(&json!({ "path": path }));
    let error = refused(&redis).await;
    assert_eq!((error.class, error.code), (Class::Transient, "ENOENT"));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let dialed = try_dial(&redis).await.unwrap();
    assert_eq!(dialed.endpoint, path.display().to_string());
    let (peer, _) = listener.accept().await.unwrap();
    dialed.reset.abort();
    drop(dialed);
    assert_eq!(end_of(peer).await.unwrap(), 0);
    drop(listener);
    assert_eq!(refused(&redis).await.code, "ECONNREFUSED");
    fs::remove_file(&path).unwrap();
}
