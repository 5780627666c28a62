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
    error::CacheError,
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
    put(env, &mut array, 0, outcome)?;
    Ok(array)
}

fn empty(env: &Env) -> Result<Array<'_>> {
    Array::from_vec(env, Vec::<u32>::new())
}

/// Puts the kind at `at` and the value behind it.
pub fn put(env: &Env, array: &mut Array<'_>, at: u32, outcome: Outcome) -> Result<()> {
    let (kind, value) = (at, at + 1);
    match outcome {
        Outcome::Undefined => {
            array.set(kind, VALUE)?;
            array.set(value, ())
        }
        Outcome::Null => {
            array.set(kind, VALUE)?;
            array.set(value, Null)
        }
        Outcome::Bool(yes) => {
            array.set(kind, VALUE)?;
            array.set(value, yes)
        }
        Outcome::Number(number) => {
            array.set(kind, VALUE)?;
            array.set(value, number)
        }
        Outcome::Value(payload, want) => put_payload(env, array, at, &payload, want),
        Outcome::Many(list) => {
            array.set(kind, MANY)?;
            let mut values = empty(env)?;
            for (payload, at) in list.into_iter().zip((0..).step_by(2)) {
                match payload {
                    Some(payload) => put_payload(env, &mut values, at, &payload, As::Value)?,
                    None => put(env, &mut values, at, Outcome::Undefined)?,
                }
            }
            array.set(value, values)
        }
        Outcome::Stale(payload, want) => {
            array.set(kind, STALE)?;
            array.set(value, payload_pair(env, &payload, want)?)
        }
        Outcome::Loaded(payload, want) => {
            array.set(kind, LOADED)?;
            array.set(value, payload_pair(env, &payload, want)?)
        }
        Outcome::Lead(flight, stale) => {
            array.set(kind, LEAD)?;
            array.set(value, lead(env, flight, stale)?)
        }
        Outcome::FactoryFailed(flight, clone) => {
            array.set(kind, FACTORY_ERROR)?;
            array.set(value, factory_failed(env, flight, clone)?)
        }
        Outcome::Locked(lock, fence) => {
            array.set(kind, LOCKED)?;
            // Microseconds since 1970 are exact in a double until the year 2255.
            array.set(value, Array::from_vec(env, vec![id(lock), id(fence)])?)
        }
        Outcome::Reply(reply, buffers) => {
            array.set(kind, REPLY)?;
            put_reply(env, array, value, reply, buffers)
        }
        Outcome::Replies(replies, buffers) => {
            array.set(kind, REPLY)?;
            let mut list = empty(env)?;
            for (reply, at) in replies.into_iter().zip(0..) {
                match reply {
                    Ok(reply) => put_reply(env, &mut list, at, reply, buffers)?,
                    Err(failed) => list.set(at, wrapped(env, &failed)?)?,
                }
            }
            array.set(value, list)
        }
        Outcome::Page(cursor, keys) => {
            array.set(kind, REPLY)?;
            let mut list = empty(env)?;
            for (text, at) in std::iter::once(cursor).chain(keys).zip(0..) {
                list.set(at, text)?;
            }
            array.set(value, list)
        }
        Outcome::Error(failed) => {
            array.set(kind, ERROR)?;
            array.set(value, error(env, &failed)?)
        }
    }
}

fn payload_pair<'env>(env: &'env Env, payload: &Payload, want: As) -> Result<Array<'env>> {
    let mut pair = empty(env)?;
    put_payload(env, &mut pair, 0, payload, want)?;
    Ok(pair)
}

/// The flight, and of what it replaces the age, the kind and the payload.
fn lead(env: &Env, flight: u64, stale: Option<Held>) -> Result<Array<'_>> {
    let mut lead = Array::from_vec(env, vec![id(flight)])?;
    if let Some(held) = stale {
        #[expect(clippy::cast_precision_loss, reason = "an age in ms")]
        lead.set(1, held.age_ms as f64)?;
        put_payload(env, &mut lead, 2, &held.payload, As::Value)?;
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

fn put_payload(
    env: &Env,
    array: &mut Array<'_>,
    at: u32,
    payload: &Payload,
    want: As,
) -> Result<()> {
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
    array.set(at, kind)?;
    if bytes {
        array.set(at + 1, BufferSlice::copy_from(env, &payload.data)?)
    } else {
        put_text(env, array, at + 1, &payload.data)
    }
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
            let failed = CacheError::new(crate::error::Code::RedisReply, server_text(&failed));
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
