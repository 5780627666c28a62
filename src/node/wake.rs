//! Waking the event loop of one environment from any thread. A thread-safe function of Node-API, made raw: only so can it
//! have an async resource that says, as Node's own handles do with `hasRef`, that it keeps no process alive (Jest's
//! search for open handles asks), and a wake-up allocates nothing.

#![expect(unsafe_code, reason = "raw Node-API, each call with its argument")]

use std::{ffi::c_void, ptr, sync::Arc};

use napi::{
    Env, Result,
    bindgen_prelude::{Function, JsValue, Object},
    check_status, sys,
};
use parking_lot::Mutex;

/// The thread-safe function; `None` once Node has taken it down with its environment.
type Slot = Mutex<Option<Raw>>;

struct Raw(sys::napi_threadsafe_function);

// SAFETY: Node-API lets any thread call and release a thread-safe function.
unsafe impl Send for Raw {}

/// Wakes one environment; by default none, as once it has ended.
#[derive(Default)]
pub(super) struct Wake {
    slot: Arc<Slot>,
}

impl Wake {
    /// `callback` is called on the event loop, without arguments, some time after each [`Wake::wake`]. `resource` is what
    /// `async_hooks` sees.
    pub(super) fn new(
        env: &Env,
        callback: &Function<'_, (), ()>,
        resource: &Object<'_>,
    ) -> Result<Self> {
        let name = env.create_string("evenkeel")?;
        let slot = Arc::new(Slot::new(None));
        let mut raw = ptr::null_mut();
        // SAFETY: all values are live ones of this environment. `finalized` takes over the slot's second owner.
        check_status!(unsafe {
            sys::napi_create_threadsafe_function(
                env.raw(),
                callback.raw(),
                resource.raw(),
                name.raw(),
                0,
                1,
                Arc::into_raw(Arc::clone(&slot)).cast_mut().cast(),
                Some(finalized),
                ptr::null_mut(),
                None,
                &raw mut raw,
            )
        })?;
        *slot.lock() = Some(Raw(raw));
        // SAFETY: it was made just now, and this is its thread.
        check_status!(unsafe { sys::napi_unref_threadsafe_function(env.raw(), raw) })?;
        Ok(Self { slot })
    }

    /// Has the callback called; does nothing once the environment has ended.
    pub(super) fn wake(&self) {
        if let Some(Raw(raw)) = &*self.slot.lock() {
            // SAFETY: Node takes it down only after `finalized`, which waits for the lock. It fails only when it closes.
            unsafe {
                sys::napi_call_threadsafe_function(
                    *raw,
                    ptr::null_mut(),
                    sys::ThreadsafeFunctionCallMode::nonblocking,
                );
            }
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(Raw(raw)) = self.slot.lock().take() {
            // SAFETY: as in `wake`; the one reference of its making goes, and nobody calls it any more.
            unsafe {
                sys::napi_release_threadsafe_function(
                    raw,
                    sys::ThreadsafeFunctionReleaseMode::abort,
                );
            }
        }
    }
}

/// Called by Node on the environment's thread before it frees the function.
unsafe extern "C" fn finalized(_env: sys::napi_env, slot: *mut c_void, _hint: *mut c_void) {
    // SAFETY: it was made by `Arc::into_raw` in `new`, and Node calls this once.
    let slot = unsafe { Arc::from_raw(slot.cast::<Slot>()) };
    slot.lock().take();
}
