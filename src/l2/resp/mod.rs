//! Speaks the Redis protocol over one socket: pipelines out, in the order in which they were sent; replies in, each to whom
//! it belongs; pushes to who hears them, before any reply that came later. Knows commands only as bytes that are answered.
//!
//! [`Client`] is what pipelines are given to, from any thread; [`Driver`] is the task that has the socket. It ends when the
//! socket does, or once the last client is gone and nobody waits any more.

mod greeting;
pub mod reader;

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use redis::{ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use self::greeting::greet;
use self::reader::{LEAST_ROOM, Reader};
use super::dialer::{Transport, Writer};

/// A buffer that grew larger is given back once it is empty.
const KEPT_ROOM: usize = 256 << 10;

/// What pipelines are given to. Clones share the connection.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

/// What the clients of a connection have in common.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The driver, while it has nothing to do.
    driver: AtomicWaker,
    /// Messages of a channel may come.
    is_subscribed: AtomicBool,
}

/// Where numbered answers go.
pub type Answers = mpsc::UnboundedSender<(u64, RedisResult<Vec<Value>>)>;

/// Who is told.
enum Teller {
    Once(oneshot::Sender<RedisResult<Vec<Value>>>),
    Numbered(u64, Answers),
}

impl Teller {
    /// Tells whoever still waits.
    fn tell(self, replies: RedisResult<Vec<Value>>) {
        match self {
            Self::Once(teller) => drop(teller.send(replies)),
            Self::Numbered(number, answers) => drop(answers.send((number, replies))),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Once(teller) => teller.is_closed(),
            Self::Numbered(_, answers) => answers.is_closed(),
        }
    }
}

#[derive(Default)]
struct State {
    /// What is to be written.
    output: Vec<u8>,
    /// The driver has something to write before that.
    is_writing: bool,
    /// The socket, where anybody may write.
    writer: Option<Writer>,
    /// Who waits for replies, in their order.
    asked: VecDeque<Asked>,
    /// No client is left.
    forsaken: bool,
    /// Why the socket is of no use any more.
    ended: Option<RedisError>,
}

struct Asked {
    count: usize,
    replies: Vec<Value>,
    teller: Teller,
}

impl Client {
    /// Sends the commands; resolves to their replies, one for each, refusals among them. What is sent is sent, whether
    /// anybody waits for the replies or not.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no reply.
    pub fn send(
        &self,
        commands: &Pipeline,
    ) -> impl Future<Output = RedisResult<Vec<Value>>> + Send + use<> {
        let (teller, told) = oneshot::channel();
        self.put(commands, Teller::Once(teller));
        self.wake();
        async move { told.await.unwrap_or_else(|_| Err(closed())) }
    }

    /// Subscribes to a channel, whose messages are pushes from now on, whichever version is spoken.
    ///
    /// # Errors
    /// If the server refuses, or the connection breaks.
    pub async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        self.0.0.is_subscribed.store(true, Relaxed);
        let mut subscribe = redis::pipe();
        subscribe.cmd("SUBSCRIBE").arg(channel);
        match self.send(&subscribe).await?.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts the commands behind all others; the replies go to `answers` with the number. Nothing is written before
    /// [`Client::wake`] or [`Client::write`].
    pub fn ask(&self, commands: &Pipeline, number: u64, answers: &Answers) {
        self.put(commands, Teller::Numbered(number, answers.clone()));
    }

    fn put(&self, commands: &Pipeline, teller: Teller) {
        let mut state = self.0.0.state.lock();
        if let Some(error) = &state.ended {
            let error = error.clone();
            drop(state);
            return teller.tell(Err(error));
        }
        if commands.is_empty() {
            drop(state);
            return teller.tell(Ok(Vec::new()));
        }
        for command in commands.cmd_iter() {
            command.write_packed_command(&mut state.output);
        }
        state.asked.push_back(Asked {
            count: commands.len(),
            replies: Vec::with_capacity(commands.len()),
            teller,
        });
    }

    /// Has the driver write what was put.
    pub fn wake(&self) {
        self.0.0.driver.wake();
    }

    /// Whether [`Client::write`] is of use.
    #[must_use]
    pub fn writes_anywhere(&self) -> bool {
        self.0.0.state.lock().writer.is_some()
    }

    /// Writes what was put, here and now as far as the socket takes it.
    pub fn write(&self) {
        if !self.0.0.write_here() {
            self.wake();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().forsaken = true;
        self.0.driver.wake();
    }
}

/// Reads and writes the socket; to be polled as a task.
pub struct Driver<H> {
    shared: Arc<Shared>,
    stream: Box<dyn Transport>,
    /// What is being written, and how much of it was.
    output: Vec<u8>,
    written: usize,
    input: BytesMut,
    reader: Reader,
    hear: H,
}

/// Speaks over `stream`, to which anybody may write by `writer`, if there is one; `hear` is told of pushes.
pub fn speak<H: FnMut(PushInfo)>(
    stream: Box<dyn Transport>,
    writer: Option<Writer>,
    hear: H,
) -> (Client, Driver<H>) {
    let state = State {
        writer,
        ..State::default()
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        driver: AtomicWaker::new(),
        is_subscribed: AtomicBool::new(false),
    });
    let driver = Driver {
        shared: Arc::clone(&shared),
        stream,
        output: Vec::new(),
        written: 0,
        input: BytesMut::new(),
        reader: Reader::default(),
        hear,
    };
    (Client(Arc::new(Handle(shared))), driver)
}

impl<H: FnMut(PushInfo) + Unpin> Future for Driver<H> {
    /// Why it ended, unless the other side has closed.
    type Output = Option<RedisError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RedisError>> {
        let driver = self.get_mut();
        driver.shared.driver.register(cx.waker());
        driver.drive(cx).map(|ended| {
            let error = ended.err();
            driver.shared.end(&error.clone().unwrap_or_else(closed));
            error
        })
    }
}

/// A driver that runs; it ends with its handle. None once its end was told.
pub struct Task(Option<JoinHandle<Option<RedisError>>>);

impl Task {
    /// Lets a driver run.
    pub fn spawn<H: FnMut(PushInfo) + Send + Unpin + 'static>(driver: Driver<H>) -> Self {
        Self(Some(tokio::spawn(driver)))
    }

    /// Resolves at its end: why it ended, where that is known. May be cancelled.
    pub async fn ended(&mut self) -> Option<RedisError> {
        let handle = self.0.as_mut()?;
        let error = handle.await.unwrap_or_default();
        self.0 = None;
        error
    }

    /// Ends it; resolves once its socket is closed.
    pub async fn abort(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
        self.ended().await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

impl<H: FnMut(PushInfo)> Driver<H> {
    /// Ready once the connection is at its end.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<()>> {
        // What was answered counts, also where nothing can be written any more.
        let written = self.write(cx);
        if let Poll::Ready(ended) = self.read(cx) {
            return Poll::Ready(ended);
        }
        ready!(written)?;
        if self.shared.state.lock().is_over() {
            return Pin::new(&mut self.stream)
                .poll_shutdown(cx)
                .map_err(RedisError::from);
        }
        Poll::Pending
    }

    /// Ready once all is written.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.output.len() {
                self.written = 0;
                self.output.clear();
                self.output.shrink_to(KEPT_ROOM);
                let mut state = self.shared.state.lock();
                state.is_writing = !state.output.is_empty();
                if !state.is_writing {
                    break;
                }
                std::mem::swap(&mut self.output, &mut state.output);
            }
            let rest = &self.output[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ready once nothing more comes.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<()>> {
        loop {
            while let Some(value) = self.reader.next(&mut self.input)? {
                self.take(value)?;
            }
            self.input.reserve(LEAST_ROOM);
            // Only now does it show how much room there is in all.
            if self.input.is_empty() && self.input.capacity() > KEPT_ROOM {
                self.input = BytesMut::with_capacity(LEAST_ROOM);
            }
            let read = pin!(self.stream.read_buf(&mut self.input));
            if ready!(read.poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn take(&mut self, value: Value) -> RedisResult<()> {
        let value = match pushed(value, self.shared.is_subscribed.load(Relaxed)) {
            Ok(push) => {
                (self.hear)(push);
                return Ok(());
            }
            Err(value) => value,
        };
        let mut state = self.shared.state.lock();
        let Some(asked) = state.asked.front_mut() else {
            // An error says, as a rule, why the connection is about to be closed.
            return Err(if let Value::ServerError(error) = value {
                error.into()
            } else {
                (ErrorKind::Parse, "an answer to no question").into()
            });
        };
        asked.replies.push(value);
        if asked.replies.len() == asked.count
            && let Some(asked) = state.asked.pop_front()
        {
            drop(state);
            asked.teller.tell(Ok(asked.replies));
        }
        Ok(())
    }
}

/// Does what asks something over a connection whose driver is no task yet.
pub async fn meanwhile<T, H: FnMut(PushInfo) + Unpin>(
    driver: &mut Driver<H>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        // Whoever asked knows.
        _ = driver => work.await,
    }
}

impl<H> Drop for Driver<H> {
    fn drop(&mut self) {
        self.shared.end(&closed());
    }
}

impl Shared {
    /// Writes what waits to be written, unless something is written before it; whether all of it was.
    fn write_here(&self) -> bool {
        let mut state = self.state.lock();
        let State {
            output,
            writer: Some(writer),
            is_writing: false,
            ..
        } = &mut *state
        else {
            return false;
        };
        let mut written = 0;
        while written < output.len() {
            match writer.write(&output[written..]) {
                Ok(count) if count > 0 => written += count,
                // The driver finds out what it is.
                Ok(_) | Err(_) => break,
            }
        }
        output.drain(..written);
        if output.capacity() > KEPT_ROOM {
            output.shrink_to(KEPT_ROOM);
        }
        output.is_empty()
    }

    /// Tells all who wait that nothing will come, and whoever asks from now on.
    fn end(&self, error: &RedisError) {
        let mut state = self.state.lock();
        state.ended.get_or_insert_with(|| error.clone());
        state.writer = None;
        state.output = Vec::new();
        let asked = std::mem::take(&mut state.asked);
        drop(state);
        for asked in asked {
            asked.teller.tell(Err(error.clone()));
        }
    }
}

impl State {
    /// Whether nobody wants anything any more.
    fn is_over(&self) -> bool {
        let nobody_waits = || self.asked.iter().all(|asked| asked.teller.is_closed());
        self.forsaken && self.output.is_empty() && nobody_waits()
    }
}

/// What nobody asked for; a reply is given back. In the older version messages are arrays like others.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's kinds of replies may grow"
)]
fn pushed(value: Value, is_subscribed: bool) -> Result<PushInfo, Value> {
    match value {
        // It answers SUBSCRIBE.
        Value::Push {
            kind: PushKind::Subscribe,
            ..
        } => Err(value),
        Value::Push { kind, data } => Ok(PushInfo { kind, data }),
        Value::Array(mut data) if is_subscribed && is_message(&data) => {
            data.remove(0);
            Ok(PushInfo {
                kind: PushKind::Message,
                data,
            })
        }
        reply => Err(reply),
    }
}

fn is_message(data: &[Value]) -> bool {
    matches!(data.first(), Some(Value::BulkString(kind)) if kind == b"message")
}

fn closed() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}

#[cfg(test)]
mod tests;
