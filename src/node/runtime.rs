//! The process' own tokio runtime. It never touches Node-API, lives as long as the process, and starts with the first
//! cache; so no environment's end can take it away from another.

use std::sync::OnceLock;

use napi::{Error, Result, Status, bindgen_prelude::retain_current_module_for_unload_safety};
use tokio::runtime::{Builder, Handle, Runtime};

/// One thread drives sockets and timers. With a second one each exchange went from thread to thread: 40 k instead of 55 k reads a
/// second with ten in flight, 180 k instead of 256 k with a hundred. What takes long runs on the blocking ones.
const WORKERS: usize = 1;

static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();

/// The runtime's handle.
///
/// # Errors
/// If the operating system gives no threads.
pub fn handle() -> Result<Handle> {
    let made = RUNTIME.get_or_init(|| {
        // Node unloads an addon with the last environment that loaded it; these threads stay.
        retain_current_module_for_unload_safety();
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("evenkeel")
            .enable_all()
            .build()
    });
    match made {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::new(
            Status::GenericFailure,
            format!("no threads for evenkeel: {error}"),
        )),
    }
}
