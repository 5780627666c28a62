//! The boundary to JavaScript, and the only place that names Node-API: convert in, call, convert out. Owns no rule of
//! the cache.
//!
//! `cache` has the operations, `input` and `outcome` convert, `completions` is the queue of one environment, `hot` the
//! raw function of the hit path, `near` the memory by which JavaScript does without it, `named` the caches that threads share, `runtime` the threads of our own, `wake` what wakes an
//! event loop.

#![expect(
    unreachable_pub,
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    clippy::too_many_arguments,
    reason = "the shapes that #[napi] wants"
)]
#![cfg_attr(test, allow(dead_code, reason = "#[napi] registers nothing in tests"))]

mod cache;
pub mod completions;
mod hot;
mod input;
mod named;
mod near;
mod outcome;
mod runtime;
mod wake;
