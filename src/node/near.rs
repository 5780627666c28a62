//! Memory that native code and JavaScript share: the words by which JavaScript proves what it holds of L1, and the cell in which
//! it counts the hits that it answers by itself. Buffers over memory of our own, which not every runtime allows.

#![expect(unsafe_code, reason = "raw Node-API, each call with its argument")]

use std::{
    ffi::c_void,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
};

use napi::{
    Env, Result,
    bindgen_prelude::{ClassInstance, FromNapiValue, Object, Unknown},
    sys,
};
use napi_derive::napi;

use super::cache::NativeCache;
use crate::telemetry::counters::Counters;

/// A cell that JavaScript counts in; given up with its buffer.
struct Cell {
    count: Arc<AtomicU64>,
    counters: Arc<Counters>,
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.counters.l1_hits.give_up(&self.count);
    }
}

/// `words`, an `ArrayBuffer` of unsigned 32-bit integers, the last of which is the tide, and `hits`, one of a double to which
/// hits are added. `undefined` where the runtime allows no such buffers.
#[napi(ts_return_type = "{ words: ArrayBuffer, hits: ArrayBuffer } | undefined")]
pub fn near_memory<'env>(
    env: &'env Env,
    cache: ClassInstance<'env, NativeCache>,
) -> Result<Option<Object<'env>>> {
    let (tide, counters) = (
        Arc::clone(cache.core().tide()),
        Arc::clone(&cache.core().counters),
    );
    let words = tide.words();
    let (at, length) = (words.as_ptr(), size_of_val(words));
    // SAFETY: the words live as long as the tide, which the buffer keeps; all who use them do so atomically.
    let Some(words) = (unsafe { external(env, at.cast::<AtomicU32>(), length, tide) }) else {
        return Ok(None);
    };
    let cell = Cell {
        count: Arc::default(),
        counters,
    };
    cell.counters.l1_hits.count_in(&cell.count);
    let at = Arc::as_ptr(&cell.count);
    // SAFETY: the cell lives as long as its owner, which the buffer keeps; only this thread writes to it.
    let Some(hits) = (unsafe { external(env, at, size_of::<AtomicU64>(), cell) }) else {
        return Ok(None);
    };
    let mut memory = Object::new(env)?;
    memory.set("words", words)?;
    memory.set("hits", hits)?;
    Ok(Some(memory))
}

/// An `ArrayBuffer` over `length` bytes at `at`, which are `owner`'s; `None` if the runtime refuses.
///
/// # Safety
/// The bytes stay where they are as long as `owner` lives, and whoever else uses them can bear that JavaScript does.
unsafe fn external<T, O>(env: &Env, at: *const T, length: usize, owner: O) -> Option<Unknown<'_>> {
    let owner = Box::into_raw(Box::new(owner));
    let mut made = ptr::null_mut();
    // SAFETY: a live environment; the finalizer is that of the owner's type, and called once.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(
            env.raw(),
            at.cast_mut().cast(),
            length,
            Some(free::<O>),
            owner.cast(),
            &raw mut made,
        )
    };
    if status != sys::Status::napi_ok {
        // SAFETY: nothing else owns it: there is no buffer with a finalizer.
        drop(unsafe { Box::from_raw(owner) });
        return None;
    }
    // SAFETY: a value that was just made in this scope.
    unsafe { Unknown::from_napi_value(env.raw(), made) }.ok()
}

/// Frees what a buffer kept.
unsafe extern "C" fn free<O>(_env: sys::napi_env, _data: *mut c_void, owner: *mut c_void) {
    // SAFETY: Node-API calls this once, with the owner that `external` gave it.
    drop(unsafe { Box::from_raw(owner.cast::<O>()) });
}
