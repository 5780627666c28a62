//! A look into L1, and what follows if it finds nothing.

use std::ptr;

use napi::sys;

use super::{Hot, called, number};
use crate::{
    cache::{As, reach::Proof},
    clock,
    entry::{Entry, Kind},
    node::input::STACK_KEY,
};

/// Added to the form that is wanted: how much of the entry's life is over is wanted too.
const WITH_SHARE: u32 = 4;
/// For so many ms JavaScript may take a hit for one at most: then L1 learns that the entry is in use, and the clock that counts
/// the time a machine slept is asked.
const NEAR_MS: u32 = 1_000;

pub(super) unsafe extern "C" fn hit(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    // SAFETY: a callback's own; the arguments are live values of this call.
    unsafe { called(env, info, |hot, arguments| hot.look(env, arguments)) }
}

impl Hot {
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
            return ptr::null_mut();
        };
        // SAFETY: as this function's.
        let (form, ticket) = unsafe { (number(env, want), number(env, ticket)) };
        let (proof, now) = (self.cache.proof(key), clock::now());
        let hit = self.cache.hit_until(key, now);
        let Some((entry, until)) = hit.filter(|_| !self.cache.is_awaited(key)) else {
            let claim = (ticket, As::from(form));
            return self.operate(env, key, claim, |cache, key, waiter| {
                cache.get(key, None, waiter)
            });
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
