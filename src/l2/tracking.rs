//! Hears of what other clients change: CLIENT TRACKING in its broadcasting mode, over the data connection. It is armed
//! before the first read of every connection, and proved once per endpoint: some servers and proxies answer `OK` and never
//! push. Pushes are applied by the connection's driver itself, in the order in which they and the replies came.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::oneshot;

use super::{
    Link, Listener, Setting, commands,
    handshake::{self, Refusal, Tracking},
    link::{Connection, server_text},
};
use crate::clock;

/// How long the server may take to push what proves that it does.
const PROOF_MS: u64 = 1_000;
/// How long the key that proves it lives, should nobody remove it.
const PROOF_LIFE_MS: u64 = 1_000;
/// How long a server that does not push is not asked again.
const REFUSED_MS: u64 = 3_600_000;
/// What its name begins with, after the namespace.
const PROOF_KEY: &str = "~canary";

/// What takes the pushes of one connection.
pub struct Pushes {
    link: Arc<Link>,
    listener: Arc<dyn Listener>,
    expected: Mutex<Option<(Vec<u8>, oneshot::Sender<()>)>>,
}

impl Pushes {
    /// Tells `listener` of what is pushed.
    #[must_use]
    pub fn new(link: &Arc<Link>, listener: &Arc<dyn Listener>) -> Arc<Self> {
        Arc::new(Self {
            link: Arc::clone(link),
            listener: Arc::clone(listener),
            expected: Mutex::default(),
        })
    }

    /// Takes a push; called by the driver, so that no later reply is told before.
    pub fn take(&self, push: &PushInfo) {
        if push.kind != PushKind::Invalidate {
            return;
        }
        if let [Value::Array(keys)] = push.data.as_slice() {
            let keys: Vec<&[u8]> = keys.iter().filter_map(key).collect();
            self.compare(&keys);
            self.listener.changed(&keys);
        } else {
            // The database was flushed.
            self.link.note_loss();
            self.listener.missed(Some(&self.link));
        }
    }

    /// Looks for the key that proves that the server pushes.
    fn compare(&self, keys: &[&[u8]]) {
        let mut expected = self.expected.lock();
        if expected
            .as_ref()
            .is_some_and(|(key, _)| keys.contains(&key.as_slice()))
            && let Some((_, proved)) = expected.take()
        {
            let _ = proved.send(());
        }
    }

    fn expect(&self, key: Vec<u8>) -> oneshot::Receiver<()> {
        let (proved, proof) = oneshot::channel();
        *self.expected.lock() = Some((key, proved));
        proof
    }
}

fn track(prefix: &str, own_too: bool) -> Cmd {
    let mut cmd = redis::cmd("CLIENT");
    cmd.arg("TRACKING").arg("ON").arg("BCAST");
    if !prefix.is_empty() {
        cmd.arg("PREFIX").arg(prefix);
    }
    if !own_too {
        cmd.arg("NOLOOP");
    }
    cmd
}

/// Has the server tell of changes in the namespace from now on; why it does not, if it does not. What is found out about
/// the server is remembered in `known`.
///
/// # Errors
/// If the connection does not answer.
pub async fn arm(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    known: &mut Tracking,
) -> Result<Option<String>, Refusal> {
    let Some(pushes) = connection.pushes.clone() else {
        return Ok(Some("the server speaks no RESP3".to_owned()));
    };
    if let Tracking::Refused(why, until) = &*known
        && clock::now() < *until
    {
        return Ok(Some(why.clone()));
    }
    let prefix = setting.config.prefix.as_str();
    let mut on = redis::pipe();
    let mut silent = false;
    if *known != Tracking::Pushes {
        let key = format!("{}:{}", link.own_key(prefix, PROOF_KEY), fastrand::u64(..));
        let key = key.into_bytes();
        match prove(link, setting, connection, &pushes, &key).await? {
            Proof::Seen => *known = Tracking::Pushes,
            Proof::Refused(why) => return Ok(Some(known.refuse(why))),
            Proof::Silent => silent = true,
            // It takes no writes at the moment. What it pushes then is of no key but those that expire.
            Proof::Impossible => (),
        }
        on.add_command(off()).add_command(commands::unlink(&[key]));
    }
    if !silent {
        on.add_command(track(prefix, false));
    }
    let replies = handshake::exchange(link, setting, connection, &on).await?;
    // Nobody needs the key any more; whether it could be removed is all the same.
    let refused = if silent {
        Some("the server accepted CLIENT TRACKING and does not push".to_owned())
    } else {
        replies.last().and_then(refusal)
    };
    Ok(refused.map(|why| known.refuse(why)))
}

impl Tracking {
    /// Remembers that the server does not push, and says why.
    fn refuse(&mut self, why: String) -> String {
        *self = Self::Refused(why.clone(), clock::now() + REFUSED_MS);
        why
    }
}

/// Has the server tell of nothing.
#[must_use]
pub fn off() -> Cmd {
    let mut cmd = redis::cmd("CLIENT");
    cmd.arg("TRACKING").arg("OFF");
    cmd
}

enum Proof {
    Seen,
    Refused(String),
    Silent,
    Impossible,
}

/// Changes a key with tracking on for own changes too.
async fn prove(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    pushes: &Pushes,
    key: &[u8],
) -> Result<Proof, Refusal> {
    let prefix = setting.config.prefix.as_str();
    let proof = pushes.expect(key.to_vec());
    let set = commands::set(key, b"", Some(PROOF_LIFE_MS), None);
    let mut pipeline = redis::pipe();
    pipeline.add_command(track(prefix, true)).add_command(set);
    let sent_at = clock::now();
    let replies = handshake::exchange(link, setting, connection, &pipeline).await?;
    let [tracking, written] = replies.as_slice() else {
        return Ok(Proof::Refused("no answer to CLIENT TRACKING".to_owned()));
    };
    if let Some(why) = refusal(tracking) {
        return Ok(Proof::Refused(why));
    }
    if refusal(written).is_some() {
        return Ok(Proof::Impossible);
    }
    let seen = tokio::time::timeout(Duration::from_millis(PROOF_MS), proof).await;
    Ok(if seen.is_ok_and(|seen| seen.is_ok()) {
        let lag = clock::now().saturating_sub(sent_at);
        link.status.lock().hearing.lag_ms = Some(lag);
        Proof::Seen
    } else {
        Proof::Silent
    })
}

/// Why tracking was refused, if it was.
fn refusal(reply: &Value) -> Option<String> {
    let Value::ServerError(error) = reply else {
        return None;
    };
    let text = server_text(error);
    Some(format!("CLIENT TRACKING was refused: {text}"))
}

fn key(value: &Value) -> Option<&[u8]> {
    let Value::BulkString(key) = value else {
        return None;
    };
    Some(key)
}
