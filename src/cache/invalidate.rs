//! Removing: one key, many, a pattern, everything; and listing keys. Both tiers, and nothing that is under way may
//! bring back what was removed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
};

use redis::Value;

use super::{Cache, Key, Outcome, Waiter};
use crate::{
    error::{CacheError, Code},
    l2::{
        commands,
        link::meaning_of,
        port::{Failure, Reply, Request},
    },
    resilience::{gate::Kind, glob},
};

/// Keys a step of SCAN looks at.
const SCAN_COUNT: usize = 500;

/// How far a removal by pattern has come: called with the number of keys removed so far.
pub type Progress = Box<dyn Fn(u64) + Send + Sync>;

impl Cache {
    /// Removes `key`; true if either tier had it.
    pub fn delete(
        self: &Arc<Self>,
        key: &Key,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        self.counters.l1_deletes.fetch_add(1, Relaxed);
        let mut locked = self.table.lock(key);
        let had = locked.mutate(|| self.drop_from_l1(key));
        if self.taking_link(Kind::Deletion).is_none() {
            self.distrust(key);
            return waiter.now(self.away(key, strict, Outcome::Bool(had)));
        }
        let asked = Arc::clone(key);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                Ok(value) => Outcome::Bool(had || commands::integer(&value) > Some(0)),
                Err(failure) if strict => Outcome::Error(cache.failed(&failure, &asked)),
                Err(_) => Outcome::Bool(had),
            });
        };
        self.send_write(&[Arc::clone(key)], commands::unlink(&[key]), Box::new(told));
        drop(locked);
        None
    }

    /// Removes `keys` with one command; the number that either tier had.
    pub fn delete_many(
        self: &Arc<Self>,
        mut keys: Vec<Key>,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        keys.sort_unstable();
        keys.dedup();
        self.counters
            .l1_deletes
            .fetch_add(keys.len() as u64, Relaxed);
        if keys.is_empty() {
            return waiter.now(count(0));
        }
        let local = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&local);
        let drop_one = move |key: &Key| {
            counted.fetch_add(usize::from(self.drop_from_l1(key)), Relaxed);
        };
        if self.taking_link(Kind::Deletion).is_none() {
            self.table.mutate_all(&keys, drop_one, || {
                for key in &keys {
                    self.distrust(key);
                }
            });
            return waiter.now(self.away(&keys[0], strict, count(local.load(Relaxed))));
        }
        let told = move |cache: &Arc<Self>, reply: Reply| {
            waiter.settle(match reply {
                // Redis counts what it had; what only L1 had is not told apart from what both had.
                Ok(value) => count(local.load(Relaxed).max(number(&value))),
                Err(failure) if strict => Outcome::Error(cache.failed(&failure, b"")),
                Err(_) => count(local.load(Relaxed)),
            });
        };
        let send = || self.send_write(&keys, commands::unlink(&keys), Box::new(told));
        self.table.mutate_all(&keys, drop_one, send);
        None
    }

    /// Removes every key that matches `pattern` (the namespace is part of it); the number removed.
    pub fn delete_pattern(
        self: &Arc<Self>,
        pattern: Vec<u8>,
        strict: Option<bool>,
        progress: Option<Progress>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        let strict = self.strict(strict);
        let (cache, pattern) = (Arc::clone(self), Arc::<[u8]>::from(pattern));
        self.runtime.spawn(async move {
            let removed = cache.remove_matches(&pattern, strict, progress).await;
            waiter.settle(removed.map_or_else(Outcome::Error, |removed| {
                count(usize::try_from(removed).unwrap_or(0))
            }));
        });
        None
    }

    async fn remove_matches(
        self: &Arc<Self>,
        pattern: &Arc<[u8]>,
        strict: bool,
        progress: Option<Progress>,
    ) -> Result<u64, CacheError> {
        let _barred = Barred::new(self, pattern);
        let matched = Arc::clone(pattern);
        self.table.forget(|key| glob::matches(&matched, key));
        let cache = Arc::clone(self);
        let local = tokio::task::spawn_blocking(move || cache.remove_from_l1(&matched)).await;
        let local = local.unwrap_or_default();
        if self.taking_link(Kind::Deletion).is_none() {
            self.journal_pattern(pattern);
            let failure = Failure::Unavailable;
            return if strict && self.link.is_some() {
                Err(self.failed(&failure, b""))
            } else {
                Ok(local)
            };
        }
        match self.unlink_matches(pattern, progress).await {
            Ok(removed) => Ok(removed.max(local)),
            Err(failure) => {
                if let Failure::Refused(error) = &failure
                    && meaning_of(error).is_for_good()
                {
                    self.warn_of_forbidden(error);
                } else {
                    self.journal_pattern(pattern);
                }
                if strict {
                    Err(self.failed(&failure, b""))
                } else {
                    Ok(local)
                }
            }
        }
    }

    fn journal_pattern(&self, pattern: &Arc<[u8]>) {
        if let Some(link) = &self.link {
            let mut journal = link.journal.lock();
            journal.record_pattern(pattern.to_vec().into());
            link.port.note_journal(&journal);
        }
    }

    fn remove_from_l1(&self, pattern: &[u8]) -> u64 {
        let removed = self.drop_matches(pattern);
        self.counters.l1_deletes.fetch_add(removed, Relaxed);
        removed
    }

    /// Drops what matches from L1; how many there were. Iterates everything: not for the event loop.
    pub(super) fn drop_matches(&self, pattern: &[u8]) -> u64 {
        let Some(l1) = &self.l1 else { return 0 };
        let keys = l1.keys_where(|key, _| glob::matches(pattern, key));
        let removed = keys.iter().filter(|key| {
            let key: Key = Arc::from(key.as_ref());
            self.table.lock(&key).mutate(|| self.drop_from_l1(&key))
        });
        removed.count() as u64
    }

    async fn unlink_matches(
        &self,
        pattern: &[u8],
        progress: Option<Progress>,
    ) -> Result<u64, Failure> {
        let mut cursor = "0".to_owned();
        let mut removed = 0;
        loop {
            let page = self
                .call(Request::Raw(commands::scan(&cursor, pattern, SCAN_COUNT)))
                .await?;
            let (next, keys) = commands::scanned(page).ok_or(Failure::Disconnected)?;
            self.note_step(&next, SCAN_COUNT, keys.len());
            let keys = commands::users(keys, &self.config.prefix);
            if !keys.is_empty() {
                let reply = self.call(Request::Raw(commands::unlink(&keys))).await?;
                removed += u64::try_from(commands::integer(&reply).unwrap_or(0)).unwrap_or(0);
                if let Some(progress) = &progress {
                    progress(removed);
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        self.publish_removal(pattern).await;
        Ok(removed)
    }

    /// Others may hold what matches in their L1 only.
    async fn publish_removal(&self, pattern: &[u8]) {
        let Some(link) = &self.link else { return };
        if let Some(publish) = link.bus.telling_of_pattern(pattern) {
            link.heard_of_publishing(&self.call(Request::Raw(publish)).await);
        }
    }

    /// Removes everything in `prefix` (the whole namespace if it is the cache's own), or the whole database.
    pub fn clear(
        self: &Arc<Self>,
        prefix: &str,
        whole_database: bool,
        strict: Option<bool>,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Error(Self::closed_error()));
        }
        if prefix.is_empty() && self.link.is_some() && !whole_database {
            return waiter.now(Outcome::Error(everything("clear()")));
        }
        let strict = self.strict(strict);
        if prefix == self.config.prefix {
            self.clear_l1();
            if self.link.is_none() {
                return waiter.now(Outcome::Undefined);
            }
        }
        let cache = Arc::clone(self);
        let mut pattern = glob::escape(prefix.as_bytes());
        pattern.push(b'*');
        self.runtime.spawn(async move {
            let cleared = if pattern == b"*" && cache.open_link().is_some() {
                cache.flush_database(strict).await
            } else {
                cache
                    .remove_matches(&pattern.into(), strict, None)
                    .await
                    .map(drop)
            };
            waiter.settle(cleared.map_or_else(Outcome::Error, |()| Outcome::Undefined));
        });
        None
    }

    /// Forgets all of L1 at once; the memory is given back on another thread.
    pub(super) fn clear_l1(self: &Arc<Self>) {
        if let Some(l1) = &self.l1 {
            let old = l1.clear();
            self.runtime.spawn_blocking(move || drop(old));
        }
        self.table.forget(|_| true);
    }

    async fn flush_database(self: &Arc<Self>, strict: bool) -> Result<(), CacheError> {
        let everything: Key = Arc::from(&b"*"[..]);
        let _barred = Barred::new(self, &everything);
        let mut flush = redis::cmd("FLUSHDB");
        flush.arg("ASYNC");
        match self.call(Request::Raw(flush)).await {
            Ok(_) => {
                // What was read meanwhile is from before.
                self.clear_l1();
                if let Some(link) = &self.link {
                    link.epoch.store(0, SeqCst);
                }
                Ok(())
            }
            Err(failure) => {
                self.journal_pattern(&everything);
                if strict {
                    Err(self.failed(&failure, b""))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// One step of listing keys that match `pattern`, names without `prefix`; from L1 where there is no link.
    pub fn scan(
        self: &Arc<Self>,
        pattern: Vec<u8>,
        prefix: String,
        cursor: String,
        waiter: Waiter,
    ) -> Option<Outcome> {
        if self.is_closed() {
            return waiter.now(Outcome::Page("0".to_owned(), Vec::new()));
        }
        let cache = Arc::clone(self);
        self.runtime.spawn(async move {
            let page = if cache.open_link().is_some() {
                let page = cache
                    .call(Request::Raw(commands::scan(&cursor, &pattern, SCAN_COUNT)))
                    .await;
                page.map(|page| {
                    let (next, keys) = commands::scanned(page).unwrap_or_default();
                    cache.note_step(&next, SCAN_COUNT, keys.len());
                    (next, keys)
                })
            } else {
                Ok(("0".to_owned(), cache.keys_in_l1(pattern).await))
            };
            waiter.settle(match page {
                Ok((next, keys)) => Outcome::Page(next, names(&prefix, keys)),
                Err(failure) => Outcome::Error(cache.failed(&failure, b"")),
            });
        });
        None
    }

    async fn keys_in_l1(self: &Arc<Self>, pattern: Vec<u8>) -> Vec<Vec<u8>> {
        let cache = Arc::clone(self);
        let list = move || {
            let now = crate::clock::now();
            let l1 = cache.l1.as_ref()?;
            let keys =
                l1.keys_where(|key, entry| !entry.expired(now) && glob::matches(&pattern, key));
            Some(keys.into_iter().map(<[u8]>::into_vec).collect())
        };
        tokio::task::spawn_blocking(list)
            .await
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Removes a key that turned out to be damaged.
    pub(super) fn discard(self: &Arc<Self>, key: &Key) {
        let mut locked = self.table.lock(key);
        locked.mutate(|| self.drop_from_l1(key));
        self.send_write(
            &[Arc::clone(key)],
            commands::unlink(&[key]),
            Box::new(|_, _| ()),
        );
        drop(locked);
        self.wake();
    }
}

/// Refuses what would empty a database that other programs may use.
#[must_use]
pub fn everything(what: &str) -> CacheError {
    let text = format!(
        "{what} without a namespace would remove other programs' keys too: set a namespace, or pass {{ wholeDatabase: true }}"
    );
    CacheError::new(Code::Options, text)
}

fn names(prefix: &str, keys: Vec<Vec<u8>>) -> Vec<String> {
    keys.into_iter()
        .filter_map(|key| {
            let name = key.strip_prefix(prefix.as_bytes())?;
            // Our own keys are nobody's business.
            (!name.starts_with(b"~")).then(|| String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

/// The number in a reply, 0 if there is none.
fn number(value: &Value) -> usize {
    commands::integer(value)
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(0)
}

fn count(number: usize) -> Outcome {
    #[expect(clippy::cast_precision_loss, reason = "no cache has 2^53 keys")]
    Outcome::Number(number as f64)
}

/// Keeps matches of a pattern out of L1 while they are being removed.
struct Barred<'a> {
    cache: &'a Cache,
    pattern: Arc<[u8]>,
}

impl<'a> Barred<'a> {
    fn new(cache: &'a Cache, pattern: &Arc<[u8]>) -> Self {
        cache.removing.write().push(Arc::clone(pattern));
        cache.removing_count.fetch_add(1, SeqCst);
        Self {
            cache,
            pattern: Arc::clone(pattern),
        }
    }
}

impl Drop for Barred<'_> {
    fn drop(&mut self) {
        let mut removing = self.cache.removing.write();
        if let Some(at) = removing
            .iter()
            .position(|pattern| Arc::ptr_eq(pattern, &self.pattern))
        {
            removing.swap_remove(at);
            self.cache.removing_count.fetch_sub(1, SeqCst);
        }
    }
}
