//! Hears what is published on a channel, until it was enough, or the socket breaks or falls silent.

use std::{ops::ControlFlow, time::Duration};

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::time::timeout;

/// How long the answer to a ping may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Longer than any silence.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// Gives each message to `take`. After a `silence`, if one is given, the other side is asked whether it lives; `pinged` hears of each command
/// that this costs.
pub(super) async fn hear(
    channel: PubSub,
    silence: Option<Duration>,
    pinged: impl Fn(),
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) {
    let (mut sink, mut messages) = channel.split();
    loop {
        match timeout(silence.unwrap_or(NEVER), messages.next()).await {
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
