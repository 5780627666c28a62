//! Hears what is published on a channel, until it was enough, or the socket breaks or falls silent.

use std::{ops::ControlFlow, time::Duration};

use redis::{PushInfo, PushKind, RedisConnectionInfo, RedisResult, Value};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    commands,
    dialer::Transport,
    resp::{self, Client, Driver},
};

/// How long the answer to a ping may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Longer than any silence.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

type Hear = Box<dyn FnMut(PushInfo) + Send>;

/// A connection that is subscribed to one channel.
pub(super) struct Subscription {
    client: Client,
    driver: Driver<Hear>,
    messages: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Subscription {
    /// Subscribes over `stream`, on which nothing was said yet.
    ///
    /// # Errors
    /// What the server refuses, or why it does not answer.
    pub(super) async fn begin(
        stream: Box<dyn Transport>,
        info: &RedisConnectionInfo,
        channel: &str,
    ) -> RedisResult<Self> {
        let (sender, messages) = mpsc::unbounded_channel();
        let hear: Hear = Box::new(move |push| {
            if let Some(message) = message(push) {
                let _ = sender.send(message);
            }
        });
        let (client, mut driver) = resp::speak(stream, None, hear);
        let asking = async {
            resp::greet(&client, info).await?;
            client.subscribe(channel).await
        };
        resp::meanwhile(&mut driver, asking).await?;
        Ok(Self {
            client,
            driver,
            messages,
        })
    }

    /// Gives each message to `take`. After a `silence`, if one is given, the other side is asked whether it lives; `pinged`
    /// hears of each command that this costs.
    pub(super) async fn hear(
        mut self,
        silence: Option<Duration>,
        pinged: impl Fn(),
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        let mut ping = redis::pipe();
        ping.cmd("PING");
        loop {
            tokio::select! {
                biased;
                message = self.messages.recv() => match message {
                    Some(message) if take(&message).is_continue() => (),
                    Some(_) | None => return,
                },
                _ = &mut self.driver => {
                    // What came last was still said.
                    while let Ok(message) = self.messages.try_recv() {
                        if take(&message).is_break() {
                            break;
                        }
                    }
                    return;
                }
                () = sleep(silence.unwrap_or(NEVER)) => {
                    pinged();
                    let answer = resp::meanwhile(&mut self.driver, self.client.send(&ping));
                    if !matches!(timeout(ANSWER, answer).await, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }
}

/// What was published, if that is what was pushed.
fn message(push: PushInfo) -> Option<Vec<u8>> {
    if push.kind != PushKind::Message {
        return None;
    }
    let [_channel, payload] = <[Value; 2]>::try_from(push.data).ok()?;
    commands::bytes(payload)
}
