//! Caches that were given a name: handles in all threads of the process share one, as long as one of them is open.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::runtime::Handle as Runtime;

use crate::{
    cache::{Cache, Outcome, Waiter, outcome::Sink},
    config::Config,
    error::{CacheError, Code},
};

static NAMED: LazyLock<Mutex<HashMap<String, Weak<Shared>>>> = LazyLock::new(Mutex::default);

/// A cache and how many handles hold it open.
struct Shared {
    cache: Arc<Cache>,
    open: AtomicUsize,
}

/// One handle of a cache. The last one to be closed or dropped closes the cache.
pub struct Handle {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

impl Handle {
    /// A handle, for the environment `sink`, of the cache that `config` names, or of a new one.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` if the name is taken by a cache with other options, or the options are no good.
    pub fn open(
        config: Config,
        runtime: Runtime,
        sink: &Arc<dyn Sink>,
    ) -> Result<Self, CacheError> {
        let Some(name) = config.name.clone() else {
            return Ok(Self::of(Arc::new(Shared::new(config, runtime, sink)?)));
        };
        let mut named = NAMED.lock();
        named.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = named
            .get(&name)
            .and_then(Weak::upgrade)
            .filter(|shared| shared.open.load(Ordering::SeqCst) > 0 && !shared.cache.is_closed())
        {
            if shared.cache.config.fingerprint != config.fingerprint {
                let text = format!(
                    "Expected the options of the cache named \"{name}\" to be those it was made with"
                );
                return Err(CacheError::new(Code::Options, text));
            }
            shared.cache.notices.listen(sink);
            return Ok(Self::of(shared));
        }
        let shared = Arc::new(Shared::new(config, runtime, sink)?);
        named.insert(name, Arc::downgrade(&shared));
        Ok(Self::of(shared))
    }

    fn of(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self {
            shared,
            closed: AtomicBool::new(false),
        }
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.shared.cache
    }

    /// Closes this handle, and the cache with the last one.
    pub fn close(&self, waiter: Waiter) -> Option<Outcome> {
        if self.shut() || self.shared.cache.is_closed() {
            self.shared.cache.close(waiter)
        } else {
            waiter.now(Outcome::Undefined)
        }
    }

    /// True if this was the last handle. Under the lock of the names, so that nobody takes up what is closing.
    fn shut(&self) -> bool {
        let _named = NAMED.lock();
        !self.closed.swap(true, Ordering::SeqCst)
            && self.shared.open.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shut() {
            self.shared.cache.close_unheard();
        }
    }
}

impl Shared {
    fn new(config: Config, runtime: Runtime, sink: &Arc<dyn Sink>) -> Result<Self, CacheError> {
        Ok(Self {
            cache: Cache::new(config, &runtime, sink)?,
            open: AtomicUsize::new(0),
        })
    }
}
