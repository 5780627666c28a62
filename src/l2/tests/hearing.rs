//! Hearing of what others change, by what the server really does.

use super::{server::Say, *};
use crate::l2::hearing::Way;

fn begin(server: &Arc<Server>, invalidation: &str) -> Story {
    Story::begin(Arc::clone(server), json!({ "invalidation": invalidation }))
}

/// A push of these keys, or of a flush.
fn push(keys: &[&str]) -> String {
    let names: Vec<String> = keys
        .iter()
        .map(|key| format!("${}\r\n{key}\r\n", key.len()))
        .collect();
    let names = names.concat();
    let body = if keys.is_empty() {
        "_\r\n".to_owned()
    } else {
        format!("*{}\r\n{names}", keys.len())
    };
    format!(">2\r\n$10\r\ninvalidate\r\n{body}")
}

/// Pushes what is set, as a server does that was asked to.
fn pushes(words: &[String]) -> Say {
    match words[0].as_str() {
        "SET" => Say::That(format!("+OK\r\n{}", push(&[&words[1]]))),
        _ => Say::Usual,
    }
}

impl Story {
    fn way(&self) -> (Way, Option<String>) {
        let status = self.link.status.lock();
        (status.hearing.way, status.hearing.reason.clone())
    }
}

/// Without the number in the name of a canary.
fn plain(asked: Vec<String>) -> Vec<String> {
    let plain = |command: String| match command.split_once("~canary:") {
        Some((before, _)) => format!("{before}~canary"),
        None => command,
    };
    asked.into_iter().map(plain).collect()
}

#[tokio::test(start_paused = true)]
async fn tracking_is_proved_and_armed_before_anything_is_read() {
    let server = Server::new();
    server.says(pushes);
    let story = begin(&server, "tracking");
    let read = story.get("a");
    story.until(LinkState::Up).await;
    assert!(read.await.is_ok());
    assert_eq!(story.way(), (Way::Tracking, None));
    let asked = plain(server.take_asked());
    let from = asked.iter().position(|command| command == "INFO");
    assert_eq!(
        asked[from.expect("INFO") + 1..],
        [
            "CLIENT TRACKING ON BCAST PREFIX t:",
            "SET t:~canary",
            "CLIENT TRACKING OFF",
            "UNLINK t:~canary",
            "CLIENT TRACKING ON BCAST PREFIX t: NOLOOP",
            "GET a",
        ]
    );
    server.sever();
    pass(MINUTE).await;
    let again = server.take_asked();
    let armed = again.iter().filter(|command| command.contains("TRACKING"));
    assert_eq!(armed.count(), 1, "it is proved once: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_is_heard_before_the_reply_behind_it() {
    let server = Server::new();
    server.says(pushes);
    let story = begin(&server, "tracking");
    story.until(LinkState::Up).await;
    server.says(|words| match words[0].as_str() {
        "GET" => Say::That(format!("{}$3\r\nold\r\n", push(&["t:a", "t:b"]))),
        "PING" => Say::That(format!("{}+PONG\r\n", push(&[]))),
        _ => Say::Usual,
    });
    story.ear.heard.lock().clear();
    let reply = story.get("t:a").await;
    assert_eq!(reply, Ok(text("old")));
    assert_eq!(*story.ear.heard.lock(), ["t:a t:b"]);
    let ping = story.ask(Request::Raw(redis::cmd("PING"))).0;
    assert!(ping.await.expect("settles").is_ok());
    assert_eq!(*story.ear.heard.lock(), ["t:a t:b", "missed"]);
    assert_eq!(story.link.status.lock().hearing.losses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_does_not_push_is_not_believed_for_an_hour() {
    let server = Server::new();
    let story = begin(&server, "tracking");
    story.until(LinkState::Up).await;
    let why = "the server accepted CLIENT TRACKING and does not push";
    assert_eq!(story.way(), (Way::Off, Some(why.to_owned())));
    let asked = plain(server.take_asked());
    assert_eq!(
        asked[asked.len() - 2..],
        ["CLIENT TRACKING OFF", "UNLINK t:~canary"]
    );
    server.sever();
    pass(MINUTE).await;
    let tries = |asked: Vec<String>| asked.iter().any(|command| command.contains("TRACKING"));
    assert!(!tries(server.take_asked()));
    server.says(pushes);
    pass(60 * MINUTE).await;
    server.sever();
    pass(MINUTE).await;
    assert_eq!(story.way(), (Way::Tracking, None));
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_kept_current_is_served_for_a_minute_after_it_broke() {
    let server = Server::new();
    server.says(pushes);
    let story = begin(&server, "tracking");
    story.until(LinkState::Up).await;
    let port = &story.link.port;
    let first = port.generation();
    assert_eq!(port.served_until(first), clock::NEVER);
    story.ear.heard.lock().clear();
    server.die();
    story.until(LinkState::Down).await;
    let until = port.served_until(first);
    let left = until - clock::now();
    assert!((59_000..=60_000).contains(&left), "{left}");
    assert_eq!(*story.ear.heard.lock(), ["missed"]);
    server.accept(server::Accept::Serve);
    story.until(LinkState::Up).await;
    assert_eq!(port.served_until(port.generation()), clock::NEVER);
    pass(MINUTE).await;
    server.die();
    story.until(LinkState::Down).await;
    assert_eq!(
        port.served_until(first),
        until,
        "what was not read since is as old as it is"
    );
}
