//! Hears what is published on a channel, until it was enough, or the socket breaks or falls silent.

use std::{ops::ControlFlow, time::Duration};

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::time::timeout;

/// How long the socket may be silent before it is asked whether it lives, and how long that may take.
const SILENCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);

/// Gives each message to `take`; `pinged` hears of each command that this costs.
pub(super) async fn hear(
    channel: PubSub,
    pinged: impl Fn(),
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) {
    let (mut sink, mut messages) = channel.split();
    loop {
        match timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => {
                if take(message.get_payload_bytes()).is_break() {
                    return;
                }
            }
            Ok(None) => return,
            Err(_) => {
                pinged();
                let pong = timeout(ANSWER, sink.ping::<redis::Value>()).await;
                if !pong.is_ok_and(|pong| pong.is_ok()) {
                    return;
                }
            }
        }
    }
}
