//! What others changed in Redis, and what L1 does about it. Called by the connection's driver, in the order in which
//! changes and replies came, so that a reply that crosses its own invalidation finds its token gone.

use std::sync::{Arc, OnceLock, Weak, atomic::Ordering::Relaxed};

use serde_json::json;

use super::{Cache, Key};
use crate::{
    clock,
    l2::{Link, Listener, bus::TAG},
    resilience::glob,
    telemetry::counters::InvalidationSource,
};

/// The cache that hears, from when it is there and as long as it lives.
#[derive(Default)]
pub(super) struct Ear(OnceLock<Weak<Cache>>);

impl Ear {
    /// Whom it belongs to, said once.
    pub(super) fn belong_to(&self, cache: &Arc<Cache>) {
        let _ = self.0.set(Arc::downgrade(cache));
    }

    fn cache(&self) -> Option<Arc<Cache>> {
        self.0.get()?.upgrade()
    }
}

impl Listener for Ear {
    fn changed(&self, keys: &[&[u8]]) {
        if let Some(cache) = self.cache() {
            cache.changed_elsewhere(keys);
        }
    }

    fn removed(&self, pattern: &[u8]) {
        if let Some(cache) = self.cache() {
            cache.removed_elsewhere(pattern);
        }
    }

    fn missed(&self, link: Option<&Link>) {
        if let Some(cache) = self.cache() {
            cache.missed_changes(link);
        }
    }
}

impl Cache {
    fn changed_elsewhere(self: &Arc<Self>, keys: &[&[u8]]) {
        let own = [self.config.prefix.as_bytes(), b"~"].concat();
        let tag = [self.config.prefix.as_bytes(), TAG].concat();
        for key in keys.iter().filter(|key| key.starts_with(&own)) {
            self.waits.tell(key);
            if key.starts_with(&tag) {
                self.tags.change(key);
            } else if let Some(pattern) = self.l2.as_ref().and_then(|l2| l2.heard_mark(key)) {
                self.removed_elsewhere(&pattern);
            }
        }
        let mut dropped = 0;
        for key in keys.iter().filter(|key| !key.starts_with(&own)) {
            let key: Key = Arc::from(*key);
            let in_order = self.l2.as_ref().is_some_and(|l2| l2.is_pushed(&key));
            let mut locked = self.table.lock(&key);
            dropped += u64::from(locked.hear(in_order, || self.drop_from_l1(&key)));
            drop(locked);
            self.waits.tell(&key);
        }
        self.note_changes(keys.len());
        let counted = &self.counters.invalidations;
        counted.add(InvalidationSource::Remote, dropped);
        if dropped > 0 {
            self.tell_invalidated("keys");
        }
    }

    fn removed_elsewhere(self: &Arc<Self>, pattern: &[u8]) {
        self.table.forget(|key| glob::matches(pattern, key));
        let (cache, pattern) = (Arc::clone(self), pattern.to_vec());
        self.runtime.spawn_blocking(move || {
            let dropped = cache.drop_matches(&pattern);
            let counted = &cache.counters.invalidations;
            counted.add(InvalidationSource::Remote, dropped);
            cache.tell_invalidated("pattern");
        });
    }

    /// Reads under way may be from before what was missed, and so may all that L1 holds: the next read of each key asks
    /// Redis, and L1 answers only if that fails. Who waits for a change looks for himself: Redis may be gone.
    fn missed_changes(&self, link: Option<&Link>) {
        self.table.forget(|_| true);
        match (link, &self.l2) {
            (Some(link), _) => link.port.renew_generation(),
            (None, Some(l2)) => {
                for link in l2.links() {
                    link.port.renew_generation();
                }
            }
            (None, None) => (),
        }
        self.waits.tell_all();
        self.tell_invalidated("all");
    }

    fn tell_invalidated(&self, kind: &str) {
        if self.tells_invalidated.load(Relaxed) {
            let body = json!({ "type": "invalidated", "kind": kind, "source": "remote" });
            self.notices.event(body);
        }
    }

    /// From now on the application is told when entries are invalidated from outside.
    pub fn tell_of_invalidations(&self) {
        self.tells_invalidated.store(true, Relaxed);
    }

    /// Warns of a flood: each change that is pushed costs this process some microseconds, and Redis as much for each client.
    fn note_changes(&self, count: usize) {
        let rate = self.flood.lock().note(count as u64, clock::now());
        if let Some(rate) = rate {
            let text = format!(
                "others change {rate} keys a second under this namespace, and Redis tells this process of each: give other programs' keys \
                 another namespace, or set invalidation to 'pubsub' or 'off'"
            );
            self.notices.warn("invalidation-flood", &text);
        }
    }
}
