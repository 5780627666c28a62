//! Asks a server something over a connection of its own, for those who look for the servers: sentinels and nodes of a
//! cluster.

use std::{sync::Arc, time::Duration};

use redis::{Pipeline, ProtocolVersion, RedisConnectionInfo, Value};
use tokio::time::timeout;

use super::{
    dialer::{self, Dialed},
    handshake::{Refusal, refusal},
    resp,
    status::LastError,
    tls::TlsContext,
};
use crate::{
    config::{Endpoint, Redis},
    resilience::backoff::Class,
};

/// Whom to be at servers that are asked, and how to reach them.
pub struct Asker {
    /// How sockets are made.
    pub redis: Arc<Redis>,
    /// How to secure them.
    pub tls: Option<Arc<TlsContext>>,
}

impl Asker {
    /// A connection to `endpoint` on which nothing was said yet.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial(&self, endpoint: &Endpoint, allowance: Duration) -> Result<Dialed, Refusal> {
        let (tls, mut last_good) = (self.tls.as_deref(), None);
        let dialed = dialer::dial_within(&self.redis, endpoint, tls, &mut last_good, allowance);
        Ok(dialed.await?)
    }

    /// The answers of `endpoint` to the commands, within `allowance`.
    ///
    /// # Errors
    /// If there is no connection, or no answer in time.
    pub async fn ask(
        &self,
        endpoint: &Endpoint,
        info: &RedisConnectionInfo,
        commands: &Pipeline,
        allowance: Duration,
    ) -> Result<Vec<Value>, Refusal> {
        let asked = async {
            let dialed = self.dial(endpoint, allowance).await?;
            let (redis, mut driver) = resp::speak(dialed.stream, None, drop);
            let asking = async {
                resp::greet(&redis, info).await?;
                redis.send(commands).await
            };
            let replies = resp::meanwhile(&mut driver, asking).await;
            replies.map_err(|error| refusal(&error, ProtocolVersion::RESP2, self.tls.is_some()))
        };
        timeout(allowance, asked)
            .await
            .unwrap_or_else(|_| Err(unanswered(endpoint)))
    }
}

fn unanswered(endpoint: &Endpoint) -> Refusal {
    let text = format!("{endpoint} does not answer");
    Refusal::new(Class::Transient, LastError::new("ETIMEDOUT", text))
}
