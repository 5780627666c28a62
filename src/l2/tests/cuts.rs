//! One exchange, from the handshake to an UNLINK, with the connection broken at every single byte of either direction, in
//! each way in which connections break. Whatever the byte: every operation settles once, within its deadline, with the
//! right value or a failure, and the next link serves all of them.

use redis::{Cmd, Value as Said};

use super::{
    server::Say,
    wire::{Break, Ending, Way},
    *,
};

/// Before this reply the server pushes something that nobody asked for.
const PUSHED: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nt:a\r\n$4\r\nof p\r\n";
/// How many operations an exchange has.
const OPERATIONS: usize = 6;
/// What a settled operation may take beyond its deadline.
const SLACK_MS: u128 = 50;
/// Until when a link that serves everything is there, whatever broke the first one: its handshake may have stalled.
const BACK_MS: u64 = 20_000;

fn key(name: &str) -> Arc<[u8]> {
    name.as_bytes().into()
}

fn get(name: &str) -> Request {
    Request::Get(key(name))
}

fn write(cmd: Cmd, name: &str) -> Request {
    Request::Write(cmd, vec![key(name)])
}

fn server() -> Arc<Server> {
    let server = Server::new();
    for name in ["a", "c", "d", "e", "p"] {
        server.put(&format!("t:{name}"), &format!("of {name}"));
    }
    server.says(|words| match words {
        [get, key] if get == "GET" && key == "t:p" => Say::This(PUSHED),
        _ => Say::Usual,
    });
    server
}

/// The operations of the exchange in its steps, each with the only value that may come of it.
fn steps() -> Vec<Vec<(Request, Said)>> {
    let text = |value: &str| Said::BulkString(value.into());
    let set = super::super::commands::set(b"t:b", b"of b", None, None);
    let unlink = super::super::commands::unlink(&[b"t:e"]);
    vec![
        vec![(get("t:a"), text("of a"))],
        vec![
            (write(set, "t:b"), Said::Okay),
            (get("t:c"), text("of c")),
            (get("t:d"), text("of d")),
        ],
        vec![(get("t:p"), text("of p"))],
        vec![(write(unlink, "t:e"), Said::Int(1))],
    ]
}

/// Runs the exchange; answers how many of its operations got their values.
async fn exchange(story: &Story) -> usize {
    let mut answered = 0;
    for step in steps() {
        let (requests, wanted): (Vec<_>, Vec<_>) = step.into_iter().unzip();
        let ends: Vec<_> = requests
            .into_iter()
            .map(|request| tokio::spawn(timed(story.ask(request).0)))
            .collect();
        for (end, wanted) in ends.into_iter().zip(wanted) {
            let (reply, ms) = end.await.expect("no panic");
            assert!(ms <= u128::from(story.timeout_ms) + SLACK_MS, "{ms} ms");
            match reply.expect("every operation settles") {
                Ok(value) => {
                    assert_eq!(value, wanted);
                    answered += 1;
                }
                Err(failure) => assert!(!matches!(failure, Failure::Refused(_)), "{failure:?}"),
            }
        }
    }
    answered
}

async fn broken(at: Break) {
    let server = server();
    server.breaks_next(at);
    let story = Story::begin(Arc::clone(&server), json!({}));
    let from = clock::now();
    while exchange(&story).await < OPERATIONS {
        assert!(clock::now() - from < BACK_MS, "{at:?}: no link serves all");
        story.until(LinkState::Up).await;
        server.put("t:e", "of e");
    }
    assert_eq!(server.holds("t:b").as_deref(), Some("of b"));
    assert_eq!(server.holds("t:e"), None);
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_broken_at_any_byte_costs_no_operation_its_end_and_none_gets_a_wrong_value() {
    let whole = server();
    let story = Story::begin(Arc::clone(&whole), json!({}));
    story.until(LinkState::Up).await;
    assert_eq!(exchange(&story).await, OPERATIONS);
    for way in [Way::Up, Way::Down] {
        let bytes = whole.passed.of(way);
        assert!(bytes > 100, "{bytes} bytes {way:?}");
        for after in 0..=bytes {
            for ending in [Ending::Cut, Ending::Reset, Ending::Stall] {
                broken(Break { way, after, ending }).await;
            }
        }
    }
}
