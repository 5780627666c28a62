//! What happens to a link, told from its beginning to its end.

use redis::Value as Said;

use super::{
    server::{Accept, Say},
    *,
};

#[tokio::test(start_paused = true)]
async fn three_hours_of_refusals_cost_few_attempts_and_end_within_6_s_of_the_return() {
    let server = Server::new();
    server.put("k", "v");
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.die();
    story.until(LinkState::Down).await;
    pass(3 * 60 * MINUTE).await;
    let dials = server.dials();
    assert!(
        most_in_a_minute(&dials) <= 40,
        "{}",
        most_in_a_minute(&dials)
    );
    assert!(dials.windows(2).all(|pair| pair[1] >= pair[0]));
    assert_eq!(story.get("k").await, Err(Failure::Unavailable));
    server.accept(Accept::Serve);
    let back = story.until(LinkState::Up).await;
    assert!(back <= 6_000, "{back} ms");
    assert_eq!(story.get("k").await, Ok(text("v")));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_over_within_2_s() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    pass(20_000).await;
    story.get("k").await.expect("a link that gave a good read");
    server.die();
    pass(9_000).await;
    server.accept(Accept::Serve);
    let back = story.until(LinkState::Up).await;
    assert!(back <= 2_500, "{back} ms");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_noticed_under_load_and_costs_nobody_more_than_the_deadline() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    let from = clock::now();
    let mut ends = Vec::new();
    while story.is_used() {
        let (ended, _late) = story.ask(Request::Get(b"k".as_slice().into()));
        ends.push(tokio::spawn(timed(ended)));
        pass(10).await;
    }
    let noticed = clock::now() - from;
    assert!(noticed <= story.timeout_ms + 1_150, "{noticed} ms");
    for end in ends {
        let (reply, ms) = end.await.unwrap();
        assert!(reply.expect("settled").is_err());
        assert!(ms <= u128::from(story.timeout_ms) + 50, "{ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_after_the_deadline_is_told_late_and_to_the_right_one() {
    let server = Server::new();
    server.put("a", "of a");
    server.put("b", "of b");
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    let (ended, late) = story.ask(Request::Get(b"a".as_slice().into()));
    assert_eq!(ended.await.unwrap(), Err(Failure::Timeout));
    let (other, other_late) = story.ask(Request::Get(b"b".as_slice().into()));
    pass(100).await;
    server.freeze(false);
    assert_eq!(late.await.unwrap(), Ok(text("of a")));
    assert_eq!(other.await.unwrap(), Ok(text("of b")));
    assert!(other_late.await.is_err(), "nothing came late");
    assert_eq!(story.link.state(), LinkState::Up);
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_costs_one_command_an_interval() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    pass(60 * MINUTE).await;
    let asked = server.take_asked();
    assert!((118..=121).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|command| command == "PING"), "{asked:?}");
    assert_eq!(story.link.state(), LinkState::Up);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_to_a_frozen_server_is_given_up_after_interval_and_timeout() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    let noticed = story.until_lost().await;
    assert!((30_000..=32_100).contains(&noticed), "{noticed} ms");
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_while_away_is_deleted_before_anything_is_read() {
    let server = Server::new();
    server.put("t:k", "old");
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.die();
    story.until(LinkState::Down).await;
    story.link.distrust(&Arc::from(b"t:k".as_slice()));
    server.accept(Accept::Serve);
    server.take_asked();
    story.until(LinkState::Up).await;
    assert_eq!(server.holds("t:k"), None);
    assert_eq!(story.link.port.journaled(), 0);
    let asked = server.take_asked();
    let words: Vec<_> = asked
        .iter()
        .map(|command| command.split(' ').next().unwrap())
        .collect();
    assert_eq!(words, ["HELLO", "INFO", "UNLINK"], "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_comes_late_leaves_the_journal_without_another_command() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    let key: Arc<[u8]> = Arc::from(b"t:k".as_slice());
    let seq = story.link.journal.lock().begin_write(&key);
    server.freeze(true);
    let (ended, late) = story.ask(Request::Write(unlink("t:k"), vec![Arc::clone(&key)]));
    assert_eq!(ended.await.unwrap(), Err(Failure::Timeout));
    {
        let mut journal = story.link.journal.lock();
        journal.record_write(&key, seq);
        story.link.port.note_journal(&journal);
    }
    pass(600).await;
    server.freeze(false);
    assert_eq!(late.await.unwrap(), Ok(Said::Int(0)));
    {
        let mut journal = story.link.journal.lock();
        journal.end_write(&key);
        journal.acknowledge(&key, seq);
        story.link.port.note_journal(&journal);
    }
    pass(1_000).await;
    assert_eq!(story.link.port.journaled(), 0);
    let asked = server.take_asked();
    assert_eq!(
        asked
            .iter()
            .filter(|command| command.starts_with("UNLINK"))
            .count(),
        1,
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_loads_for_ten_minutes_is_asked_now_and_then_and_never_left() {
    let server = Server::new();
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    server.says(move |words| match words[0].as_str() {
        "HELLO" | "CLIENT" => Say::Usual,
        _ => Say::This(loading),
    });
    let story = Story::begin(Arc::clone(&server), json!({}));
    story.until(LinkState::Recovering).await;
    pass(10 * MINUTE).await;
    assert_eq!(
        (story.link.state(), server.dials().len()),
        (LinkState::Recovering, 1)
    );
    let asked = server.take_asked().len();
    assert!((290..=320).contains(&asked), "{asked}");
    server.says(|_| Say::Usual);
    let back = story.until(LinkState::Up).await;
    assert!(back <= 2_000, "{back} ms");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_for_ever_and_a_repaired_one_works_within_10_s() {
    let server = Server::new();
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    server.says(move |_| Say::This(wrong));
    let story = Story::begin(
        Arc::clone(&server),
        json!({ "redis": { "host": "memory", "password": "x" } }),
    );
    pass(60 * MINUTE).await;
    let dials = server.dials();
    assert!((400..=1_800).contains(&dials.len()), "{}", dials.len());
    assert!(
        dials.windows(2).all(|pair| pair[1] - pair[0] >= 2_000),
        "{dials:?}"
    );
    server.says(|_| Say::Usual);
    let back = story.until(LinkState::Up).await;
    assert!(back <= 10_000, "{back} ms");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_hangs_up_is_asked_ever_more_seldom() {
    let server = Server::new();
    server.accept(Accept::HangUp);
    let _story = Story::begin(Arc::clone(&server), json!({}));
    pass(10 * MINUTE).await;
    let dials = server.dials();
    let later: Vec<_> = dials.iter().skip(4).copied().collect();
    assert!(later.len() > 10, "{}", dials.len());
    assert!(
        later.windows(2).all(|pair| pair[1] - pair[0] >= 5_000),
        "{dials:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_without_resp3_is_spoken_to_in_resp2_at_once_and_for_an_hour() {
    let server = Server::new();
    server.says(move |words| {
        if words[0] != "HELLO" {
            return Say::Usual;
        }
        Say::This("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
    });
    let story = Story::begin(Arc::clone(&server), json!({}));
    let took = story.until(LinkState::Up).await;
    assert!(took < 50, "{took} ms");
    assert_eq!(server.dials().len(), 2);
    let hellos = |asked: Vec<String>| {
        asked
            .iter()
            .filter(|command| command.starts_with("HELLO"))
            .count()
    };
    assert_eq!(hellos(server.take_asked()), 1);
    server.sever();
    story.until_lost().await;
    story.until(LinkState::Up).await;
    assert_eq!(hellos(server.take_asked()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_is_given_up_after_5_s_once_a_link_was_lost() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    story.until_lost().await;
    let from = server.dials().len();
    pass(2 * MINUTE).await;
    let dials = server.dials();
    let gaps: Vec<u64> = dials[from..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(
        gaps.len() > 8 && gaps.iter().all(|gap| (5_000..=10_100).contains(gap)),
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_breaker_is_open_nothing_but_probes_is_sent() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.says(|words| {
        if words[0] == "GET" {
            Say::After(450)
        } else {
            Say::Usual
        }
    });
    for _ in 0..40 {
        let _ = story.get("k").await;
    }
    assert_eq!(story.get("k").await, Err(Failure::Unavailable));
    server.take_asked();
    server.says(|_| Say::After(450));
    pass(5 * MINUTE).await;
    let asked = server.take_asked();
    assert!((4..=30).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|command| command == "PING"), "{asked:?}");
    server.says(|_| Say::Usual);
    pass(MINUTE).await;
    assert!(story.get("k").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_master_that_became_a_replica_is_left_and_its_successor_found() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.says(|words| match words[0].as_str() {
        "INFO" => Say::This("$12\r\nrole:slave\r\n\r\n"),
        "UNLINK" => Say::This("-READONLY You can't write against a read only replica.\r\n"),
        _ => Say::Usual,
    });
    let key: Arc<[u8]> = Arc::from(b"t:k".as_slice());
    let _ = story.ask(Request::Write(unlink("t:k"), vec![key])).0.await;
    story.until(LinkState::Down).await;
    pass(MINUTE).await;
    assert!(most_in_a_minute(&server.dials()) <= 40);
    server.says(|_| Say::Usual);
    let back = story.until(LinkState::Up).await;
    assert!(back <= 3_300, "{back} ms");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_does_not_blame_the_server() {
    let server = Server::new();
    server.put("k", "v");
    let story = Story::up(Arc::clone(&server), json!({})).await;
    story.events();
    server.says(|_| Say::After(300));
    let (ended, _late) = story.ask(Request::Get(b"k".as_slice().into()));
    pass(50).await;
    // All at once, as for a process that was stopped.
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(ended.await.unwrap(), Ok(text("v")));
    server.says(|_| Say::Usual);
    assert_eq!(story.get("k").await, Ok(text("v")));
    pass(5_000).await;
    assert_eq!(story.link.state(), LinkState::Up);
    assert_eq!(story.events(), []);
}

#[tokio::test(start_paused = true)]
async fn closing_settles_what_is_pending_within_a_second() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    let (ended, _late) = story.ask(Request::Get(b"k".as_slice().into()));
    let ((), ms) = timed(story.close()).await;
    assert!(ms <= 1_050, "{ms} ms");
    assert!(ended.await.unwrap().is_err());
    assert_eq!(story.link.state(), LinkState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_writes_comes_up_for_reads_and_keeps_the_journal() {
    let server = Server::new();
    server.put("t:k", "old");
    let misconf = "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n";
    server.says(move |words| match words[0].as_str() {
        "UNLINK" => Say::This(misconf),
        _ => Say::Usual,
    });
    let story = Story::begin(Arc::clone(&server), json!({}));
    story.link.distrust(&Arc::from(b"t:k".as_slice()));
    story.until(LinkState::Up).await;
    pass(10).await;
    assert_eq!(modes(&story.events()), ["reads-only"]);
    assert_eq!(story.link.port.journaled(), 1);
    server.take_asked();
    pass(10_000).await;
    let probes = server.take_asked();
    assert!((8..=11).contains(&probes.len()), "{probes:?}");
    server.says(|_| Say::Usual);
    pass(1_300).await;
    assert_eq!(
        (story.link.port.journaled(), server.holds("t:k")),
        (0, None)
    );
    assert_eq!(modes(&story.events()), ["tiered"]);
}

#[tokio::test(start_paused = true)]
async fn after_an_overload_reads_come_back_step_by_step_and_after_a_loss_at_once() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.says(|words| match words[0].as_str() {
        "GET" => Say::After(450),
        _ => Say::Usual,
    });
    while story.link.port.is_open() {
        let _ = story.get("k").await;
    }
    server.says(|_| Say::Usual);
    while !story.link.port.is_open() {
        pass(100).await;
    }
    let share = story.link.port.admission();
    assert!((share - 0.1).abs() < 0.01, "{share}");
    pass(7_000).await;
    assert!((story.link.port.admission() - 1.0).abs() < f64::EPSILON);
    assert_eq!(
        modes(&story.events()),
        ["tiered", "memory", "partial", "tiered"]
    );
    server.sever();
    story.until_lost().await;
    story.until(LinkState::Up).await;
    assert_eq!(modes(&story.events()), ["memory", "tiered"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_loading_is_not_overrun() {
    let server = Server::new();
    let mut asked = 0;
    server.says(move |words| {
        asked += usize::from(words[0] == "INFO");
        if asked > 3 || words[0] == "HELLO" {
            return Say::Usual;
        }
        Say::This("-LOADING Redis is loading the dataset in memory\r\n")
    });
    let story = Story::begin(Arc::clone(&server), json!({}));
    story.until(LinkState::Up).await;
    pass(10).await;
    assert!(story.link.port.admission() < 0.2);
    pass(7_000).await;
    assert!((story.link.port.admission() - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_costs_no_further_command_for_half_a_minute_at_least() {
    let server = Server::new();
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server
        .says(|_| Say::This("-ERR max requests limit exceeded. Limit: 500000, Usage: 500000.\r\n"));
    assert!(story.get("k").await.is_err());
    server.take_asked();
    assert_eq!(story.get("k").await, Err(Failure::Unavailable));
    pass(29_000).await;
    assert_eq!(server.take_asked(), Vec::<String>::new());
    pass(60 * MINUTE).await;
    let probes = server.take_asked().len();
    assert!((3..=12).contains(&probes), "{probes}");
    assert_eq!(server.dials().len(), 1, "the link is kept");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_was_lost_with_its_link_is_sent_again_within_its_deadline_and_a_write_is_not() {
    let server = Server::new();
    server.put("k", "v");
    let story = Story::up(Arc::clone(&server), json!({})).await;
    server.freeze(true);
    let (read, _) = story.ask(Request::Get(b"k".as_slice().into()));
    let (write, _) = story.ask(Request::Write(unlink("t:w"), vec![Arc::from(&b"t:w"[..])]));
    pass(10).await;
    server.sever();
    pass(1).await;
    server.freeze(false);
    assert_eq!(write.await.unwrap(), Err(Failure::Disconnected));
    assert_eq!(read.await.unwrap(), Ok(text("v")));
}

#[tokio::test(start_paused = true)]
async fn a_read_is_not_kept_for_a_link_that_does_not_come_back() {
    for retries in [0, 5] {
        let server = Server::new();
        let options = json!({ "redis": { "host": "memory", "maxRetriesPerRequest": retries } });
        let story = Story::up(Arc::clone(&server), options).await;
        server.freeze(true);
        let (read, _) = story.ask(Request::Get(b"k".as_slice().into()));
        pass(10).await;
        server.die();
        let (end, ms) = timed(read).await;
        assert!(end.unwrap().is_err());
        let most = if retries == 0 { 1 } else { 251 };
        assert!(ms <= most, "{ms} ms with {retries} retries");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_all_writes_is_asked_for_one_deletion_a_second_however_many_wait() {
    let server = Server::new();
    server.says(|words| match words[0].as_str() {
        "UNLINK" => Say::This("-NOREPLICAS Not enough good replicas to write.\r\n"),
        _ => Say::Usual,
    });
    let story = Story::begin(Arc::clone(&server), json!({}));
    for number in 0..200 {
        let key = format!("t:{number}");
        story.link.distrust(&Arc::from(key.as_bytes()));
    }
    story.until(LinkState::Up).await;
    pass(10).await;
    server.take_asked();
    pass(10_000).await;
    let asked = server.take_asked();
    assert!((8..=11).contains(&asked.len()), "{asked:?}");
    server.says(|_| Say::Usual);
    pass(3_000).await;
    assert_eq!(story.link.port.journaled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_count_of_the_quota_that_redis_refuses_is_not_asked_again_and_told_once() {
    let server = Server::new();
    server.says(|words| match words[0].as_str() {
        "HINCRBY" | "PEXPIRE" => {
            Say::This("-NOPERM User app has no permissions to run the command\r\n")
        }
        _ => Say::Usual,
    });
    let quota = json!({ "quota": { "commands": 1_000_000, "window": "month" } });
    let story = Story::begin(Arc::clone(&server), quota);
    story.until(LinkState::Up).await;
    pass(10 * MINUTE).await;
    let asked = server.take_asked();
    let counts = asked
        .iter()
        .filter(|command| command.starts_with("HINCRBY"));
    assert_eq!(counts.count(), 1, "{asked:?}");
    let warned = story
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Warning { .. }));
    assert_eq!(warned.count(), 1);
}
