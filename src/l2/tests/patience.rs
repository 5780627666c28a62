//! What is slow is waited for, and what is over is not held against the server.

use super::{server::Say, *};

#[tokio::test(start_paused = true)]
async fn a_large_value_over_a_thin_line_arrives_late_rather_than_never() {
    let server = Server::new();
    let large = "v".repeat(8 << 20);
    server.put("k", &large);
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.says(|_| Say::Thinly(25_000));
    let (ended, late) = story.ask(Request::Get(b"k".as_slice().into()));
    assert_eq!(ended.await.unwrap(), Err(Failure::Timeout));
    let (late, ms) = timed(late).await;
    assert!(late.unwrap() == Ok(text(&large)) && ms > 30_000, "{ms} ms");
    assert_eq!(server.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_missed_once_is_not_held_against_a_link_that_answers_since() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    let mut is_first = true;
    server.says(move |_| {
        Say::After(if std::mem::take(&mut is_first) {
            700
        } else {
            4
        })
    });
    assert_eq!(story.get("k").await, Err(Failure::Timeout));
    let states = story.link.state.subscribe();
    for _ in 0..800 {
        let (_ended, _late) = story.ask(Request::Get(b"k".as_slice().into()));
        pass(5).await;
        assert!(!states.has_changed().unwrap(), "{:?}", story.link.state());
    }
}
