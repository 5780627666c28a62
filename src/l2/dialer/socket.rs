//! One socket to the server: its options, what it counts, and how it ends. Owns nothing above bytes.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::clock;

/// An idle link is probed after this long at the latest; managed services and NAT drop idle ones after 60 s and more.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged: keepalive does not probe while some are.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the Redis protocol is spoken over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// What went over one socket, TLS included; shared by the link and its socket.
#[derive(Debug)]
pub struct Activity {
    last_rx: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            last_rx: AtomicU64::new(clock::now()),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    /// When the last byte came in, on [`clock::now`]; at first, when the connection was made.
    #[must_use]
    pub fn last_rx(&self) -> u64 {
        self.last_rx.load(Relaxed)
    }

    /// How many bytes came in.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    /// How many bytes went out to the system's buffer.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    fn received(&self, count: usize) {
        if count > 0 {
            self.last_rx.store(clock::now(), Relaxed);
            self.bytes_in.fetch_add(count as u64, Relaxed);
        }
    }

    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &result {
            self.bytes_out.fetch_add(*count as u64, Relaxed);
        }
        result
    }
}

/// Decides how the socket ends when its stream is dropped: closed, or reset after [`ResetHandle::abort`]. It may outlive
/// the stream and keeps no descriptor open.
#[derive(Debug, Clone)]
pub struct ResetHandle(Arc<AtomicBool>);

impl ResetHandle {
    /// Lets the drop of the stream send RST and throw away what was not sent, so that a write that is given up cannot
    /// be applied after the network heals. Does nothing for sockets in the file system, which have no network between.
    pub fn abort(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Resets a socket whose use was cancelled before anybody kept it.
pub struct ResetOnDrop(Option<ResetHandle>);

impl ResetOnDrop {
    /// For the socket of this handle.
    #[must_use]
    pub fn new(handle: &ResetHandle) -> Self {
        Self(Some(handle.clone()))
    }

    /// The socket is kept.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// A stream that can be told to end with a reset.
pub(in crate::l2) trait Resettable: Transport + 'static {
    fn reset_on_drop(&self);

    /// The socket, where anybody may write to it.
    fn shared(&self) -> Option<&Arc<TcpStream>> {
        None
    }
}

/// A socket of TCP, to which anybody may write at any time.
pub(in crate::l2) struct Tcp(Arc<TcpStream>);

impl Tcp {
    pub(in crate::l2) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}

impl Resettable for Tcp {
    fn reset_on_drop(&self) {
        // It fails only on a socket that is already dead, which has nothing left to reset.
        let _ = self.0.set_zero_linger();
    }

    fn shared(&self) -> Option<&Arc<TcpStream>> {
        Some(&self.0)
    }
}

/// Writes to a socket from any thread, past its stream, as long as that is there.
pub struct Writer {
    socket: Weak<TcpStream>,
    activity: Arc<Activity>,
}

impl Writer {
    /// Writes as much as the socket takes now; how many bytes that were.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing, or what is wrong with it.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.socket.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let count = socket.try_write(bytes)?;
        self.activity.bytes_out.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

#[cfg(unix)]
impl Resettable for tokio::net::UnixStream {
    fn reset_on_drop(&self) {}
}

/// A stream that counts, and ends as its [`ResetHandle`] says.
pub(in crate::l2) struct Socket<S: Resettable> {
    stream: S,
    activity: Arc<Activity>,
    reset: Arc<AtomicBool>,
}

impl<S: Resettable> Socket<S> {
    pub(in crate::l2) fn new(stream: S) -> Self {
        Self {
            stream,
            activity: Arc::new(Activity::new()),
            reset: Arc::default(),
        }
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// What writes to it past this stream, if anything may.
    pub(in crate::l2) fn writer(&self) -> Option<Writer> {
        Some(Writer {
            socket: Arc::downgrade(self.stream.shared()?),
            activity: self.activity(),
        })
    }

    pub(super) fn reset(&self) -> ResetHandle {
        ResetHandle(Arc::clone(&self.reset))
    }
}

impl<S: Resettable> Drop for Socket<S> {
    fn drop(&mut self) {
        if self.reset.load(Relaxed) {
            self.stream.reset_on_drop();
        }
    }
}

impl<S: Resettable> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.activity.received(buf.filled().len() - before);
        result
    }
}

impl<S: Resettable> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(unix)]
pub(super) async fn connect_path(path: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(path).await
}

#[cfg(not(unix))]
pub(super) async fn connect_path(_path: &Path) -> io::Result<Tcp> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets the options that find a dead peer. A system that knows one of them not works all the same, so failures are
/// passed over; the link has deadlines of its own.
pub(super) fn tune(stream: &TcpStream, keep_alive: Option<Duration>) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    if let Some(bound) = keep_alive {
        let keep_alive = TcpKeepalive::new()
            .with_time(bound.clamp(Duration::from_secs(1), KEEP_ALIVE_IDLE))
            .with_interval(KEEP_ALIVE_INTERVAL)
            .with_retries(KEEP_ALIVE_PROBES);
        let _ = socket.set_tcp_keepalive(&keep_alive);
    }
    set_user_timeout(&socket);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &SockRef<'_>) {
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_socket: &SockRef<'_>) {
    let _ = USER_TIMEOUT;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_options_that_find_a_dead_peer_are_set() {
        let table = [(30_000, 10), (4_000, 4), (5, 1)];
        for (given, idle) in table {
            let (stream, _server) = pair().await;
            tune(&stream, Some(Duration::from_millis(given)));
            let socket = SockRef::from(&stream);
            assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(idle)
            );
            assert_eq!(
                socket.tcp_keepalive_interval().unwrap(),
                KEEP_ALIVE_INTERVAL
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        }
        let (stream, _server) = pair().await;
        tune(&stream, None);
        assert!(!SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn bytes_are_counted_in_both_directions_and_the_last_receipt_is_noted() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (client, mut server) = pair().await;
        let mut socket = Socket::new(Tcp::new(client));
        let activity = socket.activity();
        let made = activity.last_rx();
        socket.write_all(b"PING\r\n").await.unwrap();
        assert_eq!((activity.bytes_out(), activity.last_rx()), (6, made));
        tokio::time::sleep(Duration::from_millis(5)).await;
        server.write_all(b"+PONG\r\n").await.unwrap();
        socket.read_exact(&mut [0; 7]).await.unwrap();
        assert_eq!(activity.bytes_in(), 7);
        assert!(activity.last_rx() > made);
    }

    #[tokio::test]
    async fn what_is_written_past_the_stream_is_counted_and_only_as_long_as_there_is_one() {
        use tokio::io::AsyncReadExt;

        let (client, mut server) = pair().await;
        client.writable().await.unwrap();
        let socket = Socket::new(Tcp::new(client));
        let (writer, activity) = (socket.writer().unwrap(), socket.activity());
        assert_eq!(writer.write(b"PING").unwrap(), 4);
        assert_eq!(activity.bytes_out(), 4);
        drop(socket);
        let error = writer.write(b"PING").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"PING");
    }
}
