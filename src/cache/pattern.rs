//! Removing what matches a pattern, or everything, and listing keys: over both tiers, and over every server that there is.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use futures_util::future::join_all;

use super::{
    Cache, Key, Outcome, Waiter,
    invalidate::{count, number},
};
use crate::{
    error::{CacheError, Code},
    l2::{
        Link, commands,
        link::meaning_of,
        port::{Failure, Request},
    },
    resilience::{gate::Kind, glob},
};

/// Keys a step of SCAN looks at.
const SCAN_COUNT: usize = 500;

/// How far a removal by pattern has come: called with the number of keys removed so far.
pub type Progress = Box<dyn Fn(u64) + Send + Sync>;

impl Cache {
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
            for removed in join_all(removals).await {
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
        let removed = keys
            .iter()
            .filter(|key| self.table.lock(key).mutate(|| self.drop_from_l1(key)));
        let removed = removed.count() as u64;
        // JavaScript may hold what L1 has evicted.
        self.tide.turn();
        removed
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
                for reply in join_all(unlinks).await {
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
            link.heard_of_telling(&self.call_on(&link, Request::Raw(publish)).await);
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
            self.tide.turn();
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
            let flushed = join_all(flushed).await;
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
            Some(keys.iter().map(|key| key.to_vec()).collect())
        };
        tokio::task::spawn_blocking(list)
            .await
            .ok()
            .flatten()
            .unwrap_or_default()
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
