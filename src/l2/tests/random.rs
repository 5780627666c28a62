//! What is true of a link whatever happens to it, held against random sequences of what can happen.

use proptest::{collection::vec, prelude::*};
use redis::Value as Said;

use super::{
    server::{Accept, Say},
    *,
};
use crate::resilience::sequences;

/// A sequence here lives through minutes of a whole link: there are so many times fewer than of the pure rules.
const FEWER: u32 = 100;
/// Attempts that `resilience` allows in any minute.
const ATTEMPTS_A_MINUTE: usize = 40;
/// What a settled operation may take beyond its deadline.
const SLACK_MS: u64 = 50;
/// The worst class of back-off has waits of 30 s, and an attempt may take 5 s more to be refused.
const BACK_MS: u64 = 40_000;

const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
const BUSY: &str = "-BUSY Redis is busy running a script.\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const MASTERDOWN: &str = "-MASTERDOWN Link with MASTER is down.\r\n";
const ODD: &str = "+what is this\r\n";

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    Die,
    HangUp,
    Serve,
    Freeze(bool),
    Sever,
    /// Everything but a handshake is answered so.
    Answer(&'static str),
    /// Writes are answered so.
    AnswerWrites(&'static str),
    /// Everything takes so many ms.
    Slow(u64),
    Well,
    Get(u8),
    Unlink(u8),
    Burst(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let answers = prop::sample::select(vec![LOADING, BUSY, MASTERDOWN, ODD]);
    let refusals = prop::sample::select(vec![OOM, READONLY]);
    prop_oneof![
        4 => (1..5_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Die),
        1 => Just(Step::HangUp),
        2 => Just(Step::Serve),
        1 => Just(Step::Freeze(true)),
        2 => Just(Step::Freeze(false)),
        1 => Just(Step::Sever),
        1 => answers.prop_map(Step::Answer),
        1 => refusals.prop_map(Step::AnswerWrites),
        1 => (1..2_000_u64).prop_map(Step::Slow),
        2 => Just(Step::Well),
        4 => (0..8_u8).prop_map(Step::Get),
        2 => (0..8_u8).prop_map(Step::Unlink),
        2 => (1..100_u8).prop_map(Step::Burst),
    ]
}

fn key(number: u8) -> String {
    format!("t:{number}")
}

/// An operation that was let in or refused: what it asked for, its deadline, and its end with the time.
type Asked = (u8, u64, tokio::task::JoinHandle<(Option<Reply>, u64)>);

struct Course {
    story: Story,
    asked: Vec<Asked>,
}

impl Course {
    fn ask(&mut self, number: u8, request: Request) {
        let deadline = clock::now() + self.story.timeout_ms;
        let (ended, _late) = self.story.ask(request);
        let end = tokio::spawn(async move { (ended.await.ok(), clock::now()) });
        self.asked.push((number, deadline, end));
    }

    fn get(&mut self, number: u8) {
        self.ask(number, Request::Get(key(number).as_bytes().into()));
    }

    async fn take(&mut self, step: Step) {
        let server = Arc::clone(&self.story.server);
        let is_handshake = |words: &[String]| matches!(words[0].as_str(), "HELLO" | "CLIENT");
        match step {
            Step::Pass(ms) => pass(ms).await,
            Step::Die => server.die(),
            Step::HangUp => {
                server.accept(Accept::HangUp);
                server.sever();
            }
            Step::Serve => server.accept(Accept::Serve),
            Step::Freeze(frozen) => server.freeze(frozen),
            Step::Sever => server.sever(),
            Step::Answer(text) => server.says(move |words| {
                if is_handshake(words) {
                    Say::Usual
                } else {
                    Say::This(text)
                }
            }),
            Step::AnswerWrites(text) => server.says(move |words| match words[0].as_str() {
                "UNLINK" | "SET" => Say::This(text),
                _ => Say::Usual,
            }),
            Step::Slow(ms) => server.says(move |_| Say::After(ms)),
            Step::Well => server.says(|_| Say::Usual),
            Step::Get(number) => self.get(number),
            Step::Unlink(number) => {
                let name: Arc<[u8]> = key(number).as_bytes().into();
                let cmd = super::super::commands::unlink(&[&name]);
                self.ask(number, Request::Write(cmd, vec![name]));
            }
            Step::Burst(count) => (0..count).for_each(|number| self.get(number % 8)),
        }
    }

    /// Everything that was asked has ended, in time, and not with the value of another key.
    async fn settle(&mut self) {
        for (number, deadline, end) in self.asked.drain(..) {
            let (reply, at) = end.await.expect("no panic");
            assert!(at <= deadline + SLACK_MS, "{} ms late", at - deadline);
            match reply.expect("every operation settles") {
                Ok(Said::BulkString(value)) => assert_eq!(value, key(number).as_bytes()),
                Ok(Said::Nil | Said::Int(_)) | Err(_) => (),
                Ok(other) => panic!("{other:?} for {number}"),
            }
        }
    }
}

async fn lives_through(steps: Vec<Step>) {
    let server = Server::new();
    (0..8).for_each(|number| server.put(&key(number), &key(number)));
    let story = Story::begin(Arc::clone(&server), json!({}));
    let mut course = Course {
        story,
        asked: Vec::new(),
    };
    for step in steps {
        course.take(step).await;
        tokio::task::yield_now().await;
    }
    for step in [Step::Well, Step::Freeze(false), Step::Serve] {
        course.take(step).await;
    }
    let back = course.story.until(LinkState::Up).await;
    assert!(back <= BACK_MS, "back after {back} ms");
    course.settle().await;
    assert!(most_in_a_minute(&server.dials()) <= ATTEMPTS_A_MINUTE);
    assert_eq!(server.most_sockets(), 1, "one socket at a time");
    course.story.close().await;
    assert_eq!(course.story.link.state(), LinkState::Closed);
    course.get(0);
    pass(60_000).await;
    assert_eq!(course.story.link.state(), LinkState::Closed);
    course.settle().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: sequences().cases / FEWER, ..sequences() })]

    #[test]
    fn every_operation_settles_in_time_over_one_socket_within_the_budget_and_closed_is_the_only_end(
        steps in vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(lives_through(steps));
    }
}
