//! Waiting for a lease that somebody else holds: until its key or the value's is heard to have changed, or its time is
//! over.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::sleep,
};

use crate::cache::{Cache, Key};

/// The first pause between two looks, and the longest.
const PAUSE_MS: (u64, u64) = (20, 500);
/// The longest where changes are heard of.
const HEARD_PAUSE_MS: u64 = 2_000;
/// How much later than the end of a lease it is looked at: Redis' clock and ours round differently.
const SLACK_MS: u64 = 5;

/// Who waits for a change of which key.
#[derive(Default)]
pub(in crate::cache) struct Waits {
    of: Mutex<HashMap<Key, (usize, Arc<Notify>)>>,
    count: AtomicUsize,
}

/// A place among those who wait for a key.
pub(in crate::cache) struct Place<'a> {
    waits: &'a Waits,
    key: Key,
    notify: Arc<Notify>,
}

impl Waits {
    /// Waits for changes of `key` from now on.
    pub(in crate::cache) fn enlist(&self, key: &Key) -> Place<'_> {
        let mut of = self.of.lock();
        let (count, notify) = of.entry(Arc::clone(key)).or_default();
        *count += 1;
        self.count.fetch_add(1, SeqCst);
        Place {
            waits: self,
            key: Arc::clone(key),
            notify: Arc::clone(notify),
        }
    }

    /// Whether anybody waits for anything.
    pub(in crate::cache) fn is_any(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// The key was changed.
    pub(in crate::cache) fn tell(&self, key: &[u8]) {
        if self.is_any()
            && let Some((_, notify)) = self.of.lock().get(key)
        {
            notify.notify_waiters();
        }
    }

    /// Any key may have been changed, or nobody will say any more that one was.
    pub(in crate::cache) fn tell_all(&self) {
        for (_, notify) in self.of.lock().values() {
            notify.notify_waiters();
        }
    }
}

impl Place<'_> {
    /// Ready once the key changes, from now on.
    pub(in crate::cache) fn change(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut of = self.waits.of.lock();
        self.waits.count.fetch_sub(1, SeqCst);
        if let Some((count, _)) = of.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.key);
            }
        }
    }
}

/// The pauses of one who waits.
pub(in crate::cache) struct Pauses {
    next_ms: u64,
    most_ms: u64,
}

impl Pauses {
    /// Of one who waits for a lease under `key`.
    pub(in crate::cache) fn new(cache: &Cache, key: &[u8]) -> Self {
        let is_told = cache.l2.is_none() || cache.l2.as_ref().is_some_and(|l2| l2.is_pushed(key));
        Self {
            next_ms: if is_told { HEARD_PAUSE_MS } else { PAUSE_MS.0 },
            most_ms: if is_told { HEARD_PAUSE_MS } else { PAUSE_MS.1 },
        }
    }

    /// Waits until somebody says that it is worth another look, the lease is over, or it is time to look anyway.
    pub(in crate::cache) async fn wait(&mut self, left_ms: u64, change: impl Future<Output = ()>) {
        let pause = self.next_ms.min(left_ms.saturating_add(SLACK_MS));
        self.next_ms = (self.next_ms * 2).min(self.most_ms);
        tokio::select! {
            () = sleep(Duration::from_millis(pause)) => (),
            () = change => (),
        }
    }
}
