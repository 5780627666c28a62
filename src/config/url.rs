//! Reads `redis.url`: `redis://`, `rediss://` and, for sockets in the file system, `unix://` and `redis+unix://`. What
//! it says about a bad one never holds credentials.

use percent_encoding::percent_decode_str;
use url::{Host, ParseError, Url};

use super::{Family, Secret};
use crate::error::{CacheError, Code};

const WANTED: &str = "a redis:// or rediss:// URL";
/// What goes wrong most often, when nothing else is known.
const ENCODE: &str = "characters such as # / ? @ in a password have to be percent-encoded";

/// What a URL says; what it leaves out is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: Option<i64>,
    pub(super) family: Option<Family>,
    pub(super) tls: bool,
}

/// Reads a URL as ioredis does. Of the query, `db`, `family`, `username` and `password` count where the URL's own
/// places for them are empty; anything else in it is ignored.
///
/// # Errors
/// `ERR_CACHE_OPTIONS` with the URL, its credentials struck out.
pub(super) fn parse(text: &str) -> Result<Parts, CacheError> {
    let text = text.trim();
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("redis") => of_host(text, false),
        Some("rediss") => of_host(text, true),
        Some("unix" | "redis+unix") => of_socket(text),
        Some("http" | "https") => Err(refused(
            "the REST address of a hosted Redis; take the one for Redis clients",
        )),
        Some(other) if is_scheme(other) => Err(refused(&format!("the scheme {other}://"))),
        Some(_) | None => Err(refused("a string without a scheme")),
    }
}

fn of_host(text: &str, tls: bool) -> Result<Parts, CacheError> {
    let url = Url::parse(text).map_err(|error| unparsable(text, error))?;
    // `#` in a password ends the URL for the parser: what it takes for the host is the user then.
    if url.username().is_empty()
        && [url.fragment(), url.query()]
            .iter()
            .flatten()
            .any(|rest| rest.contains('@'))
    {
        return Err(refused(&format!("{}; {ENCODE}", shown(text))));
    }
    let (username, password) = credentials(&url)?;
    Ok(Parts {
        host: host(&url)?,
        port: port(text, &url)?,
        path: None,
        username,
        password,
        db: db(&url, url.path().trim_matches('/'))?,
        family: family(&url),
        tls,
    })
}

fn of_socket(text: &str) -> Result<Parts, CacheError> {
    // A URL with a user must have a host for the parser; a socket has none.
    let hosted = text.replacen("@/", "@localhost/", 1);
    let url = Url::parse(&hosted).map_err(|error| unparsable(text, error))?;
    let path = decoded(url.path())?;
    if path.len() < 2
        || url
            .host_str()
            .is_some_and(|host| !matches!(host, "" | "localhost"))
    {
        let got = shown(text);
        return Err(refused(&format!(
            "{got}; a socket needs an absolute path, as in unix:///run/redis.sock"
        )));
    }
    let (username, password) = credentials(&url)?;
    Ok(Parts {
        path: Some(path),
        username,
        password,
        db: db(&url, "")?,
        ..Parts::default()
    })
}

fn credentials(url: &Url) -> Result<(Option<String>, Option<Secret>), CacheError> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let username = some(decoded(url.username())?).or_else(|| query(url, "username"));
    let password =
        some(decoded(url.password().unwrap_or_default())?).or_else(|| query(url, "password"));
    Ok((username, password.map(Secret::new)))
}

fn host(url: &Url) -> Result<Option<String>, CacheError> {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => decoded(name).map(Some),
        Some(Host::Domain(_)) | None => Ok(None),
        Some(Host::Ipv4(address)) => Ok(Some(address.to_string())),
        Some(Host::Ipv6(address)) => Ok(Some(address.to_string())),
    }
}

fn port(text: &str, url: &Url) -> Result<Option<u16>, CacheError> {
    match url.port() {
        Some(0) => Err(refused(&format!(
            "{}; port 0 cannot be connected to",
            shown(text)
        ))),
        port => Ok(port),
    }
}

fn db(url: &Url, path: &str) -> Result<Option<i64>, CacheError> {
    let text = match path {
        "" => query(url, "db").unwrap_or_default(),
        path => path.to_owned(),
    };
    match text.parse::<i64>() {
        Ok(db) if db >= 0 => Ok(Some(db)),
        Err(_) if text.is_empty() => Ok(None),
        Ok(_) | Err(_) => {
            let got = shown(url.as_str());
            Err(refused(&format!(
                "{got}; after the host belongs the number of a database; {ENCODE}"
            )))
        }
    }
}

fn family(url: &Url) -> Option<Family> {
    match query(url, "family").as_deref() {
        Some("4") => Some(Family::V4),
        Some("6") => Some(Family::V6),
        Some(_) | None => None,
    }
}

fn query(url: &Url, name: &str) -> Option<String> {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .filter(|value| !value.is_empty())
}

/// A `%` that encodes nothing stays, as people paste passwords as they are.
fn decoded(text: &str) -> Result<String, CacheError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| refused("one whose percent-encoding is not UTF-8"))?;
    Ok(decoded.into_owned())
}

fn unparsable(text: &str, error: ParseError) -> CacheError {
    let encode = matches!(error, ParseError::InvalidPort | ParseError::EmptyHost);
    let hint = if encode {
        ENCODE
    } else {
        "it cannot be parsed"
    };
    refused(&format!("{}; {hint}", shown(text)))
}

fn refused(got: &str) -> CacheError {
    CacheError::new(
        Code::Options,
        format!("Expected `redis.url` to be {WANTED}, got {got}"),
    )
}

fn is_scheme(text: &str) -> bool {
    text.len() <= 20
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
}

/// The URL in quotes, without all that may be secret even if it is malformed: what stands before the last `@`, the
/// query, the fragment, and what is in the place of the port but is no number.
fn shown(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = &rest[..end];
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once(':') {
        Some((host, port))
            if !port.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{host}:***")
        }
        Some(_) | None => authority.to_owned(),
    };
    format!("\"{scheme}://{user}{authority}{path}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Parts {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn hosted(host: &str) -> Parts {
        Parts {
            host: Some(host.to_owned()),
            ..Parts::default()
        }
    }

    #[test]
    fn hosts_ports_and_databases_are_read() {
        let table = [
            ("redis://localhost", hosted("localhost")),
            ("REDIS://localhost/", hosted("localhost")),
            (" redis://localhost\n", hosted("localhost")),
            ("redis://my_redis.internal", hosted("my_redis.internal")),
            ("redis://", Parts::default()),
            (
                "redis://10.0.0.1:6380/3",
                Parts {
                    port: Some(6380),
                    db: Some(3),
                    ..hosted("10.0.0.1")
                },
            ),
            (
                "redis://[::1]:6380/0",
                Parts {
                    port: Some(6380),
                    db: Some(0),
                    ..hosted("::1")
                },
            ),
            ("redis://[2001:db8::7]", hosted("2001:db8::7")),
            (
                "rediss://h.example:6390",
                Parts {
                    port: Some(6390),
                    tls: true,
                    ..hosted("h.example")
                },
            ),
            (
                "redis:///2",
                Parts {
                    db: Some(2),
                    ..Parts::default()
                },
            ),
            (
                "redis://h?db=4&family=6",
                Parts {
                    db: Some(4),
                    family: Some(Family::V6),
                    ..hosted("h")
                },
            ),
            (
                "redis://h/1?db=4&family=0",
                Parts {
                    db: Some(1),
                    ..hosted("h")
                },
            ),
            ("redis://h?ssl_cert_reqs=none&tls=true", hosted("h")),
        ];
        for (text, expected) in table {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let table = [
            ("redis://:s3cret@h", None, Some("s3cret")),
            ("redis://app:s3cret@h", Some("app"), Some("s3cret")),
            ("redis://app@h", Some("app"), None),
            ("redis://app:@h", Some("app"), None),
            (
                "redis://a%40b:p%23s%2Fs%3F%25@h",
                Some("a@b"),
                Some("p#s/s?%"),
            ),
            ("redis://:p%C3%A4ss@h", None, Some("päss")),
            ("redis://:päss@h", None, Some("päss")),
            ("redis://:100%@h", None, Some("100%")),
            ("redis://:a:b:c@h", None, Some("a:b:c")),
            ("redis://:a@b@h", None, Some("a@b")),
            (
                "redis://h?username=app&password=s3cret",
                Some("app"),
                Some("s3cret"),
            ),
            ("unix://:s3cret@/run/redis.sock", None, Some("s3cret")),
        ];
        for (text, username, password) in table {
            let parts = parts(text);
            assert_eq!(parts.username.as_deref(), username, "{text}");
            assert_eq!(
                parts.password.as_ref().map(Secret::expose),
                password,
                "{text}"
            );
        }
    }

    #[test]
    fn sockets_are_read() {
        let table = [
            ("unix:///run/redis.sock", "/run/redis.sock", None),
            (
                "redis+unix:///run/my%20redis.sock?db=2",
                "/run/my redis.sock",
                Some(2),
            ),
            (
                "redis+unix://app:pw@/run/redis.sock",
                "/run/redis.sock",
                None,
            ),
            ("unix://localhost/run/redis.sock", "/run/redis.sock", None),
        ];
        for (text, path, db) in table {
            let parts = parts(text);
            assert_eq!(
                (parts.path.as_deref(), parts.db, parts.host),
                (Some(path), db, None),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_urls_are_refused_without_their_secrets() {
        let table = [
            ("localhost:6379", "got a string without a scheme"),
            ("CANARY", "got a string without a scheme"),
            ("CANARY word://h", "got a string without a scheme"),
            ("http://default:CANARY@h", "got the REST address"),
            ("amqp://default:CANARY@h", "got the scheme amqp://"),
            ("redis://:CANARY", "got \"redis://:***\""),
            ("redis://app:CANARY", "got \"redis://app:***\""),
            ("redis://:CAN#ARY@h", "percent-encoded"),
            ("redis://:CAN/ARY@h", "percent-encoded"),
            ("redis://app#CANARY@h", "percent-encoded"),
            ("redis://app?CANARY@h", "percent-encoded"),
            ("redis://app:12/CANARY@h", "got \"redis://***@h\""),
            ("redis://:CANARY@h:99999", "got \"redis://***@h:99999\""),
            ("redis://:CANARY@h:0", "port 0"),
            (
                "redis://:CANARY@h/cache?password=CANARY",
                "got \"redis://***@h/cache\"",
            ),
            ("redis://:CANARY@h/-1", "number of a database"),
            ("redis://:CANARY@h?db=x", "number of a database"),
            ("redis://:CANARY%FF@h", "not UTF-8"),
            ("redis://:CANARY@[::1", "cannot be parsed"),
            ("unix://:CANARY@relative.sock", "absolute path"),
            ("unix://", "absolute path"),
        ];
        for (text, expected) in table {
            let error = parse(text).expect_err(text);
            assert_eq!(error.code, Code::Options);
            let start = "Expected `redis.url` to be a redis:// or rediss:// URL, got ";
            assert!(error.message.starts_with(start), "{text}: {error}");
            assert!(error.message.contains(expected), "{text}: {error}");
            assert!(
                !error.message.contains("CAN") && !error.message.contains("ARY"),
                "{text}: {error}"
            );
        }
    }
}
