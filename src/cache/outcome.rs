//! What an operation ends with, and who is told. Knows nothing of Node-API: an environment is a [`Sink`].

use std::sync::Arc;

use bytes::Bytes;

use super::read::Held;
use crate::{
    entry::Payload,
    error::{CacheError, Code},
};

/// How a caller wants a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum As {
    /// Decoded.
    #[default]
    Value,
    /// The payload as a string.
    Text,
    /// The payload as bytes.
    Bytes,
}

impl From<u32> for As {
    /// The form by its number at the boundary.
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Text,
            2 => Self::Bytes,
            _ => Self::Value,
        }
    }
}

/// The end of an operation.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Nothing: a miss, or a write that is done.
    Undefined,
    /// No life's end.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A value to be decoded, or not, as asked.
    Value(Payload, As),
    /// Values in the order of their keys.
    Many(Vec<Option<Payload>>),
    /// A value past its freshness, as asked: it is the caller's at once. Its ticket stays open, since it may yet have to run
    /// its factory.
    Stale(Payload, As),
    /// What a factory made, as asked.
    Loaded(Payload, As),
    /// The caller must run the factory of this flight; its ticket stays open. What it is to replace goes with it.
    Lead(u64, Option<Held>),
    /// The factory of this flight failed; the error, cloned, for other environments.
    FactoryFailed(u64, Option<Bytes>),
    /// The lock is the caller's: its number, and its fence.
    Locked(u64, u64),
    /// A raw reply; `true` for strings as buffers.
    Reply(redis::Value, bool),
    /// The replies of a pipeline, errors among them.
    Replies(Vec<Result<redis::Value, CacheError>>, bool),
    /// A step of a scan: the cursor and keys.
    Page(String, Vec<String>),
    /// It failed.
    Error(CacheError),
}

impl Outcome {
    /// About how many bytes of values it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Value(payload, _) | Self::Stale(payload, _) | Self::Loaded(payload, _) => {
                payload.data.len()
            }
            Self::Many(list) => list
                .iter()
                .flatten()
                .map(|payload| payload.data.len())
                .sum(),
            Self::Lead(_, held) => held.as_ref().map_or(0, |held| held.payload.data.len()),
            Self::Reply(reply, _) => reply_bytes(reply),
            Self::Replies(replies, _) => replies.iter().flatten().map(reply_bytes).sum(),
            Self::Undefined
            | Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::FactoryFailed(..)
            | Self::Locked(..)
            | Self::Page(..)
            | Self::Error(_) => 0,
        }
    }
}

/// About how many bytes of text and data a reply has.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's kinds of replies may grow"
)]
fn reply_bytes(reply: &redis::Value) -> usize {
    match reply {
        redis::Value::BulkString(data) => data.len(),
        redis::Value::SimpleString(text) | redis::Value::VerbatimString { text, .. } => text.len(),
        redis::Value::Array(list) | redis::Value::Set(list) => list.iter().map(reply_bytes).sum(),
        redis::Value::Map(pairs) => {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| reply_bytes(key) + reply_bytes(value))
                .sum()
        }
        _ => 0,
    }
}

/// An environment that waits for outcomes: its event loop is woken and settles the promise of the ticket.
pub trait Sink: Send + Sync {
    /// Tells the end of a ticket.
    fn settle(&self, ticket: u32, outcome: Outcome);
    /// Tells something that belongs to no ticket, as JSON.
    fn notice(&self, kind: Notice, json: String);
    /// Whether the environment still lives.
    fn alive(&self) -> bool;
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Notice {
    /// An event of the cache.
    Event = 0,
    /// A log line.
    Log = 1,
    /// A question.
    Ask = 2,
}

/// One caller's claim on an outcome. Settled exactly once: if it is dropped instead, by a panic, the caller gets
/// `ERR_CACHE_INTERNAL`.
pub struct Waiter {
    sink: Option<Arc<dyn Sink>>,
    ticket: u32,
    want: As,
}

impl Waiter {
    /// The claim of `ticket` in the environment behind `sink`.
    #[must_use]
    pub const fn new(sink: Arc<dyn Sink>, ticket: u32, want: As) -> Self {
        Self {
            sink: Some(sink),
            ticket,
            want,
        }
    }

    /// Settles through the environment's queue.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            sink.settle(self.ticket, outcome);
        }
    }

    /// Settles at once, by returning the outcome to the caller who is still on the stack.
    #[must_use]
    pub fn now(mut self, outcome: Outcome) -> Option<Outcome> {
        self.sink = None;
        Some(outcome)
    }

    /// What a factory made, in the form that was asked for.
    #[must_use]
    pub const fn loaded(&self, payload: Payload) -> Outcome {
        Outcome::Loaded(payload, self.want)
    }

    /// A value past its freshness, in the form that was asked for.
    #[must_use]
    pub const fn stale(&self, payload: Payload) -> Outcome {
        Outcome::Stale(payload, self.want)
    }

    /// What was found, in the form that was asked for.
    #[must_use]
    pub fn found(&self, found: Result<Option<Payload>, CacheError>) -> Outcome {
        match found {
            Ok(Some(payload)) => self.value(payload),
            Ok(None) => Outcome::Undefined,
            Err(error) => Outcome::Error(error),
        }
    }

    /// A value in the form that was asked for.
    #[must_use]
    pub const fn value(&self, payload: Payload) -> Outcome {
        Outcome::Value(payload, self.want)
    }

    /// Tells the caller something with which the claim goes on.
    pub fn tell(&self, outcome: Outcome) {
        if let Some(sink) = &self.sink {
            sink.settle(self.ticket, outcome);
        }
    }

    /// The environment, while the claim is open.
    #[must_use]
    pub const fn sink(&self) -> Option<&Arc<dyn Sink>> {
        self.sink.as_ref()
    }

    /// The number by which its environment knows it.
    #[must_use]
    pub const fn ticket(&self) -> u32 {
        self.ticket
    }

    /// Whether this is the claim of `ticket` in `sink`.
    #[must_use]
    pub fn is(&self, sink: &Arc<dyn Sink>, ticket: u32) -> bool {
        self.ticket == ticket && self.sink.as_ref().is_some_and(|own| Arc::ptr_eq(own, sink))
    }

    /// Lets go of the claim without settling it: its caller has left.
    pub fn forget(mut self) {
        self.sink = None;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let error = CacheError::new(Code::Internal, "an operation was dropped before it ended");
            sink.settle(self.ticket, Outcome::Error(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    #[test]
    fn the_bytes_of_a_pipeline_are_those_of_all_its_replies() {
        let text = || Value::BulkString(vec![0; 10]);
        let nested = Value::Array(vec![text(), Value::Array(vec![text(), Value::Int(1)])]);
        let pairs = Value::Map(vec![(Value::SimpleString("four".into()), text())]);
        let failed = Err(CacheError::new(Code::RedisReply, "no"));
        let replies = vec![Ok(text()), Ok(nested), Ok(pairs), failed, Ok(Value::Nil)];
        assert_eq!(Outcome::Replies(replies, false).bytes(), 44);
    }
}
