use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{ProtocolVersion, RedisConnectionInfo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::l2::dialer::socket::{Socket, Tcp};

type Heard = Arc<Mutex<Vec<PushInfo>>>;

/// A client whose driver runs, the server's end of its connection, and what is pushed.
fn connected() -> (Client, DuplexStream, Heard) {
    let (ours, theirs) = duplex(1 << 20);
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    let (client, driver) = speak(Box::new(ours), None, move |push| noted.lock().push(push));
    tokio::spawn(driver);
    (client, theirs, heard)
}

fn pipe(commands: &[&str]) -> Pipeline {
    let mut pipe = redis::pipe();
    for name in commands {
        pipe.cmd(name);
    }
    pipe
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

/// What the server's end gets, as much as `expected` is long.
async fn gets(server: &mut DuplexStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    server.read_exact(&mut bytes).await.expect("something");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

async fn says(server: &mut DuplexStream, text: &str) {
    server.write_all(text.as_bytes()).await.expect("open");
}

#[tokio::test]
async fn each_reply_goes_to_whom_it_belongs() {
    let (client, mut server, _heard) = connected();
    let first = client.send(&pipe(&["A", "B"]));
    let second = client.send(&pipe(&["C"]));
    let (answers, mut answered) = mpsc::unbounded_channel();
    client.ask(&pipe(&["D"]), 7, &answers);
    client.wake();
    gets(
        &mut server,
        "*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n*1\r\n$1\r\nC\r\n*1\r\n$1\r\nD\r\n",
    )
    .await;
    says(&mut server, "$1\r\na\r\n-ERR b\r\n$1\r\nc\r\n+OK\r\n").await;
    let replies = first.await.expect("answered");
    assert_eq!(replies[0], bulk("a"));
    assert!(matches!(&replies[1], Value::ServerError(error) if error.details() == Some("b")));
    assert_eq!(second.await.expect("answered"), [bulk("c")]);
    let (number, replies) = answered.recv().await.expect("answered");
    assert_eq!((number, replies.expect("answered")), (7, vec![Value::Okay]));
}

#[tokio::test]
async fn nobody_waits_for_what_was_not_waited_for() {
    let (client, mut server, _heard) = connected();
    drop(client.send(&pipe(&["A"])));
    let second = client.send(&pipe(&["B"]));
    says(&mut server, "$1\r\na\r\n$1\r\nb\r\n").await;
    assert_eq!(second.await.expect("answered"), [bulk("b")]);
}

#[tokio::test]
async fn a_push_is_heard_before_the_reply_behind_it() {
    let (client, mut server, heard) = connected();
    let asked = client.send(&pipe(&["A"]));
    says(&mut server, ">2\r\n$10\r\ninvalidate\r\n_\r\n$1\r\na\r\n").await;
    assert_eq!(asked.await.expect("answered"), [bulk("a")]);
    let heard = heard.lock();
    assert_eq!(heard.len(), 1);
    assert_eq!(
        (&heard[0].kind, &heard[0].data[..]),
        (&PushKind::Invalidate, &[Value::Nil][..])
    );
}

#[tokio::test]
async fn a_broken_connection_is_told_to_all_who_wait_and_to_all_who_come() {
    for last in ["", "$1\r\na\r\n$1", "$1\r\na\r\nHTTP/1.1 400\r\n"] {
        let (client, mut server, _heard) = connected();
        let asked = client.send(&pipe(&["A", "B"]));
        let other = client.send(&pipe(&["C"]));
        says(&mut server, last).await;
        drop(server);
        assert!(asked.await.is_err() && other.await.is_err(), "{last:?}");
        assert!(client.send(&pipe(&["D"])).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let (client, mut server, _heard) = connected();
    let asked = client.send(&pipe(&["A"]));
    says(&mut server, "+OK\r\n+OK\r\n").await;
    assert_eq!(asked.await.expect("answered"), [Value::Okay]);
    assert_eq!(
        server.read_to_end(&mut Vec::new()).await.expect("closed"),
        11
    );
    let error = client.send(&pipe(&["B"])).await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Parse);
}

#[tokio::test]
async fn an_error_that_nobody_asked_for_is_why_the_connection_ended() {
    let (client, mut server, _heard) = connected();
    says(&mut server, "-ERR max number of clients reached\r\n").await;
    drop(server);
    tokio::task::yield_now().await;
    let error = client.send(&pipe(&["A"])).await.expect_err("it has ended");
    assert_eq!(error.detail(), Some("max number of clients reached"));
}

#[tokio::test]
async fn no_room_is_kept_that_only_a_large_value_needed() {
    let (ours, mut server) = duplex(1 << 20);
    let (client, mut driver) = speak(Box::new(ours), None, drop);
    let mut large = redis::pipe();
    large.cmd("A").arg(vec![b'x'; 8 << 20]);
    let asked = client.send(&large);
    let other_side = async {
        let mut bytes = vec![0; large.get_packed_pipeline().len()];
        server.read_exact(&mut bytes).await.expect("all of it");
        let value = "y".repeat(8 << 20);
        says(&mut server, &format!("${}\r\n{value}\r\n", value.len())).await;
        asked.await.expect("answered")
    };
    let replies = meanwhile(&mut driver, other_side).await;
    assert!(matches!(&replies[0], Value::BulkString(bytes) if bytes.len() == 8 << 20));
    // The next exchange finds out.
    let asked = client.send(&pipe(&["B"]));
    says(&mut server, "+OK\r\n").await;
    meanwhile(&mut driver, asked).await.expect("answered");
    driver.input.reserve(LEAST_ROOM);
    assert!(
        driver.input.capacity() <= KEPT_ROOM,
        "{}",
        driver.input.capacity()
    );
    let waiting = client.0.0.state.lock().output.capacity();
    assert!(
        waiting.max(driver.output.capacity()) <= KEPT_ROOM,
        "{waiting}"
    );
}

#[tokio::test]
async fn the_connection_is_closed_once_nobody_waits_any_more() {
    let (client, mut server, _heard) = connected();
    let other = client.clone();
    let asked = client.send(&pipe(&["A"]));
    drop((client, other));
    gets(&mut server, "*1\r\n$1\r\nA\r\n").await;
    let silence = timeout(Duration::from_millis(20), server.read_u8()).await;
    assert!(silence.is_err(), "somebody waits");
    says(&mut server, "+OK\r\n").await;
    assert_eq!(asked.await.expect("answered"), [Value::Okay]);
    assert!(server.read_u8().await.is_err(), "closed");
}

/// Two ends of a connection by TCP, ours as the link has it.
async fn by_tcp() -> (Socket<Tcp>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let ours = TcpStream::connect(address).await.expect("it listens");
    ours.writable().await.expect("open");
    (
        Socket::new(Tcp::new(ours)),
        listener.accept().await.expect("connected").0,
    )
}

#[tokio::test]
async fn anybody_may_write_what_nothing_is_to_be_written_before() {
    let (socket, mut server) = by_tcp().await;
    let writer = socket.writer();
    let (client, driver) = speak(Box::new(socket), writer, drop);
    let (answers, mut answered) = mpsc::unbounded_channel();
    client.ask(&pipe(&["A"]), 1, &answers);
    client.write();
    let mut bytes = [0; 11];
    server
        .read_exact(&mut bytes)
        .await
        .expect("written without a driver");
    // More than the socket takes: the driver has the rest, and all that comes later waits for it.
    let mut large = redis::pipe();
    large.cmd("B").arg(vec![b'x'; 16 << 20]);
    client.ask(&large, 2, &answers);
    client.write();
    tokio::spawn(driver);
    tokio::task::yield_now().await;
    client.ask(&pipe(&["C"]), 3, &answers);
    client.write();
    let expected = large.get_packed_pipeline().len() + 11;
    let mut bytes = vec![0; expected];
    server.read_exact(&mut bytes).await.expect("all of it");
    assert!(bytes.ends_with(b"x\r\n*1\r\n$1\r\nC\r\n"));
    server.write_all(b"+1\r\n+2\r\n+3\r\n").await.expect("open");
    for expected in 1..=3 {
        assert_eq!(answered.recv().await.expect("answered").0, expected);
    }
}

#[tokio::test]
async fn messages_are_pushes_in_both_versions() {
    let messages = [
        (
            "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
            "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        ),
        (
            ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
            ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        ),
    ];
    for (subscribed, message) in messages {
        let (client, mut server, heard) = connected();
        says(&mut server, subscribed).await;
        client.subscribe("c").await.expect("subscribed");
        let asked = client.send(&pipe(&["PING"]));
        says(&mut server, message).await;
        says(&mut server, "*2\r\n$4\r\npong\r\n$0\r\n\r\n").await;
        asked.await.expect("answered");
        let heard = heard.lock();
        assert_eq!(
            (&heard[0].kind, &heard[0].data[1]),
            (&PushKind::Message, &bulk("m"))
        );
    }
    let (client, mut server, _heard) = connected();
    says(
        &mut server,
        "-NOPERM this user has no permissions to access one of the channels\r\n",
    )
    .await;
    let refused = client.subscribe("c").await.expect_err("refused");
    assert_eq!(refused.code(), Some("NOPERM"));
}

fn info(protocol: ProtocolVersion) -> RedisConnectionInfo {
    let info = RedisConnectionInfo::default().set_protocol(protocol);
    info.set_username("u").set_password("p").set_db(3)
}

#[tokio::test]
async fn a_greeting_is_one_exchange() {
    let (client, mut server, _heard) = connected();
    let greeting = tokio::spawn(async move { greet(&client, &info(ProtocolVersion::RESP3)).await });
    gets(&mut server, "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n").await;
    says(&mut server, "%0\r\n+OK\r\n").await;
    greeting.await.expect("no panic").expect("greeted");
}

#[tokio::test]
async fn a_server_that_knows_no_users_is_greeted_once_more_without_one() {
    let (client, mut server, _heard) = connected();
    let greeting = tokio::spawn(async move { greet(&client, &info(ProtocolVersion::RESP2)).await });
    let select = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
    gets(
        &mut server,
        &format!("*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n{select}"),
    )
    .await;
    says(
        &mut server,
        "-ERR wrong number of arguments for 'auth' command\r\n-NOAUTH Authentication required.\r\n",
    )
    .await;
    gets(
        &mut server,
        &format!("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n{select}"),
    )
    .await;
    says(&mut server, "+OK\r\n+OK\r\n").await;
    greeting.await.expect("no panic").expect("greeted");
}

#[tokio::test]
async fn what_a_greeting_is_refused_for_is_told() {
    let table = [
        (
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            Some("WRONGPASS"),
            ErrorKind::Extension,
        ),
        (
            "-ERR not like this\r\n",
            None,
            ErrorKind::AuthenticationFailed,
        ),
        (
            "-ERR max number of clients reached\r\n",
            Some("ERR"),
            ErrorKind::Extension,
        ),
    ];
    for (said, code, kind) in table {
        let (client, mut server, _heard) = connected();
        says(&mut server, said).await;
        says(&mut server, "-NOAUTH Authentication required.\r\n").await;
        let refused = greet(&client, &info(ProtocolVersion::RESP2))
            .await
            .expect_err("refused");
        assert_eq!((refused.code(), refused.kind()), (code, kind), "{said:?}");
    }
}
