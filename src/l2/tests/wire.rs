//! A wire that breaks after so many bytes in one direction, in one of the ways in which wires do.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::l2::dialer::socket::Resettable;

/// How a wire breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The other side has closed.
    Cut,
    /// The other side has reset the connection.
    Reset,
    /// Nothing passes any more, in neither direction, and nobody is told.
    Stall,
}

/// Which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Those to the server.
    Up,
    /// Those to the client.
    Down,
}

/// Where and how a wire breaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Break {
    pub(super) way: Way,
    pub(super) after: usize,
    pub(super) ending: Ending,
}

/// Bytes that passed.
#[derive(Default)]
pub(super) struct Passed {
    up: AtomicUsize,
    down: AtomicUsize,
}

impl Passed {
    pub(super) fn of(&self, way: Way) -> usize {
        self.counter(way).load(Relaxed)
    }

    fn counter(&self, way: Way) -> &AtomicUsize {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

/// The client's ends of connections that are there, and the most there have been at once.
#[derive(Default)]
pub(super) struct Sockets {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Sockets {
    pub(super) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }
}

/// The client's end of a connection.
pub(super) struct Wire {
    stream: DuplexStream,
    breaks: Option<Break>,
    passed: Arc<Passed>,
    sockets: Arc<Sockets>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.sockets.open.fetch_sub(1, Relaxed);
    }
}

impl Wire {
    pub(super) fn new(
        stream: DuplexStream,
        breaks: Option<Break>,
        passed: Arc<Passed>,
        sockets: Arc<Sockets>,
    ) -> Self {
        let open = sockets.open.fetch_add(1, Relaxed) + 1;
        sockets.most.fetch_max(open, Relaxed);
        Self {
            stream,
            breaks,
            passed,
            sockets,
        }
    }

    /// How many bytes may still pass that way.
    fn left(&self, way: Way) -> usize {
        match self.breaks {
            Some(at) if self.is_broken(at) => 0,
            Some(at) if at.way == way => at.after - self.passed.of(way),
            Some(_) | None => usize::MAX,
        }
    }

    fn is_broken(&self, at: Break) -> bool {
        self.passed.of(at.way) >= at.after
    }

    /// What somebody is told who uses the wire after it broke: `closed`, where it was closed.
    fn ended<T>(&self, closed: io::Result<T>) -> Poll<io::Result<T>> {
        match self.breaks.map(|at| at.ending) {
            Some(Ending::Cut) => Poll::Ready(closed),
            Some(Ending::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(Ending::Stall) | None => Poll::Pending,
        }
    }
}

impl Resettable for Wire {
    fn reset_on_drop(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.left(Way::Down).min(buf.remaining());
        if most == 0 {
            return self.ended(Ok(()));
        }
        let mut bytes = vec![0; most];
        let mut some = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut some);
        buf.put_slice(some.filled());
        self.passed.down.fetch_add(some.filled().len(), Relaxed);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.left(Way::Up).min(data.len());
        if most == 0 {
            return self.ended(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &data[..most]))?;
        self.passed.up.fetch_add(count, Relaxed);
        let ends = self.breaks.filter(|at| at.ending != Ending::Stall);
        if ends.is_some_and(|at| self.is_broken(at)) {
            // The server hangs up at that, and so whoever reads is woken.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
