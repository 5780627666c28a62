//! TLS servers of every kind.

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::{authority::text, *};
use crate::error::{CacheError, Code};

fn server_config(name: &str, clients: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let cert = text(&format!("{name}.crt"));
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(text(&format!("{name}.key")).as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(text("ca.crt").as_bytes()).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if clients {
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    builder.with_single_cert(chain, key).unwrap()
}

type Served = JoinHandle<io::Result<usize>>;

/// A TLS server for one connection: greets, and tells how the connection ended.
async fn serve(config: ServerConfig) -> (u16, Served) {
    let (listener, port) = listen().await;
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
        stream.write_all(b"+hello\r\n").await?;
        end_of(stream).await
    });
    (port, served)
}

async fn greeting(dialed: &mut Dialed) -> io::Result<String> {
    let mut text = [0; 8];
    dialed.stream.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn secured(port: u16, tls: &Value) -> Redis {
    redis(&json!({ "url": format!("rediss://127.0.0.1:{port}"), "tls": tls }))
}

/// Trusts somebody, so that it does not matter whether this machine trusts anybody, but nobody who is met here.
fn strangers() -> Value {
    json!({ "ca": [text("own-other-name.crt")] })
}

/// Dials a server that shows `name`, and says what comes of it.
async fn meet(name: &str, tls: &Value) -> Result<String, DialError> {
    let (port, _served) = serve(server_config(name, false)).await;
    let mut dialed = try_dial(&secured(port, tls)).await?;
    Ok(greeting(&mut dialed).await.unwrap())
}

#[tokio::test]
async fn a_server_that_the_given_authority_signed_is_trusted() {
    let ca = text("ca.crt");
    assert_eq!(
        meet("good", &json!({ "ca": [ca] })).await.unwrap(),
        "+hello\r\n"
    );
}

#[tokio::test]
async fn a_self_signed_certificate_given_as_its_own_authority_is_trusted_as_in_node() {
    let own = text("own.crt");
    assert_eq!(
        meet("own", &json!({ "ca": [own] })).await.unwrap(),
        "+hello\r\n"
    );
    let error = meet("own", &strangers()).await.unwrap_err();
    assert_eq!(error.code, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "{error}");
    let other = text("own-other-name.crt");
    let error = meet("own-other-name", &json!({ "ca": [other] }))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ERR_TLS_CERT_ALTNAME_INVALID", "{error}");
}

#[tokio::test]
async fn every_bad_certificate_has_its_code_and_a_hint() {
    let trusted = json!({ "ca": [text("ca.crt")] });
    let table = [
        (
            "good",
            strangers(),
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "redis.tls.ca",
        ),
        (
            "other-name",
            trusted.clone(),
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "redis.tls.servername",
        ),
        ("expired", trusted.clone(), "CERT_HAS_EXPIRED", "renew"),
        ("not-yet", trusted, "CERT_NOT_YET_VALID", "clocks"),
    ];
    for (name, tls, code, hint) in table {
        let error = meet(name, &tls).await.unwrap_err();
        assert_eq!(
            (error.class, error.code),
            (Class::Configuration, code),
            "{name}: {error}"
        );
        assert!(error.hint.unwrap().contains(hint), "{name}: {error}");
        assert!(
            error.message.starts_with("cannot connect to 127.0.0.1:"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn without_verification_every_certificate_does() {
    for name in ["good", "other-name", "expired", "own"] {
        let tls = json!({ "rejectUnauthorized": false });
        assert_eq!(meet(name, &tls).await.unwrap(), "+hello\r\n", "{name}");
    }
}

#[tokio::test]
async fn a_server_name_is_verified_instead_of_the_host() {
    let ca = text("ca.crt");
    let tls = json!({ "ca": [ca], "servername": "redis.example.com" });
    assert_eq!(meet("other-name", &tls).await.unwrap(), "+hello\r\n");
    assert_eq!(
        meet("good", &tls).await.unwrap_err().code,
        "ERR_TLS_CERT_ALTNAME_INVALID"
    );
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it_and_says_so_without() {
    let ca = text("ca.crt");
    let (port, _served) = serve(server_config("good", true)).await;
    let tls = json!({ "ca": [ca], "cert": text("client.crt"), "key": text("client.key") });
    let mut dialed = try_dial(&secured(port, &tls)).await.unwrap();
    assert_eq!(greeting(&mut dialed).await.unwrap(), "+hello\r\n");

    let (port, _served) = serve(server_config("good", true)).await;
    let mut dialed = try_dial(&secured(port, &json!({ "ca": [ca] })))
        .await
        .unwrap();
    let error = DialError::of(&greeting(&mut dialed).await.unwrap_err());
    assert_eq!(error.class, Class::Configuration, "{error}");
    assert!(error.hint.unwrap().contains("redis.tls.cert"), "{error}");
}

#[tokio::test]
async fn dropping_the_stream_closes_or_after_abort_resets() {
    let ca = text("ca.crt");
    for abort in [false, true] {
        let (port, served) = serve(server_config("good", false)).await;
        let mut dialed = try_dial(&secured(port, &json!({ "ca": [ca] })))
            .await
            .unwrap();
        greeting(&mut dialed).await.unwrap();
        assert!(dialed.activity.bytes_in() > 8 && dialed.activity.bytes_out() > 0);
        if abort {
            dialed.reset.abort();
        }
        drop(dialed);
        let kind = served.await.unwrap().unwrap_err().kind();
        let expected = if abort {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::UnexpectedEof
        };
        assert_eq!(kind, expected);
    }
}

#[tokio::test]
async fn a_port_that_waits_for_plain_text_is_given_up_in_time_with_a_hint() {
    let (listener, port) = listen().await;
    let peer = tokio::spawn(async move { end_of(listener.accept().await?.0).await });
    let redis = secured(port, &strangers());
    let context = TlsContext::new(redis.tls.as_ref().unwrap()).unwrap();
    context.handshake("localhost").await.unwrap();
    let start = Instant::now();
    let allowance = Duration::from_millis(400);
    let error = dial_within(
        &redis,
        &endpoint_of(&redis),
        Some(&context),
        &mut None,
        allowance,
    )
    .await
    .unwrap_err();
    let took = start.elapsed();
    assert!(
        took >= allowance && took < Duration::from_millis(700),
        "{took:?}"
    );
    assert_eq!((error.class, error.code), (Class::Transient, "ETIMEDOUT"));
    assert!(error.hint.unwrap().contains("redis://"), "{error}");
    assert!(peer.await.unwrap().is_ok_and(|bytes| bytes > 0));
}

#[tokio::test]
async fn a_port_that_answers_in_plain_text_or_hangs_up_is_named_for_it() {
    let table = [
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "ERR_SSL_WRONG_VERSION_NUMBER",
            Class::Configuration,
        ),
        (
            "-ERR Protocol error\r\n",
            "ERR_SSL_WRONG_VERSION_NUMBER",
            Class::Configuration,
        ),
        ("", "ECONNRESET", Class::Transient),
    ];
    for (answer, code, class) in table {
        let (listener, port) = listen().await;
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = refused(&secured(port, &strangers())).await;
        assert_eq!(
            (error.code, error.class),
            (code, class),
            "{answer}: {error}"
        );
        assert!(
            error.hint.unwrap().contains("redis://"),
            "{answer}: {error}"
        );
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn plain_text_to_a_tls_port_is_named_for_it() {
    let (port, _served) = serve(server_config("good", false)).await;
    let mut dialed = try_dial(&at(port)).await.unwrap();
    dialed.stream.write_all(b"HELLO 3\r\n").await.unwrap();
    // Redis resets; this server sends an alert and closes, which a Redis client reads as bytes of no protocol.
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let error = DialError::of_first_exchange(&reset, false);
    assert_eq!((error.code, error.class), ("ECONNRESET", Class::Transient));
    assert!(error.hint.unwrap().contains("rediss://"), "{error}");
    assert_eq!(DialError::of_first_exchange(&reset, true).hint, None);
}

#[tokio::test]
async fn authorities_are_read_anew_after_a_certificate_was_refused() {
    let redis = secured(serve(server_config("good", false)).await.0, &strangers());
    let context = TlsContext::new(redis.tls.as_ref().unwrap()).unwrap();
    let error = dial(&redis, Some(&context), &mut None).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    assert!(context.is_forgotten());
}

fn option_error(tls: &Value) -> CacheError {
    let redis = redis(&json!({ "tls": tls }));
    TlsContext::new(redis.tls.as_ref().unwrap()).expect_err("bad material")
}

#[test]
fn unreadable_material_is_an_error_of_the_options() {
    let (cert, key) = (text("client.crt"), text("client.key"));
    let strange = text("good.key");
    let flat = cert.replace('\n', "\\n");
    let damaged = cert.replacen("MII", "M!!", 1);
    let locked = key.replace("EC PRIVATE", "ENCRYPTED PRIVATE");
    let table = [
        (
            json!({ "ca": ["CANARY"] }),
            "`redis.tls.ca` to be certificates in PEM, got text that holds none",
        ),
        (
            json!({ "ca": [cert, damaged] }),
            "`redis.tls.ca` to be certificates in PEM, got",
        ),
        (json!({ "ca": [flat] }), r"the two characters \n"),
        (
            json!({ "cert": cert }),
            "`redis.tls.key` to be given beside `redis.tls.cert`, got nothing",
        ),
        (
            json!({ "key": key }),
            "`redis.tls.cert` to be given beside `redis.tls.key`, got nothing",
        ),
        (
            json!({ "cert": "CANARY", "key": key }),
            "`redis.tls.cert` to be a certificate in PEM",
        ),
        (
            json!({ "cert": cert, "key": "CANARY" }),
            "`redis.tls.key` to be a private key in PEM",
        ),
        (
            json!({ "cert": cert, "key": locked }),
            "without a passphrase",
        ),
        (
            json!({ "cert": cert, "key": strange }),
            "`redis.tls.key` to be the private key of `redis.tls.cert`",
        ),
        (
            json!({ "servername": "not a name" }),
            "`redis.tls.servername` to be a host name or address",
        ),
    ];
    for (tls, expected) in table {
        let error = option_error(&tls);
        assert_eq!(error.code, Code::Options);
        assert!(error.message.contains(expected), "{error}");
        assert!(
            !error.message.contains("CANARY") && !error.message.contains("MII"),
            "{error}"
        );
    }
}
