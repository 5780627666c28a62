//! Removing: one key, many, a pattern, everything; and listing keys. Both tiers, and nothing that is under way may
//! bring back what was removed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
};

use parking_lot::Mutex;
use redis::Value;

use super::{Cache, Key, Outcome, Waiter};
use crate::{
    error::{CacheError, Code},
    l2::{
        Link, commands,
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
        if !self.takes(key, Kind::Deletion) {
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
        let removal = Arc::new(Removal::new(strict, waiter));
        let counting = Arc::clone(&removal);
        let drop_one = move |key: &Key| {
            counting
                .local
                .fetch_add(usize::from(self.drop_from_l1(key)), Relaxed);
        };
        let groups = match &self.l2 {
            Some(l2) => l2.groups(keys.clone()),
            None => Vec::new(),
        };
        self.table.mutate_all(&keys, drop_one, || {
            for keys in groups {
                self.remove_group(&keys, &removal);
            }
        });
        removal.settle_last(self, true)
    }

    /// Deletes keys that one command may name, or journals them.
    fn remove_group(self: &Arc<Self>, keys: &[Key], removal: &Arc<Removal>) {
        if !self.takes(&keys[0], Kind::Deletion) {
            for key in keys {
                self.distrust(key);
            }
            removal.note(&Err(Failure::Unavailable));
            return;
        }
        removal.missing.fetch_add(1, SeqCst);
        let removal = Arc::clone(removal);
        let told = move |cache: &Arc<Self>, reply: Reply| {
            removal.note(&reply);
            removal.settle_last(cache, false);
        };
        self.send_write(keys, commands::unlink(keys), Box::new(told));
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
        let progress = Arc::new(Steps::new(progress));
        let mut failed = None;
        let mut done = Vec::new();
        while let Some(links) = self.links_beside(&done) {
            let removals = links
                .iter()
                .map(|link| self.remove_on(link, pattern, &progress));
            for removed in futures_util::future::join_all(removals).await {
                failed = failed.or(removed.err());
            }
            done.extend(links);
        }
        self.publish_removal(pattern).await;
        match failed {
            Some(failure) if strict => Err(self.failed(&failure, b"")),
            // What only L1 had is not told apart from what both had.
            Some(_) | None => Ok(local.max(progress.removed.load(Relaxed))),
        }
    }

    /// The links that are not `done`, if there are any: the first one to come up may find that there are more.
    fn links_beside(&self, done: &[Arc<Link>]) -> Option<Vec<Arc<Link>>> {
        let mut links = self.l2.as_ref()?.links();
        links.retain(|link| !done.iter().any(|each| Arc::ptr_eq(each, link)));
        (!links.is_empty()).then_some(links)
    }

    /// Removes what matches from one server, or journals the pattern.
    async fn remove_on(
        self: &Arc<Self>,
        link: &Arc<Link>,
        pattern: &[u8],
        progress: &Steps,
    ) -> Result<(), Failure> {
        let removed = if link.takes(Kind::Deletion) {
            self.unlink_matches(link, pattern, progress).await
        } else {
            Err(Failure::Unavailable)
        };
        match &removed {
            Err(Failure::Refused(error)) if meaning_of(error).is_for_good() => {
                self.warn_of_forbidden(error);
            }
            Err(_) => self.distrust_pattern(link, pattern),
            Ok(()) => (),
        }
        removed
    }

    fn distrust_pattern(&self, link: &Arc<Link>, pattern: &[u8]) {
        if let Some(l2) = &self.l2 {
            l2.distrust_pattern(link, pattern);
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
        link: &Arc<Link>,
        pattern: &[u8],
        progress: &Steps,
    ) -> Result<(), Failure> {
        let mut cursor = "0".to_owned();
        loop {
            let scan = Request::Raw(commands::scan(&cursor, pattern, SCAN_COUNT));
            let page = self.call_on(link, scan).await?;
            let (next, keys) = commands::scanned(page).ok_or(Failure::Disconnected)?;
            self.note_step(&next, SCAN_COUNT, keys.len());
            let keys = commands::users(keys, &self.config.prefix);
            if !keys.is_empty() {
                let groups = self.l2.as_ref().map(|l2| l2.groups(keys));
                let unlinks = groups
                    .into_iter()
                    .flatten()
                    .map(|keys| self.call(Request::Raw(commands::unlink(&keys))));
                let mut removed = 0;
                for reply in futures_util::future::join_all(unlinks).await {
                    removed += number(&reply?) as u64;
                }
                progress.note(removed);
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Others may hold what matches in their L1 only.
    async fn publish_removal(&self, pattern: &[u8]) {
        let Some(l2) = &self.l2 else { return };
        let link = l2.any();
        if let Some(publish) = link.telling_of_pattern(pattern)
            && link.port.is_open()
        {
            link.heard_of_publishing(&self.call_on(&link, Request::Raw(publish)).await);
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
        if prefix.is_empty() && self.l2.is_some() && !whole_database {
            return waiter.now(Outcome::Error(everything("clear()")));
        }
        let strict = self.strict(strict);
        if prefix == self.config.prefix {
            self.clear_l1();
            if self.l2.is_none() {
                return waiter.now(Outcome::Undefined);
            }
        }
        let cache = Arc::clone(self);
        let mut pattern = glob::escape(prefix.as_bytes());
        pattern.push(b'*');
        self.runtime.spawn(async move {
            let cleared = if pattern == b"*" && cache.is_open() {
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
        let mut failed = None;
        let mut done = Vec::new();
        while let Some(links) = self.links_beside(&done) {
            let flushed = links.iter().map(|link| {
                let mut flush = redis::cmd("FLUSHDB");
                flush.arg("ASYNC");
                self.call_on(link, Request::Raw(flush))
            });
            let flushed = futures_util::future::join_all(flushed).await;
            for (link, flushed) in links.iter().zip(flushed) {
                match flushed {
                    Ok(_) => link.epoch.store(0, SeqCst),
                    Err(failure) => {
                        self.distrust_pattern(link, &everything);
                        failed = Some(failure);
                    }
                }
            }
            done.extend(links);
        }
        // What was read meanwhile is from before.
        self.clear_l1();
        match failed {
            Some(failure) if strict => Err(self.failed(&failure, b"")),
            Some(_) | None => Ok(()),
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
            let page = if cache.is_open() {
                cache.scan_in_redis(&pattern, &cursor).await
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

    /// One step over one of the servers; in a cluster the cursor says over which, counted from the last.
    async fn scan_in_redis(
        &self,
        pattern: &[u8],
        cursor: &str,
    ) -> Result<(String, Vec<Vec<u8>>), Failure> {
        let links = self.l2.as_ref().map(|l2| l2.links()).unwrap_or_default();
        let (left, cursor) = match cursor.split_once('.') {
            Some((left, cursor)) => (left.parse().unwrap_or(0), cursor),
            None => (links.len().saturating_sub(1), cursor),
        };
        let link = links.get(left).ok_or(Failure::Unavailable)?;
        let scan = Request::Raw(commands::scan(cursor, pattern, SCAN_COUNT));
        let page = self.call_on(link, scan).await?;
        let (next, keys) = commands::scanned(page).unwrap_or_default();
        self.note_step(&next, SCAN_COUNT, keys.len());
        let next = match (next.as_str(), left) {
            ("0", 0) => next,
            ("0", _) => format!("{}.0", left - 1),
            _ if links.len() == 1 => next,
            _ => format!("{left}.{next}"),
        };
        Ok((next, keys))
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

/// Counts what a removal by pattern removes, on however many servers.
struct Steps {
    removed: AtomicU64,
    told: Option<Progress>,
}

impl Steps {
    fn new(told: Option<Progress>) -> Self {
        Self {
            removed: AtomicU64::new(0),
            told,
        }
    }

    fn note(&self, removed: u64) {
        let all = self.removed.fetch_add(removed, Relaxed) + removed;
        if let Some(told) = &self.told {
            told(all);
        }
    }
}

/// Counts down the commands that delete several keys, and settles their one waiter.
struct Removal {
    /// Commands that are not answered, and one for the caller who is still on the stack.
    missing: AtomicUsize,
    /// What L1 had, and what Redis had.
    local: AtomicUsize,
    removed: AtomicUsize,
    failed: Mutex<Option<Failure>>,
    strict: bool,
    waiter: Mutex<Option<Waiter>>,
}

impl Removal {
    fn new(strict: bool, waiter: Waiter) -> Self {
        Self {
            missing: AtomicUsize::new(1),
            local: AtomicUsize::new(0),
            removed: AtomicUsize::new(0),
            failed: Mutex::new(None),
            strict,
            waiter: Mutex::new(Some(waiter)),
        }
    }

    fn note(&self, reply: &Reply) {
        match reply {
            Ok(value) => drop(self.removed.fetch_add(number(value), Relaxed)),
            Err(failure) => *self.failed.lock() = Some(failure.clone()),
        }
    }

    /// Settles if nothing is missing any more; gives the outcome to one who is still on the stack.
    fn settle_last(&self, cache: &Cache, on_stack: bool) -> Option<Outcome> {
        if self.missing.fetch_sub(1, SeqCst) > 1 {
            return None;
        }
        let waiter = self.waiter.lock().take()?;
        // Redis counts what it had; what only L1 had is not told apart from what both had.
        let outcome = match self.failed.lock().take() {
            Some(failure) if self.strict => Outcome::Error(cache.failed(&failure, b"")),
            Some(_) | None => count(self.local.load(Relaxed).max(self.removed.load(Relaxed))),
        };
        if on_stack {
            return waiter.now(outcome);
        }
        waiter.settle(outcome);
        None
    }
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
