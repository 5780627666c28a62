//! Makes one socket that is ready for the Redis protocol: DNS, TCP or a socket in the file system, TLS. Never more than
//! one socket is open at a time, since hosted servers limit and bill connections: where others race all addresses of a
//! name, here they are tried one after the other, first briefly, then with all the time there is.

mod addresses;
mod causes;
mod fault;
pub(super) mod socket;

use std::{
    collections::VecDeque,
    fmt,
    future::ready,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

pub use self::{
    fault::DialError,
    socket::{Activity, ResetHandle, ResetOnDrop, Transport, Writer},
};
use self::{
    fault::Step,
    socket::{Resettable, Socket, Tcp, connect_path, tune},
};
use super::tls::{Handshake, TlsContext};
use crate::{
    config::{Endpoint, Redis},
    resilience::backoff::Class,
};

/// How long an address may take to accept in the first pass, if there are others.
const FIRST_PASS: Duration = Duration::from_millis(300);

/// A connection on which nothing was said yet.
pub struct Dialed {
    /// What the protocol is spoken over. Dropping it closes the socket.
    pub stream: Box<dyn Transport>,
    /// Writes to it past the stream, where that is the same.
    pub writer: Option<Writer>,
    /// What went over it.
    pub activity: Arc<Activity>,
    /// How it ends.
    pub reset: ResetHandle,
    /// Whom it is to.
    pub endpoint: String,
    /// What could not be read of the authorities to trust.
    pub warnings: Arc<[String]>,
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Where the server is at the moment.
pub trait Locate: Send + Sync {
    /// The endpoint to connect to, found within `allowance`.
    fn locate(&self, allowance: Duration) -> BoxFuture<'_, Result<Endpoint, DialError>>;
}

impl Locate for Endpoint {
    fn locate(&self, _allowance: Duration) -> BoxFuture<'_, Result<Endpoint, DialError>> {
        ready(Ok(self.clone())).boxed()
    }
}

/// Makes sockets. [`Network`] is the real one; tests speak for a server of their own.
pub trait Dial: Send + Sync {
    /// As [`dial_within`], whose `last_good` and `allowance` these are.
    fn dial<'a>(
        &'a self,
        last_good: &'a mut Option<IpAddr>,
        allowance: Duration,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;
}

/// Dials whatever is at a place.
pub struct Network {
    /// How.
    pub redis: Arc<Redis>,
    /// How to secure it.
    pub tls: Option<Arc<TlsContext>>,
    /// Where to.
    pub place: Arc<dyn Locate>,
}

impl Dial for Network {
    fn dial<'a>(
        &'a self,
        last_good: &'a mut Option<IpAddr>,
        allowance: Duration,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        async move {
            let until = Instant::now() + allowance;
            let endpoint = self.place.locate(allowance).await?;
            let left = until.saturating_duration_since(Instant::now());
            dial_within(&self.redis, &endpoint, self.tls.as_deref(), last_good, left).await
        }
        .boxed()
    }
}

/// Connects to the endpoint, and gives up when `allowance` is over, so that the error can say what took so long.
/// `last_good` is the address to try first, and becomes the one that answered. May be cancelled, which closes the
/// socket that is being opened.
///
/// # Errors
/// Why there is no connection: of several addresses' reasons the one that tells most.
pub async fn dial_within(
    redis: &Redis,
    endpoint: &Endpoint,
    tls: Option<&TlsContext>,
    last_good: &mut Option<IpAddr>,
    allowance: Duration,
) -> Result<Dialed, DialError> {
    let dialer = Dialer {
        redis,
        tls,
        until: Instant::now() + allowance,
    };
    let result = match endpoint {
        Endpoint::Unix(path) => dialer.dial_path(path).await,
        Endpoint::Tcp { host, port } => dialer.dial_host(host, *port, last_good).await,
    };
    if let (Some(tls), Err(error)) = (tls, &result)
        && error.class == Class::Configuration
    {
        tls.forget();
    }
    let warnings = tls.map(TlsContext::warnings);
    result
        .map(|dialed| Dialed {
            endpoint: endpoint.to_string(),
            warnings: warnings.unwrap_or_default(),
            ..dialed
        })
        .map_err(|error| error.at(endpoint))
}

/// What is the same for every address.
struct Dialer<'a> {
    redis: &'a Redis,
    tls: Option<&'a TlsContext>,
    until: Instant,
}

impl Dialer<'_> {
    async fn dial_path(&self, path: &Path) -> Result<Dialed, DialError> {
        let handshake = self.prepare("localhost").await?;
        let stream = timed(Step::Connect, self.until, connect_path(path)).await?;
        let stream = stream.map_err(|error| DialError::of(&error))?;
        secure(Socket::new(stream), handshake.as_ref(), self.until).await
    }

    async fn dial_host(
        &self,
        host: &str,
        port: u16,
        last_good: &mut Option<IpAddr>,
    ) -> Result<Dialed, DialError> {
        let handshake = self.prepare(host).await?;
        let found = timed(Step::LookUp, self.until, addresses::look_up(host, port)).await?;
        let found = found.map_err(|error| DialError::of_lookup(host, &error))?;
        if found.is_empty() {
            return Err(DialError::unknown_host(host));
        }
        let ordered = addresses::order(found, self.redis.family, *last_good);
        if ordered.is_empty() {
            return Err(DialError::no_such_family(host));
        }
        let dialed = self.try_all(&ordered, handshake.as_ref()).await?;
        *last_good = Some(dialed.0.ip());
        Ok(dialed.1)
    }

    /// The TLS part that needs no socket.
    async fn prepare(&self, host: &str) -> Result<Option<Handshake>, DialError> {
        let Some(tls) = self.tls else {
            return Ok(None);
        };
        let made = timed(Step::Secure, self.until, tls.handshake(host)).await?;
        made.map(Some).map_err(|error| DialError::of(&error))
    }

    /// Two passes. In the first each of several addresses has [`FIRST_PASS`] to accept; the second is for those that
    /// were too slow then, and shares what time is left among them. What fails outright is not tried again.
    async fn try_all(
        &self,
        addresses: &[SocketAddr],
        handshake: Option<&Handshake>,
    ) -> Result<(SocketAddr, Dialed), DialError> {
        let several = addresses.len() > 1;
        let mut queue: VecDeque<_> = addresses
            .iter()
            .map(|address| (*address, several))
            .collect();
        let mut failures = Vec::new();
        while let Some((address, brief)) = queue.pop_front() {
            let now = Instant::now();
            let left = u32::try_from(queue.len() + 1).unwrap_or(u32::MAX);
            let until = now + self.until.saturating_duration_since(now) / left;
            let accept_until = if brief {
                until.min(now + FIRST_PASS)
            } else {
                until
            };
            match self.try_one(address, handshake, accept_until, until).await {
                Ok(dialed) => return Ok((address, dialed)),
                Err(error) if brief && error == DialError::slow(Step::Connect) => {
                    queue.push_back((address, false));
                }
                Err(error) => failures.push((address, error)),
            }
        }
        Err(DialError::of_all(&failures))
    }

    async fn try_one(
        &self,
        address: SocketAddr,
        handshake: Option<&Handshake>,
        accept_until: Instant,
        until: Instant,
    ) -> Result<Dialed, DialError> {
        let stream = timed(Step::Connect, accept_until, TcpStream::connect(address)).await?;
        let stream = stream.map_err(|error| DialError::of(&error))?;
        tune(&stream, self.redis.keep_alive);
        secure(Socket::new(Tcp::new(stream)), handshake, until).await
    }
}

async fn timed<T>(
    step: Step,
    until: Instant,
    work: impl Future<Output = T>,
) -> Result<T, DialError> {
    timeout_at(until, work)
        .await
        .map_err(|_| DialError::slow(step))
}

async fn secure<S: Resettable>(
    socket: Socket<S>,
    handshake: Option<&Handshake>,
    until: Instant,
) -> Result<Dialed, DialError> {
    let (activity, reset) = (socket.activity(), socket.reset());
    let writer = socket.writer().filter(|_| handshake.is_none());
    let stream: Box<dyn Transport> = match handshake {
        Some(handshake) => {
            let secured = timed(Step::Secure, until, handshake.over(socket)).await?;
            Box::new(secured.map_err(|error| DialError::of_tls_handshake(&error))?)
        }
        None => Box::new(socket),
    };
    Ok(Dialed {
        stream,
        writer,
        activity,
        reset,
        endpoint: String::new(),
        warnings: Arc::default(),
    })
}

/// A connection to a server that a test speaks for.
#[cfg(test)]
pub(super) fn dialed_in_memory(stream: impl Resettable) -> Dialed {
    let socket = Socket::new(stream);
    Dialed {
        activity: socket.activity(),
        reset: socket.reset(),
        writer: None,
        stream: Box::new(socket),
        endpoint: "memory".to_owned(),
        warnings: Arc::default(),
    }
}

#[cfg(test)]
mod tests;
