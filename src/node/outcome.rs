//! Outcomes as JavaScript sees them: a kind and a value. The kinds stand in `lib/kinds.js` too.

use bytes::Bytes;
use napi::{
    Env,
    bindgen_prelude::{Array, BufferSlice, Null, Object, Result},
};
use redis::Value;

use crate::{
    cache::{As, Outcome, read::Held},
    entry::{Kind, MAX_SAFE_INTEGER, Payload},
    error::{CacheError, Code},
    l2::link::server_text,
};

/// The value itself.
const VALUE: u32 = 0;
const TEXT: u32 = Kind::Text as u32;
const BYTES: u32 = Kind::Bytes as u32;
const MANY: u32 = 6;
const ERROR: u32 = 7;
const LEAD: u32 = 8;
const FACTORY_ERROR: u32 = 9;
const REPLY: u32 = 10;
const STALE: u32 = 11;
const LOCKED: u32 = 12;
const LOADED: u32 = 13;

/// `[kind, value]` of an outcome.
pub fn pair(env: &Env, outcome: Outcome) -> Result<Array<'_>> {
    let mut array = empty(env)?;
    let kind = put(env, &mut array, 1, outcome)?;
    array.set(0, kind)?;
    Ok(array)
}

/// What stands for an outcome of which no value can be made, such as a text longer than a string can be: that must not cost
/// others their answers.
pub fn unmade() -> Outcome {
    let text = "the answer could not be turned into a JavaScript value";
    Outcome::Error(CacheError::new(Code::Internal, text))
}

fn empty(env: &Env) -> Result<Array<'_>> {
    Array::from_vec(env, Vec::<u32>::new())
}

/// Puts the value of an outcome at `at`; its kind.
pub fn put(env: &Env, array: &mut Array<'_>, at: u32, outcome: Outcome) -> Result<u32> {
    match outcome {
        Outcome::Undefined => array.set(at, ()).map(|()| VALUE),
        Outcome::Null => array.set(at, Null).map(|()| VALUE),
        Outcome::Bool(yes) => array.set(at, yes).map(|()| VALUE),
        Outcome::Number(number) => array.set(at, number).map(|()| VALUE),
        Outcome::Value(payload, want) => put_payload(env, array, at, &payload, want),
        Outcome::Many(list) => {
            let mut values = empty(env)?;
            for (payload, at) in list.into_iter().zip((0..).step_by(2)) {
                let kind = match payload {
                    Some(payload) => put_payload(env, &mut values, at + 1, &payload, As::Value)?,
                    None => put(env, &mut values, at + 1, Outcome::Undefined)?,
                };
                values.set(at, kind)?;
            }
            array.set(at, values).map(|()| MANY)
        }
        Outcome::Stale(payload, want) => {
            let pair = payload_pair(env, &payload, want)?;
            array.set(at, pair).map(|()| STALE)
        }
        Outcome::Loaded(payload, want) => {
            let pair = payload_pair(env, &payload, want)?;
            array.set(at, pair).map(|()| LOADED)
        }
        Outcome::Lead(flight, stale) => array.set(at, lead(env, flight, stale)?).map(|()| LEAD),
        Outcome::FactoryFailed(flight, clone) => {
            let failed = factory_failed(env, flight, clone)?;
            array.set(at, failed).map(|()| FACTORY_ERROR)
        }
        Outcome::Locked(lock, fence) => {
            // Microseconds since 1970 are exact in a double until the year 2255.
            let pair = Array::from_vec(env, vec![id(lock), id(fence)])?;
            array.set(at, pair).map(|()| LOCKED)
        }
        Outcome::Reply(reply, buffers) => put_reply(env, array, at, reply, buffers).map(|()| REPLY),
        Outcome::Replies(replies, buffers) => {
            let mut list = empty(env)?;
            for (reply, at) in replies.into_iter().zip(0..) {
                match reply {
                    Ok(reply) => put_reply(env, &mut list, at, reply, buffers)?,
                    Err(failed) => list.set(at, wrapped(env, &failed)?)?,
                }
            }
            array.set(at, list).map(|()| REPLY)
        }
        Outcome::Page(cursor, keys) => {
            let mut list = empty(env)?;
            for (text, at) in std::iter::once(cursor).chain(keys).zip(0..) {
                list.set(at, text)?;
            }
            array.set(at, list).map(|()| REPLY)
        }
        Outcome::Error(failed) => array.set(at, error(env, &failed)?).map(|()| ERROR),
    }
}

fn payload_pair<'env>(env: &'env Env, payload: &Payload, want: As) -> Result<Array<'env>> {
    let mut pair = empty(env)?;
    let kind = put_payload(env, &mut pair, 1, payload, want)?;
    pair.set(0, kind)?;
    Ok(pair)
}

/// The flight, and of what it replaces the age, the kind and the payload.
fn lead(env: &Env, flight: u64, stale: Option<Held>) -> Result<Array<'_>> {
    let mut lead = Array::from_vec(env, vec![id(flight)])?;
    if let Some(held) = stale {
        #[expect(clippy::cast_precision_loss, reason = "an age in ms")]
        lead.set(1, held.age_ms as f64)?;
        let kind = put_payload(env, &mut lead, 3, &held.payload, As::Value)?;
        lead.set(2, kind)?;
    }
    Ok(lead)
}

/// The flight, and the clone of its error.
fn factory_failed(env: &Env, flight: u64, clone: Option<Bytes>) -> Result<Array<'_>> {
    let mut pair = Array::from_vec(env, vec![id(flight)])?;
    match clone {
        Some(clone) => pair.set(1, BufferSlice::copy_from(env, clone)?)?,
        None => pair.set(1, Null)?,
    }
    Ok(pair)
}

/// Ids count up from 1: exact in a double for longer than any process lives.
#[expect(clippy::cast_precision_loss, reason = "ids count up from 1")]
const fn id(flight: u64) -> f64 {
    flight as f64
}

/// Puts a payload at `at`; the kind as which it was put.
fn put_payload(
    env: &Env,
    array: &mut Array<'_>,
    at: u32,
    payload: &Payload,
    want: As,
) -> Result<u32> {
    let bytes = match want {
        As::Value => matches!(payload.kind, Kind::Bytes | Kind::Coded),
        As::Text => false,
        As::Bytes => true,
    };
    let kind = match want {
        As::Value => payload.kind as u32,
        As::Text => TEXT,
        As::Bytes => BYTES,
    };
    if bytes {
        array.set(at, BufferSlice::copy_from(env, &payload.data)?)?;
    } else {
        put_text(env, array, at, &payload.data)?;
    }
    Ok(kind)
}

/// Text that is ASCII, as most JSON is, becomes a one-byte string of V8.
fn put_text(env: &Env, array: &mut Array<'_>, at: u32, text: &Bytes) -> Result<()> {
    if text.is_ascii() {
        array.set(at, env.create_string_latin1(text)?)
    } else {
        array.set(at, env.create_string(String::from_utf8_lossy(text))?)
    }
}

/// An error as data; JavaScript makes the `CacheError`.
pub fn error<'env>(env: &'env Env, failed: &CacheError) -> Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("code", failed.code.as_str())?;
    object.set("message", &failed.message)?;
    object.set("retryable", failed.retryable)?;
    if let Some(key) = &failed.key {
        object.set("key", key)?;
    }
    if let Some(cause) = &failed.cause {
        object.set("cause", cause)?;
    }
    Ok(object)
}

fn wrapped<'env>(env: &'env Env, failed: &CacheError) -> Result<Object<'env>> {
    let mut object = Object::new(env)?;
    object.set("error", error(env, failed)?)?;
    Ok(object)
}

/// A raw reply, in the shapes of RESP2 whatever was spoken: maps and sets are flat arrays, doubles strings.
fn put_reply(env: &Env, array: &mut Array<'_>, at: u32, reply: Value, buffers: bool) -> Result<()> {
    match reply {
        Value::Nil => array.set(at, Null),
        #[expect(clippy::cast_precision_loss, reason = "checked to be a safe integer")]
        Value::Int(number) if number.abs() <= MAX_SAFE_INTEGER => array.set(at, number as f64),
        Value::Int(number) => array.set(at, number.to_string()),
        Value::BulkString(bytes) | Value::BigNumber(bytes) => {
            put_string(env, array, at, bytes, buffers)
        }
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => {
            put_string(env, array, at, text.into_bytes(), buffers)
        }
        Value::Okay => put_string(env, array, at, b"OK".to_vec(), buffers),
        Value::Double(number) => {
            put_string(env, array, at, number.to_string().into_bytes(), buffers)
        }
        Value::Boolean(yes) => array.set(at, u32::from(yes)),
        Value::Array(list) | Value::Set(list) | Value::Push { data: list, .. } => {
            put_list(env, array, at, list, buffers)
        }
        Value::Map(pairs) => {
            let flat = pairs
                .into_iter()
                .flat_map(|(key, value)| [key, value])
                .collect();
            put_list(env, array, at, flat, buffers)
        }
        Value::Attribute { data, .. } => put_reply(env, array, at, *data, buffers),
        Value::ServerError(failed) => {
            let failed = CacheError::new(Code::RedisReply, server_text(&failed));
            array.set(at, wrapped(env, &failed)?)
        }
        // Kinds of replies that this version of the library does not know.
        _ => Ok(()),
    }
}

fn put_list(
    env: &Env,
    array: &mut Array<'_>,
    at: u32,
    list: Vec<Value>,
    buffers: bool,
) -> Result<()> {
    let mut inner = empty(env)?;
    for (value, at) in list.into_iter().zip(0..) {
        put_reply(env, &mut inner, at, value, buffers)?;
    }
    array.set(at, inner)
}

fn put_string(
    env: &Env,
    array: &mut Array<'_>,
    at: u32,
    bytes: Vec<u8>,
    buffers: bool,
) -> Result<()> {
    if buffers {
        array.set(at, BufferSlice::copy_from(env, bytes)?)
    } else {
        put_text(env, array, at, &bytes.into())
    }
}
