//! Answers that a Redis does not give: what is out of step, and what only a proxy says.

use redis::Value as Said;

use super::{server::Say, *};

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_belong_to_their_questions_end_the_link_and_nobody_gets_them() {
    let odd = [
        ("GET", "+OK\r\n"),
        ("MGET", "*1\r\n$4\r\nof a\r\n"),
        ("MGET", "*3\r\n_\r\n_\r\n_\r\n"),
        ("MGET", "$4\r\nof a\r\n"),
        ("UNLINK", "$4\r\nof a\r\n"),
        ("UNLINK", "+OK\r\n"),
    ];
    for (command, answer) in odd {
        let server = Server::new();
        server.put("a", "of a");
        let story = Story::up(Arc::clone(&server), json!({})).await;
        let mut answers = Some(answer);
        server.says(move |words| {
            let odd = (words[0] == command).then(|| answers.take()).flatten();
            odd.map_or(Say::Usual, Say::This)
        });
        let reads = if command == "MGET" {
            vec!["a", "b"]
        } else {
            vec!["a"]
        };
        let ends: Vec<_> = if command == "UNLINK" {
            let key: Arc<[u8]> = Arc::from(b"t:w".as_slice());
            vec![story.ask(Request::Write(unlink("t:w"), vec![key])).0]
        } else {
            let reads = reads.into_iter();
            reads
                .map(|key| story.ask(Request::Get(key.as_bytes().into())).0)
                .collect()
        };
        for end in ends {
            let reply = end.await.expect("settled");
            assert!(
                matches!(reply, Ok(Said::Nil) | Err(Failure::Disconnected))
                    || reply == Ok(text("of a")),
                "{command} {answer:?}: {reply:?}"
            );
        }
        story.until(LinkState::Up).await;
        assert_eq!(server.dials().len(), 2, "{command} {answer:?}");
        assert_eq!(story.get("a").await, Ok(text("of a")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_cannot_reach_the_server_of_one_key_costs_the_others_nothing() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    let answer = "*2\r\n$4\r\nof a\r\n-ERR upstream failure\r\n";
    server.says(move |words| match words[0].as_str() {
        "MGET" => Say::This(answer),
        _ => Say::Usual,
    });
    let [a, b] = ["a", "b"].map(|key| story.ask(Request::Get(key.as_bytes().into())).0);
    assert_eq!(a.await.expect("settled"), Ok(text("of a")));
    assert!(matches!(
        b.await.expect("settled"),
        Err(Failure::Refused(_))
    ));
    assert_eq!(server.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hides_that_it_is_a_replica_is_left_once_in_3_s_at_most() {
    let server = Server::new();
    server.says(|words| match words[0].as_str() {
        "UNLINK" => Say::This("-READONLY You can't write against a read only replica.\r\n"),
        _ => Say::Usual,
    });
    let story = Story::up(Arc::clone(&server), json!({})).await;
    let write = || {
        let key: Arc<[u8]> = Arc::from(b"t:w".as_slice());
        story.ask(Request::Write(unlink("t:w"), vec![key])).0
    };
    let from = clock::now();
    let _ = write().await;
    story.until(LinkState::Up).await;
    while clock::now() < from + 2_900 {
        let _ = write().await;
        pass(10).await;
        assert_eq!(story.link.state(), LinkState::Up);
    }
    assert_eq!(server.dials().len(), 2);
    pass(200).await;
    let _ = write().await;
    story.until_lost().await;
}
