//! The hit path as a raw Node-API function: the key into a stack buffer, one look into L1, the value out. A function
//! made by the `#[napi]` macro takes four times as long (1.0–1.4 us against 0.24 us).

#![expect(unsafe_code, reason = "raw Node-API, each call with its argument")]

use std::{
    ffi::c_void,
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
use crate::{
    cache::{As, Cache, Key, Waiter, outcome::Sink, reach::Proof},
    clock,
    entry::{Entry, Kind},
};

/// Written to the scratch array instead of a kind: nothing is known, the ticket will be settled, or `[kind, value]` is returned.
const MISS: u32 = 255;
const PENDING: u32 = 254;
const ANSWERED: u32 = 253;
/// Added to the form that is wanted: how much of the entry's life is over is wanted too.
const WITH_SHARE: u32 = 4;
/// What is written of a hit: the kind, how much of the life is over, and for how long and on which words it is proved.
const SCRATCH: usize = 6;
/// For so many ms JavaScript may take a hit for one at most: then L1 learns that the entry is in use, and the clock that counts
/// the time a machine slept is asked.
const NEAR_MS: u32 = 1_000;

/// What the function works on; it owns it.
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
            c"hit".as_ptr(),
            3,
            Some(hit),
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
            "the hit function could not be made",
        ));
    }
    // SAFETY: `function` is a value that was just made in this scope.
    unsafe { Unknown::from_napi_value(env.raw(), function) }
}

/// Frees what a function worked on.
unsafe extern "C" fn free(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: Node-API calls this once, with the pointer that `hit_function` wrapped.
    drop(unsafe { Box::from_raw(data.cast::<Hot>()) });
}

unsafe extern "C" fn hit(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    let mut arguments = [ptr::null_mut(); 3];
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
    let look = AssertUnwindSafe(|| {
        // SAFETY: `arguments` are live values of this call; missing ones are `undefined`.
        unsafe { hot.look(env, arguments) }
    });
    catch_unwind(look).unwrap_or_else(|_| {
        hot.tell([MISS]);
        ptr::null_mut()
    })
}

impl Hot {
    fn tell<const N: usize>(&self, words: [u32; N]) {
        const { assert!(N <= SCRATCH, "as long as the array at most") };
        // SAFETY: the array has as many elements and lives as long as the function; only this thread uses it.
        unsafe { self.scratch.cast::<[u32; N]>().write(words) }
    }

    /// # Safety
    /// The key, the form and the ticket are live values of `env` in the current scope.
    unsafe fn look(
        &self,
        env: sys::napi_env,
        [name, want, ticket]: [sys::napi_value; 3],
    ) -> sys::napi_value {
        let mut buffer = [0_u8; STACK_KEY];
        // SAFETY: as this function's.
        let Some(key) = (unsafe { self.read_key(env, name, &mut buffer) }) else {
            self.tell([MISS]);
            return ptr::null_mut();
        };
        let (mut form, mut id) = (0, 0);
        // SAFETY: as this function's; they stay 0 if they are no numbers.
        unsafe {
            sys::napi_get_value_uint32(env, want, &raw mut form);
            sys::napi_get_value_uint32(env, ticket, &raw mut id);
        }
        let (proof, now) = (self.cache.proof(key), clock::now());
        let hit = self.cache.hit_until(key, now);
        let Some((entry, until)) = hit.filter(|_| !self.cache.is_awaited(key)) else {
            return self.ask(env, key, form, id);
        };
        self.cache.counters.l1_hits.count();
        let spent = if form & WITH_SHARE == 0 {
            0
        } else {
            entry.spent(now)
        };
        let kind = match form & !WITH_SHARE {
            1 => Kind::Text,
            2 => Kind::Bytes,
            _ => entry.payload.kind,
        };
        #[expect(clippy::cast_possible_truncation, reason = "there are few slots")]
        self.tell([
            kind as u32,
            spent,
            near_ms(&entry, proof, until - now),
            proof.slot as u32,
            proof.generation,
            proof.tide,
        ]);
        // SAFETY: a live environment.
        unsafe { value(env, &entry, kind) }
    }

    /// Asks Redis for what is not in L1, for a ticket. A key that has to wait its turn, or is none that a caller may name, is the
    /// business of the operation that follows a miss.
    fn ask(&self, env: sys::napi_env, key: &[u8], form: u32, ticket: u32) -> sys::napi_value {
        self.tell([MISS]);
        if ticket == 0 || key.get(self.prefix.len()) == Some(&b'~') {
            return ptr::null_mut();
        }
        let key: Key = key.into();
        if self.cache.defers(std::slice::from_ref(&key)) {
            return ptr::null_mut();
        }
        let waiter = Waiter::new(Arc::clone(&self.sink), ticket, As::from(form));
        let Some(answer) = self.cache.get(&key, None, waiter) else {
            self.tell([PENDING]);
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

/// For how many ms JavaScript need not ask again. What has tags is asked for each time: they change without the tide.
fn near_ms(entry: &Entry, proof: Proof, left: u64) -> u32 {
    if !entry.marks().is_empty() || proof.generation % 2 == 1 {
        return 0;
    }
    // Less what is lost of a ms where one clock is read after the other.
    u32::try_from(left - 1).map_or(NEAR_MS, |left| left.min(NEAR_MS))
}

/// The entry's bytes as a string or a Buffer.
///
/// # Safety
/// `env` is live and in a callback's scope.
unsafe fn value(env: sys::napi_env, entry: &Entry, kind: Kind) -> sys::napi_value {
    let data = &entry.payload.data;
    let mut made = ptr::null_mut();
    let length = isize::try_from(data.len()).unwrap_or(isize::MAX);
    // SAFETY: `data` is as long as told and is copied before the calls return.
    unsafe {
        match kind {
            Kind::Bytes | Kind::Coded => {
                let bytes = data.as_ptr().cast();
                sys::napi_create_buffer_copy(
                    env,
                    data.len(),
                    bytes,
                    ptr::null_mut(),
                    &raw mut made,
                );
            }
            Kind::Json | Kind::Text | Kind::Rich if data.is_ascii() => {
                sys::napi_create_string_latin1(env, data.as_ptr().cast(), length, &raw mut made);
            }
            Kind::Json | Kind::Text | Kind::Rich => {
                sys::napi_create_string_utf8(env, data.as_ptr().cast(), length, &raw mut made);
            }
        }
    }
    made
}
