//! The two ways that are gone most often as raw Node-API functions: the key into a buffer on the stack, and no class behind
//! them. A function made by the `#[napi]` macro takes four times as long (1.0–1.4 us against 0.24 us for a hit).

#![expect(unsafe_code, reason = "raw Node-API, each call with its argument")]

mod hit;
mod set;

use std::{
    ffi::{CStr, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
};

use napi::{
    Env, Error, Result, Status,
    bindgen_prelude::{ClassInstance, FromNapiValue, JsValue, Uint32Array, Unknown},
    sys,
};
use napi_derive::napi;

use super::{
    cache::NativeCache,
    input::{self, STACK_KEY},
    outcome,
};
use crate::cache::{As, Cache, Key, Outcome, Waiter, outcome::Sink};

/// Written to the scratch array instead of a kind: nothing is known, the ticket will be settled, or `[kind, value]` is returned.
const MISS: u32 = 255;
const PENDING: u32 = 254;
const ANSWERED: u32 = 253;
/// What is written of a hit: the kind, how much of the life is over, and for how long and on which words it is proved.
const SCRATCH: usize = 6;

/// What a function works on; it owns it.
struct Hot {
    cache: Arc<Cache>,
    sink: Arc<dyn Sink>,
    prefix: Box<[u8]>,
    scratch: *mut u32,
}

/// Makes the function `(key, as, ticket) => value`. It writes the kind to `scratch[0]`: 255 is not in L1, 254 neither, but
/// Redis is asked and settles the ticket, if there is one, and 253 that it is not asked; then `[kind, value]` is returned. If 4
/// was added to `as` it writes to `scratch[1]` how much of the entry's life is over, in thousandths; and to the rest for how
/// many ms the hit is one (0: not known) as long as a slot's word has a value, which and which, and the tide one: ms, slot,
/// generation, tide.
#[napi(ts_return_type = "(key: string, as: number, ticket: number) => unknown")]
pub fn hit_function<'env>(
    env: &'env Env,
    cache: ClassInstance<'env, NativeCache>,
    scratch: Unknown<'env>,
) -> Result<Unknown<'env>> {
    function(env, &cache, scratch, c"hit", hit::hit)
}

/// Makes the function `(key, kind, payload, ticket) => value`, which stores a text without options. It writes to `scratch[0]` 255 if it did not, since
/// something about it wants a closer look, 254 if the ticket will be settled, and 253 if `[kind, value]` is returned.
#[napi(ts_return_type = "(key: string, kind: number, payload: string, ticket: number) => unknown")]
pub fn set_function<'env>(
    env: &'env Env,
    cache: ClassInstance<'env, NativeCache>,
    scratch: Unknown<'env>,
) -> Result<Unknown<'env>> {
    function(env, &cache, scratch, c"set", set::set)
}

type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

fn function<'env>(
    env: &'env Env,
    cache: &NativeCache,
    scratch: Unknown<'env>,
    name: &'static CStr,
    callback: Callback,
) -> Result<Unknown<'env>> {
    // SAFETY: `scratch` is a live value of this environment, in this scope.
    let mut array = unsafe { Uint32Array::from_napi_value(env.raw(), scratch.raw()) }?;
    if array.len() < SCRATCH {
        return Err(Error::new(Status::InvalidArg, "scratch is too short"));
    }
    // SAFETY: the elements stay where they are as long as the array lives, and the function keeps it alive (below).
    let elements = unsafe { array.as_mut() }.as_mut_ptr();
    let hot = Box::into_raw(Box::new(Hot {
        cache: Arc::clone(cache.core()),
        sink: cache.sink(),
        prefix: cache.prefix().as_bytes().into(),
        scratch: elements,
    }));
    let mut function = ptr::null_mut();
    // SAFETY: live environment; the name is static; `hot` outlives the function, whose finalizer frees it.
    let status = unsafe {
        let made = sys::napi_create_function(
            env.raw(),
            name.as_ptr(),
            name.count_bytes().cast_signed(),
            Some(callback),
            hot.cast(),
            &raw mut function,
        );
        if made == sys::Status::napi_ok {
            sys::napi_set_named_property(env.raw(), function, c"scratch".as_ptr(), scratch.raw());
            sys::napi_wrap(
                env.raw(),
                function,
                hot.cast(),
                Some(free),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        } else {
            made
        }
    };
    if status != sys::Status::napi_ok {
        // SAFETY: nothing else owns `hot`: there is no function with a finalizer.
        drop(unsafe { Box::from_raw(hot) });
        return Err(Error::new(
            Status::from(status),
            "a function could not be made",
        ));
    }
    // SAFETY: `function` is a value that was just made in this scope.
    unsafe { Unknown::from_napi_value(env.raw(), function) }
}

/// Frees what a function worked on.
unsafe extern "C" fn free(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: Node-API calls this once, with the pointer that `function` wrapped.
    drop(unsafe { Box::from_raw(data.cast::<Hot>()) });
}

/// Does the work of a callback with its first `N` arguments; missing ones are `undefined`.
///
/// # Safety
/// `env` and `info` are the callback's own, and it is one of a function that `function` made.
unsafe fn called<const N: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    work: impl FnOnce(&Hot, [sys::napi_value; N]) -> sys::napi_value,
) -> sys::napi_value {
    let mut arguments = [ptr::null_mut(); N];
    let mut count = arguments.len();
    let mut data = ptr::null_mut();
    // SAFETY: a callback's own `env` and `info`; the buffers are as long as told.
    let status = unsafe {
        sys::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            arguments.as_mut_ptr(),
            ptr::null_mut(),
            &raw mut data,
        )
    };
    if status != sys::Status::napi_ok || data.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: `data` is what the function was made with, and the function lives while it runs.
    let hot = unsafe { &*data.cast::<Hot>() };
    hot.tell([MISS]);
    // A panic leaves what was told last: if a claim was made, it settles the ticket when it is dropped.
    catch_unwind(AssertUnwindSafe(|| work(hot, arguments))).unwrap_or(ptr::null_mut())
}

impl Hot {
    fn tell<const N: usize>(&self, words: [u32; N]) {
        const { assert!(N <= SCRATCH, "as long as the array at most") };
        // SAFETY: the array has as many elements and lives as long as the function; only this thread uses it.
        unsafe { self.scratch.cast::<[u32; N]>().write(words) }
    }

    /// Carries out what a ticket asks for under a key. One that has to wait its turn, or is none that a caller may name, is the
    /// business of the operation that follows a miss.
    fn operate(
        &self,
        env: sys::napi_env,
        key: &[u8],
        (ticket, want): (u32, As),
        operation: impl FnOnce(&Arc<Cache>, &Key, Waiter) -> Option<Outcome>,
    ) -> sys::napi_value {
        if ticket == 0 || key.get(self.prefix.len()) == Some(&b'~') {
            return ptr::null_mut();
        }
        let key: Key = key.into();
        if self.cache.defers(std::slice::from_ref(&key)) {
            return ptr::null_mut();
        }
        self.tell([PENDING]);
        let waiter = Waiter::new(Arc::clone(&self.sink), ticket, want);
        let Some(answer) = operation(&self.cache, &key, waiter) else {
            return ptr::null_mut();
        };
        self.tell([ANSWERED]);
        let env = Env::from_raw(env);
        let pair = outcome::pair(&env, answer).or_else(|_| outcome::pair(&env, outcome::unmade()));
        pair.map_or(ptr::null_mut(), |pair| pair.raw())
    }

    /// The key with its prefix, in `buffer`; `None` if it is too long for it, no string, or not certainly well-formed:
    /// then the operation that follows the miss looks closer.
    ///
    /// # Safety
    /// `name` is a live value of `env`.
    unsafe fn read_key<'a>(
        &self,
        env: sys::napi_env,
        name: sys::napi_value,
        buffer: &'a mut [u8; STACK_KEY],
    ) -> Option<&'a [u8]> {
        let start = self.prefix.len();
        buffer.get_mut(..start)?.copy_from_slice(&self.prefix);
        // SAFETY: as this function's.
        let key = unsafe { input::read_behind(env, name, buffer, start) }?;
        (key.len() > start && !input::is_doubtful(key)).then_some(key)
    }
}

/// A number, or 0.
///
/// # Safety
/// `value` is a live value of `env`.
unsafe fn number(env: sys::napi_env, value: sys::napi_value) -> u32 {
    let mut number = 0;
    // SAFETY: as this function's.
    unsafe { sys::napi_get_value_uint32(env, value, &raw mut number) };
    number
}
