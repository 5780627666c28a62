//! What JavaScript hands in: keys, payloads, options. Shapes and ranges were checked by `lib/`; here is checked what
//! only the bytes tell.

#![expect(unsafe_code, reason = "raw Node-API, each call with its argument")]

use std::{sync::Arc, time::Duration};

use napi::{
    JsString, ValueType,
    bindgen_prelude::{
        Buffer, Either, Either3, FromNapiValue, JsObjectValue, JsValue, Object, Result, Unknown,
    },
    sys,
};

use crate::{
    cache::{
        Key,
        flight::LoadOptions,
        write::{Ttl, WriteOptions},
    },
    entry::{Kind, Payload, pages},
    error::{CacheError, Code},
    l2::commands::OnlyIf,
    resilience::patience::Rule,
};

/// The longest key, in UTF-8 and with its namespace.
const MAX_KEY: usize = 32 << 10;
/// What Node-API puts in place of a lone surrogate.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Room for most keys with their namespace: they are read without an allocation.
pub const STACK_KEY: usize = 512;

/// Writes a string as UTF-8 to `room`; how many bytes it has, or `None` if they may not all have fitted, or it is no string.
///
/// # Safety
/// `text` is a live value of `env`; `size` bytes may be written at `room`.
pub unsafe fn read_into(
    env: sys::napi_env,
    text: sys::napi_value,
    room: *mut u8,
    size: usize,
) -> Option<usize> {
    let mut length = 0;
    // SAFETY: as this function's; Node-API ends the text with a zero within the room.
    let status =
        unsafe { sys::napi_get_value_string_utf8(env, text, room.cast(), size, &raw mut length) };
    // A text that fills the room to within a character may have been cut.
    (status == sys::Status::napi_ok && length + 4 < size).then_some(length)
}

/// Reads a string into `buffer`, behind its first `start` bytes; those and it, or `None` if it is too long, or no string.
///
/// # Safety
/// `name` is a live value of `env`.
pub unsafe fn read_behind(
    env: sys::napi_env,
    name: sys::napi_value,
    buffer: &mut [u8],
    start: usize,
) -> Option<&[u8]> {
    let room = &mut buffer[start..];
    // SAFETY: as this function's, and the room is as long as told.
    let length = unsafe { read_into(env, name, room.as_mut_ptr(), room.len()) }?;
    Some(&buffer[..start + length])
}

/// The key under `prefix`, as it is in Redis.
pub fn key(prefix: &str, name: JsString<'_>) -> Result<std::result::Result<Key, CacheError>> {
    let mut buffer = [0; STACK_KEY];
    if let Some(start) = buffer.get_mut(..prefix.len()) {
        start.copy_from_slice(prefix.as_bytes());
        let value = name.value();
        // SAFETY: `name` is alive.
        let key = unsafe { read_behind(value.env, value.value, &mut buffer, prefix.len()) };
        let is_sound = |key: &&[u8]| {
            let name = &key[prefix.len()..];
            problem(prefix, name).is_none() && !is_doubtful(name)
        };
        if let Some(key) = key.filter(is_sound) {
            return Ok(Ok(key.into()));
        }
    }
    let text = name.into_utf8()?;
    let bytes = text.as_str()?.as_bytes();
    if let Some(problem) = problem(prefix, bytes) {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(64).collect();
        return Ok(Err(CacheError::new(Code::Key, problem).key(shown)));
    }
    if is_doubtful(bytes) && has_lone_surrogate(name)? {
        let text = "Expected `key` to be well-formed Unicode, got a lone surrogate";
        return Ok(Err(CacheError::new(Code::Key, text)));
    }
    Ok(Ok([prefix.as_bytes(), bytes].concat().into()))
}

fn problem(prefix: &str, name: &[u8]) -> Option<String> {
    let length = prefix.len() + name.len();
    if name.is_empty() {
        Some("Expected `key` to be a non-empty string, got an empty one".to_owned())
    } else if length > MAX_KEY {
        Some(format!(
            "Expected `key` to be at most {MAX_KEY} bytes with its namespace, got {length}"
        ))
    } else if name.starts_with(b"~") {
        Some("Expected `key` not to begin with ~: such keys are evenkeel's own".to_owned())
    } else {
        None
    }
}

/// Whether something may stand in `text` that was no well-formed Unicode.
pub fn is_doubtful(text: &[u8]) -> bool {
    let is_replacement = |window: &[u8]| window == REPLACEMENT;
    !text.is_ascii() && text.windows(REPLACEMENT.len()).any(is_replacement)
}

fn has_lone_surrogate(name: JsString<'_>) -> Result<bool> {
    let text = name.into_utf16()?;
    Ok(char::decode_utf16(text.as_slice().iter().copied()).any(|unit| unit.is_err()))
}

/// An encoded value.
pub fn payload(
    kind: u32,
    data: Either<JsString<'_>, Buffer>,
) -> Result<std::result::Result<Payload, CacheError>> {
    let Some(kind) = u8::try_from(kind).ok().and_then(Kind::from_u8) else {
        return Ok(Err(CacheError::new(
            Code::Value,
            "Expected a payload kind between 1 and 5",
        )));
    };
    let bytes = match data {
        Either::A(text) => text.into_utf8()?.into_owned()?.into_bytes(),
        Either::B(buffer) => buffer.to_vec(),
    };
    Ok(Ok(Payload::new(kind, pages::own(bytes.into()))))
}

/// A property of an options object that is there and not `undefined`.
pub fn property<T: FromNapiValue>(options: &Object<'_>, name: &str) -> Result<Option<T>> {
    options.get::<T>(name)
}

/// A number of ms that lib/ found to be an integer within range.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked by lib/"
)]
pub const fn millis(number: f64) -> u64 {
    number as u64
}

/// The life an argument names: `undefined` says nothing, `null` never ends.
pub fn ttl(value: &Unknown<'_>) -> Result<Ttl> {
    let kind = value.get_type()?;
    if kind == ValueType::Null {
        return Ok(Ttl::Never);
    }
    if kind != ValueType::Number {
        return Ok(Ttl::Default);
    }
    Ok(Ttl::Ms(millis(value.coerce_to_number()?.get_double()?)))
}

/// The keys of the versions of the tags that `options` names, each the tag's name behind `prefix`.
pub fn tags(prefix: &str, options: &Object<'_>) -> Result<Arc<[Key]>> {
    let names = property::<Vec<String>>(options, "tags")?.unwrap_or_default();
    let mut keys: Vec<Key> = names.iter().map(|name| tag(prefix, name)).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys.into())
}

/// The key of the version of one tag.
pub fn tag(prefix: &str, name: &str) -> Key {
    [prefix.as_bytes(), name.as_bytes()].concat().into()
}

/// The options of a write; the keys of its tags begin with `tags_prefix`.
pub fn write_options(tags_prefix: &str, options: Option<&Object<'_>>) -> Result<WriteOptions> {
    let Some(options) = options else {
        return Ok(WriteOptions::default());
    };
    let only_if = property::<String>(options, "onlyIf")?;
    Ok(WriteOptions {
        ttl: ttl(&options.get_named_property::<Unknown<'_>>("ttl")?)?,
        l1_ttl: property::<f64>(options, "l1Ttl")?.map(millis),
        stale_for: property::<f64>(options, "staleFor")?.map(millis),
        jitter: property(options, "jitter")?,
        no_wait: property::<bool>(options, "wait")? == Some(false),
        only_if: match only_if.as_deref() {
            Some("absent") => Some(OnlyIf::Absent),
            Some("present") => Some(OnlyIf::Present),
            Some(_) | None => None,
        },
        strict: property(options, "strict")?,
        tags: tags(tags_prefix, options)?,
        gentle: property(options, "gentle")?.unwrap_or(false),
        made_under: Arc::default(),
    })
}

/// The options of a load; the keys of its tags begin with `tags_prefix`.
pub fn load_options(tags_prefix: &str, options: &Object<'_>) -> Result<LoadOptions> {
    let factory_timeout = match property::<Either<f64, bool>>(options, "factoryTimeout")? {
        Some(Either::A(ms)) => Some(Some(Duration::from_millis(millis(ms)))),
        Some(Either::B(_)) => Some(None),
        None => None,
    };
    let soft_timeout = match property::<Either3<f64, bool, String>>(options, "l2SoftTimeout")? {
        Some(Either3::A(ms)) => Some(Rule::After(millis(ms))),
        Some(Either3::B(_)) => Some(Rule::Off),
        Some(Either3::C(_)) => Some(Rule::Auto),
        None => None,
    };
    let ms = |name| Ok::<_, napi::Error>(property::<f64>(options, name)?.map(millis));
    Ok(LoadOptions {
        strict: property(options, "strict")?,
        factory_timeout,
        factory_soft_ms: ms("factorySoftTimeout")?,
        soft_timeout,
        retry_ms: ms("retryAfter")?,
        error_ms: ms("errorTtl")?,
        tags: tags(tags_prefix, options)?,
        lock: property(options, "lock")?,
        fresh: property(options, "fresh")?.unwrap_or(false),
        eager: property(options, "eager")?,
        behind: property(options, "behind")?.unwrap_or(false),
        gentle: property(options, "gentle")?.unwrap_or(false),
    })
}
