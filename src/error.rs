//! The one error type of the crate: what went wrong as a code of the public contract, a message that says what to
//! do, and whether trying again may help. Owns no policy; who counts what against Redis is `l2`'s business.

use std::fmt;

/// The codes of the public contract, `ERR_CACHE_*` in JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A constructor or call option is not what was expected.
    Options,
    /// A key is empty, too long or not valid Unicode.
    Key,
    /// A value cannot be stored.
    Value,
    /// A value exceeds `l2.maxValueBytes` in a strict call.
    ValueTooLarge,
    /// A strict call met a Redis that is not in use.
    L2Unavailable,
    /// A deadline passed.
    Timeout,
    /// Redis answered with an error.
    RedisReply,
    /// `getOrSet`'s factory took longer than `factoryTimeout`.
    FactoryTimeout,
    /// Somebody else holds the lock.
    Locked,
    /// The cache is closed.
    Closed,
    /// A panic in native code: the call fails, the service goes on.
    Internal,
}

impl Code {
    /// The code as JavaScript sees it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Options => "ERR_CACHE_OPTIONS",
            Self::Key => "ERR_CACHE_KEY",
            Self::Value => "ERR_CACHE_VALUE",
            Self::ValueTooLarge => "ERR_CACHE_VALUE_TOO_LARGE",
            Self::L2Unavailable => "ERR_CACHE_L2_UNAVAILABLE",
            Self::Timeout => "ERR_CACHE_TIMEOUT",
            Self::RedisReply => "ERR_CACHE_REDIS_REPLY",
            Self::FactoryTimeout => "ERR_CACHE_FACTORY_TIMEOUT",
            Self::Locked => "ERR_CACHE_LOCKED",
            Self::Closed => "ERR_CACHE_CLOSED",
            Self::Internal => "ERR_CACHE_INTERNAL",
        }
    }

    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::L2Unavailable | Self::Timeout | Self::FactoryTimeout | Self::Locked => true,
            Self::Options
            | Self::Key
            | Self::Value
            | Self::ValueTooLarge
            | Self::RedisReply
            | Self::Closed
            | Self::Internal => false,
        }
    }
}

/// An error of the cache, ready to become a JavaScript `CacheError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheError {
    /// What kind of error it is.
    pub code: Code,
    /// What happened and what to do; never holds a secret.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The key the call named, without the namespace.
    pub key: Option<String>,
    /// The text of the error beneath, if there was one.
    pub cause: Option<String>,
}

impl CacheError {
    /// An error of `code`; `retryable` follows from the code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            key: None,
            cause: None,
        }
    }

    /// Names the key the call was about.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Keeps the text of the error beneath.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Overrides what the code says about trying again.
    #[must_use]
    pub const fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for CacheError {}
