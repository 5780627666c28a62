//! A set of a text without options.

use std::{mem::MaybeUninit, ptr, slice};

use napi::sys;

use super::{Hot, called, number};
use crate::{
    cache::{As, write::WriteOptions},
    entry::{Kind, Payload},
    node::input::{STACK_KEY, read_into},
};

/// Texts of up to so many bytes are read in one go; longer ones are the other way's.
const STACK_TEXT: usize = 4 << 10;

pub(super) unsafe extern "C" fn set(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    // SAFETY: a callback's own; the arguments are live values of this call.
    unsafe { called(env, info, |hot, arguments| hot.put(env, arguments)) }
}

impl Hot {
    /// # Safety
    /// The key, the kind, the payload and the ticket are live values of `env` in the current scope.
    unsafe fn put(
        &self,
        env: sys::napi_env,
        [name, kind, text, ticket]: [sys::napi_value; 4],
    ) -> sys::napi_value {
        let mut buffer = [0_u8; STACK_KEY];
        // SAFETY: as this function's.
        let (key, kind, ticket, payload) = unsafe {
            (
                self.read_key(env, name, &mut buffer),
                number(env, kind),
                number(env, ticket),
                read_text(env, text),
            )
        };
        let kind = u8::try_from(kind).ok().and_then(Kind::from_u8);
        let (Some(key), Some(kind), Some(payload)) = (key, kind, payload) else {
            return ptr::null_mut();
        };
        let payload = Payload::new(kind, payload);
        self.operate(env, key, (ticket, As::Value), |cache, key, waiter| {
            cache.set(key, payload, &WriteOptions::default(), waiter)
        })
    }
}

/// A text that is no longer than the stack has room for.
///
/// # Safety
/// `text` is a live value of `env`.
unsafe fn read_text(env: sys::napi_env, text: sys::napi_value) -> Option<Vec<u8>> {
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; STACK_TEXT];
    // SAFETY: as this function's, and the buffer is as long as told.
    let length = unsafe { read_into(env, text, buffer.as_mut_ptr().cast(), buffer.len()) }?;
    // SAFETY: Node-API has written as many bytes as it says.
    Some(unsafe { slice::from_raw_parts(buffer.as_ptr().cast(), length) }.to_vec())
}
