//! Makes a connection that is ready to use: dial, HELLO, AUTH, SELECT, and the server's own word that it is a master
//! with its data loaded. Owns the reading of what can go wrong on the way, and the hints for the operator.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::{Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};

use super::{
    Link, Question, Setting, commands,
    dialer::DialError,
    hearing::Wish,
    link::{Connection, meaning_of, server_text},
    resp,
    status::{LastError, Server},
    tracking::Pushes,
};
use crate::{
    clock,
    resilience::{
        backoff::{Class, Failure},
        classify::{Meaning, explained, meaning},
    },
};

/// How long the application may take to name credentials.
const CREDENTIALS_MS: u64 = 2_000;
/// How long a server may take to say whether it is ready.
const READY_MS: u64 = 5_000;
/// How long to wait before asking a loading server again, growing from the first to the second.
pub(super) const LOADING_MS: (u64, u64) = (100, 2_000);

/// Why there is no connection.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// How soon to try again.
    pub failure: Failure,
    /// What it was, with a hint.
    pub error: LastError,
    /// Whether the server does not know RESP3; worth another try at once with RESP2.
    pub old_protocol: bool,
}

impl Refusal {
    /// A refusal that shows by itself what it is.
    #[must_use]
    pub const fn new(class: Class, error: LastError) -> Self {
        Self {
            failure: Failure::Of(class),
            error,
            old_protocol: false,
        }
    }
}

impl From<DialError> for Refusal {
    fn from(error: DialError) -> Self {
        let message = match error.hint {
            Some(hint) => format!("{} ({hint})", error.message),
            None => error.message,
        };
        let unknown_host = error.code == "ENOTFOUND";
        let mut refusal = Self::new(error.class, LastError::new(error.code, message));
        if unknown_host {
            refusal.failure = Failure::UnknownHost;
        }
        refusal
    }
}

/// What is remembered from one try to the next.
#[derive(Default)]
pub struct Memory {
    /// The address that answered last.
    pub last_good: Option<IpAddr>,
    /// What is known of the server's pushes of what others change.
    pub tracking: Tracking,
    /// The last credentials the application named.
    credentials: Option<Credentials>,
}

/// What is known of a server's pushes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tracking {
    /// Nothing.
    #[default]
    Unknown,
    /// It was seen to push.
    Pushes,
    /// It does not, for this reason; worth another try at this time.
    Refused(String, u64),
}

#[derive(Clone, serde::Deserialize)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

/// Connects and shakes hands. The caller bounds the time; dropping the future closes the socket.
///
/// # Errors
/// Why there is no connection, and of which class that is.
pub async fn connect(
    link: &Arc<Link>,
    setting: &Setting,
    memory: &mut Memory,
    protocol: ProtocolVersion,
    allowance: Duration,
) -> Result<Connection, Refusal> {
    let info = connection_info(setting, memory, protocol).await;
    // What is left of the allowance is for HELLO, and for telling what took so long.
    let dialed = setting.dial.dial(&mut memory.last_good, allowance * 4 / 5);
    let dialed = dialed.await?;
    link.status.lock().endpoint.clone_from(&dialed.endpoint);
    for warning in &*dialed.warnings {
        tracing::debug!(cache = link.cache, event = "tls", "Redis TLS: {warning}");
    }
    let hears = protocol == ProtocolVersion::RESP3 && Wish::of(&setting.config).tracks();
    let pushes = hears.then(|| Pushes::new(link, &setting.listener));
    let hear = pushes.clone();
    let (redis, mut driver) = resp::speak(dialed.stream, dialed.writer, move |push| {
        if let Some(pushes) = &hear {
            pushes.take(&push);
        }
    });
    count_greeting(link, setting, &info);
    let greeted = resp::meanwhile(&mut driver, resp::greet(&redis, &info)).await;
    greeted.map_err(|error| refusal(&error, protocol, setting.redis.tls.is_some()))?;
    link.status.lock().connections = 1;
    Ok(Connection {
        redis,
        driver: resp::Task::spawn(driver),
        activity: dialed.activity,
        reset: dialed.reset,
        overloaded: false,
        quota_spent: None,
        pushes,
        protocol,
        subscribes: false,
        untracked: None,
    })
}

/// Counts what says who we are: HELLO, which holds the password, or AUTH; and SELECT.
pub(super) fn count_greeting(link: &Link, setting: &Setting, info: &RedisConnectionInfo) {
    let greets = info.protocol() == ProtocolVersion::RESP3 || info.password().is_some();
    let sent = u64::from(greets) + u64::from(setting.redis.db != 0);
    link.counters.l2_commands.fetch_add(sent, Relaxed);
}

pub(super) async fn connection_info(
    setting: &Setting,
    memory: &mut Memory,
    protocol: ProtocolVersion,
) -> RedisConnectionInfo {
    let redis = &setting.redis;
    if redis.credentials {
        let answer = setting.application.ask(Question::Credentials);
        let answer = tokio::time::timeout(Duration::from_millis(CREDENTIALS_MS), answer).await;
        if let Ok(Ok(json)) = answer
            && let Ok(credentials) = serde_json::from_str::<Credentials>(&json)
        {
            memory.credentials = Some(credentials);
        }
    }
    let fixed = Credentials {
        username: redis.username.clone(),
        password: redis
            .password
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
    };
    let Credentials { username, password } = memory.credentials.clone().unwrap_or(fixed);
    let mut info = RedisConnectionInfo::default()
        .set_db(redis.db)
        .set_protocol(protocol);
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password);
    }
    info
}

/// Asks the server what it is, until it has loaded its data. The caller bounds the time.
///
/// # Errors
/// If it is a replica, or stops answering.
pub async fn ready(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
) -> Result<(), Refusal> {
    let mut pause = LOADING_MS.0;
    let mut named = false;
    loop {
        let server = ask_server(
            link,
            setting,
            connection,
            !std::mem::replace(&mut named, true),
        )
        .await?;
        // A cluster tells by its slots who serves.
        if server.replica && !server.cluster {
            let text = "the server is a replica: connect to its master (was there a failover?)";
            return Err(Refusal::new(Class::Role, LastError::new("READONLY", text)));
        }
        let loading = server.loading;
        link.status.lock().server = server;
        if !loading {
            return Ok(());
        }
        connection.overloaded = true;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        pause = (pause * 2).min(LOADING_MS.1);
    }
}

async fn ask_server(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    name: bool,
) -> Result<Server, Refusal> {
    let mut pipeline = redis::pipe();
    if let Some(name) = setting.redis.connection_name.as_ref().filter(|_| name) {
        pipeline.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    let asks = setting.redis.ready_check || setting.sentinels.is_some();
    pipeline.cmd(if asks { "INFO" } else { "PING" });
    match exchange(link, setting, connection, &pipeline).await?.pop() {
        Some(Value::ServerError(error)) => {
            let text = server_text(&error);
            let refused = |class| {
                let error = LastError::new(error.code(), explained(error.code(), &text));
                Err(Refusal::new(class, error))
            };
            match meaning_of(&error) {
                Meaning::NotReady => Ok(Server {
                    loading: true,
                    ..Server::default()
                }),
                Meaning::Credentials => refused(Class::Configuration),
                Meaning::Capacity => refused(Class::Capacity),
                // It answers, and each further try may be billed: the link is kept, and left alone.
                Meaning::Quota => {
                    connection.quota_spent = Some(text);
                    Ok(Server::default())
                }
                Meaning::Role => refused(Class::Role),
                // INFO is not allowed or not known here: the server answers, that must do.
                Meaning::Forbidden
                | Meaning::DeletesOnly
                | Meaning::NoWrites
                | Meaning::Setup
                | Meaning::OldProtocol
                | Meaning::WrongType
                | Meaning::Elsewhere
                | Meaning::Caller => Ok(Server::default()),
            }
        }
        Some(value) => {
            let text = commands::bytes(value).unwrap_or_default();
            let mut status = link.status.lock();
            status.last_ping = Some(clock::unix());
            status.info = String::from_utf8_lossy(&text).into_owned();
            Ok(Server::parse(&status.info, setting.redis.db))
        }
        None => Err(Refusal::new(
            Class::Transient,
            LastError::new("EPROTO", "no answer"),
        )),
    }
}

/// Asks something of a connection that is not in use yet.
///
/// # Errors
/// If it does not answer in time, or breaks.
pub(super) async fn exchange(
    link: &Link,
    setting: &Setting,
    connection: &mut Connection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, Refusal> {
    let count = pipeline.len();
    link.counters.l2_commands.fetch_add(count as u64, Relaxed);
    let replies = connection.redis.send(pipeline);
    let Ok(replies) = tokio::time::timeout(Duration::from_millis(READY_MS), replies).await else {
        let text = format!(
            "connected, but the server did not say within {READY_MS} ms whether it is ready"
        );
        return Err(Refusal::new(
            Class::Transient,
            LastError::new("ETIMEDOUT", text),
        ));
    };
    replies.map_err(|error| refusal(&error, ProtocolVersion::RESP2, setting.redis.tls.is_some()))
}

/// What an error of a live connection says, with a hint where one helps.
#[must_use]
pub fn describe(error: &RedisError) -> LastError {
    describe_io(error, DialError::of)
}

fn describe_io(error: &RedisError, of_io: impl Fn(&io::Error) -> DialError) -> LastError {
    if let Some(code) = error.code() {
        let text = format!("{code} {}", error.detail().unwrap_or_default());
        return LastError::new(code, explained(code, text.trim_end()));
    }
    let text = error.to_string();
    if text.contains("authentication failed") {
        return LastError::new("WRONGPASS", explained("WRONGPASS", &text));
    }
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(source) = source {
        return Refusal::from(of_io(source)).error;
    }
    if error.is_connection_dropped() {
        return Refusal::from(of_io(&io::ErrorKind::UnexpectedEof.into())).error;
    }
    let hint = "the answer is not Redis' protocol: is this the right port?";
    let first_line = text.lines().next().unwrap_or_default();
    LastError::new("EPROTO", format!("{first_line} ({hint})"))
}

pub(super) fn refusal(error: &RedisError, protocol: ProtocolVersion, tls: bool) -> Refusal {
    let described = describe_io(error, |error| DialError::of_first_exchange(error, tls));
    let text = described.message.as_str();
    let meaning = meaning(&described.code, text);
    let class = match meaning {
        Meaning::Credentials | Meaning::Forbidden | Meaning::Setup => Class::Configuration,
        Meaning::Capacity | Meaning::Quota => Class::Capacity,
        Meaning::Role => Class::Role,
        Meaning::NotReady
        | Meaning::DeletesOnly
        | Meaning::NoWrites
        | Meaning::OldProtocol
        | Meaning::WrongType
        | Meaning::Elsewhere
        | Meaning::Caller => Class::Transient,
    };
    let cut_short = class == Class::Transient && described.code == "ECONNRESET";
    Refusal {
        failure: if cut_short {
            Failure::CutShort
        } else {
            Failure::Of(class)
        },
        old_protocol: meaning == Meaning::OldProtocol && protocol == ProtocolVersion::RESP3,
        error: described,
    }
}
