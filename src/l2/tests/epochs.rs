//! Databases without a namespace, whose entries an epoch makes valid: nothing in them is read before it is known.

use std::sync::atomic::Ordering::SeqCst;

use super::{server::Say, *};

/// A link without a namespace.
fn begin(server: &Arc<Server>) -> Story {
    Story::begin(Arc::clone(server), json!({ "namespace": "" }))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_before_the_epoch_is_known() {
    let server = Server::new();
    server.put("~epoch", "7");
    server.says(|words| match words[0].as_str() {
        "GET" => Say::This("-ERR max requests limit exceeded. Limit: 500000, Usage: 500000.\r\n"),
        _ => Say::Usual,
    });
    let story = begin(&server);
    story.until(LinkState::Up).await;
    assert!(story.link.journal.lock().contains(b"any"));
    server.says(|_| Say::Usual);
    pass(2 * MINUTE).await;
    assert_eq!(story.link.epoch.load(SeqCst), 7);
    assert_eq!(story.link.port.journaled(), 0);
    assert_eq!(modes(&story.events()), ["partial", "tiered"]);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_is_gone_is_not_followed_by_an_old_one() {
    let server = Server::new();
    let (one, other) = (begin(&server), begin(&server));
    for story in [&one, &other] {
        story.until(LinkState::Up).await;
        story.link.epoch.store(7, SeqCst);
    }
    server.sever();
    pass(MINUTE).await;
    let epoch = one.link.epoch.load(SeqCst);
    assert!(epoch != 0 && epoch != 7, "{epoch}");
    assert_eq!(other.link.epoch.load(SeqCst), epoch);
    assert_eq!(server.holds("~epoch"), Some(epoch.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_collapse_that_cannot_be_written_for_want_of_memory_does_not_keep_the_link_down() {
    let server = Server::new();
    server.says(|words| match words[0].as_str() {
        "SET" => Say::This("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        _ => Say::Usual,
    });
    let story = begin(&server);
    {
        let mut journal = story.link.journal.lock();
        journal.collapse();
        story.link.port.note_journal(&journal);
    }
    story.until(LinkState::Up).await;
    pass(10).await;
    assert!(
        modes(&story.events()).is_empty(),
        "nothing is read meanwhile"
    );
    assert_eq!(story.link.port.journaled(), 1);
    server.says(|_| Say::Usual);
    pass(5_000).await;
    assert_eq!(story.link.port.journaled(), 0);
    assert_eq!(
        modes(&story.events()),
        ["reads-only"],
        "until a write is let in"
    );
}
