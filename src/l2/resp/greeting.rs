//! What is said first on a connection: which version of the protocol, who we are, and which database.

use redis::{Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, Value};

use super::Client;
use crate::{
    l2::{
        commands,
        link::{meaning_of, server_text},
    },
    resilience::classify::Meaning,
};

/// Says HELLO, which holds the password, or AUTH; and SELECT.
///
/// # Errors
/// What the server refuses, or why it does not answer.
pub async fn greet(client: &Client, info: &RedisConnectionInfo) -> RedisResult<()> {
    match greet_as(client, info, info.username()).await {
        // Before version 6 there are no users.
        Err(error) if is_without_users(&error) => greet_as(client, info, None).await,
        greeted => greeted,
    }
}

async fn greet_as(
    client: &Client,
    info: &RedisConnectionInfo,
    username: Option<&str>,
) -> RedisResult<()> {
    let selected = (info.db() != 0).then(|| select(info.db()));
    let said = introduction(info, username).into_iter().chain(selected);
    // They go out together.
    let answers: Vec<_> = said.map(|cmd| say(client, &cmd)).collect();
    for answer in answers {
        answer.await?;
    }
    Ok(())
}

fn introduction(info: &RedisConnectionInfo, username: Option<&str>) -> Option<Cmd> {
    if info.protocol() != ProtocolVersion::RESP3 {
        let mut auth = redis::cmd("AUTH");
        auth.arg(username).arg(info.password()?);
        return Some(auth);
    }
    let mut hello = redis::cmd("HELLO");
    hello.arg(3);
    if let Some(password) = info.password() {
        let username = username.unwrap_or("default");
        hello.arg("AUTH").arg(username).arg(password);
    }
    Some(hello)
}

fn select(db: i64) -> Cmd {
    let mut select = redis::cmd("SELECT");
    select.arg(db);
    select
}

/// Sends a command at once; resolves when it was carried out.
fn say(client: &Client, cmd: &Cmd) -> impl Future<Output = RedisResult<()>> + use<> {
    let is_auth = commands::words(cmd).first() == Some(&&b"AUTH"[..]);
    let mut alone = redis::pipe();
    alone.add_command(cmd.clone());
    let replies = client.send(&alone);
    async move {
        let Some(Value::ServerError(error)) = replies.await?.pop() else {
            return Ok(());
        };
        // What old servers say of a password has no word of its own.
        if is_auth && meaning_of(&error) == Meaning::Caller {
            let text = server_text(&error);
            let kind = ErrorKind::AuthenticationFailed;
            return Err((kind, "Password authentication failed", text).into());
        }
        Err(error.into())
    }
}

fn is_without_users(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.kind() == ErrorKind::AuthenticationFailed
        && detail.contains("wrong number of arguments for 'auth' command")
}
