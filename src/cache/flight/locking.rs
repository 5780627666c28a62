//! One flight in all processes: before its factory runs, a flight takes the key's lease. Who does not get it waits for the
//! value, or for the lease. Nobody waits for a Redis that does not answer, and nobody for longer than a factory may take:
//! then everybody makes the value for himself.

use std::sync::Arc;

use super::Stage;
use crate::{
    cache::{
        Cache, Key,
        lease::{Attempt, Lease, Pauses, token},
        read::Found,
    },
    clock::{self, NEVER},
};

/// The life of a flight's lease: what the others wait for an owner that was killed.
const LEASE_MS: u64 = 5_000;

/// How a flight stands with the lease of its key.
#[derive(Default)]
pub(super) enum Lock {
    /// It needs none, or could have none: who leads, leads.
    #[default]
    Unwanted,
    /// It is to be taken before somebody leads.
    Wanted,
    /// Somebody sees to it.
    Sought,
    /// It is ours.
    Ours(#[expect(dead_code, reason = "held until it is dropped")] Lease),
}

impl Cache {
    /// Whether a flight that is to be led has to have the lease of its key first; then it is sought from now on.
    pub(super) fn locks_first(self: &Arc<Self>, id: u64, overwrite: bool) -> bool {
        let mut flights = self.flights.lock();
        let Some(flight) = flights.by_id.get_mut(&id) else {
            return false;
        };
        flight.overwrite |= overwrite;
        match flight.lock {
            Lock::Sought => return true,
            Lock::Unwanted | Lock::Ours(_) => return false,
            Lock::Wanted => (),
        }
        let lock = self.lock_key(&flight.key);
        let is_away = self.l2.is_some() && self.open_link(&lock).is_none();
        if is_away || self.l2.is_none() || !flight.stage.is_reading() {
            return false;
        }
        flight.lock = Lock::Sought;
        flight.stage = Stage::open();
        let patience = flight.terms.factory_timeout.map_or(NEVER, clock::millis);
        let key = Arc::clone(&flight.key);
        drop(flights);
        let cache = Arc::clone(self);
        self.runtime.spawn(async move {
            let until = clock::now().saturating_add(patience);
            if let Some(lock) = cache.seek_lease(id, &key, &lock, until).await {
                cache.lock_settled(id, lock);
            }
        });
        true
    }

    /// Redis did not answer a flight in time: whoever leads does not wait for it once more.
    pub(super) fn forgo_lease(&self, id: u64) {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.by_id.get_mut(&id)
            && matches!(flight.lock, Lock::Wanted)
        {
            flight.lock = Lock::Unwanted;
        }
    }

    /// How a flight stands with the lease in the end; `None` if it is over meanwhile.
    async fn seek_lease(
        self: &Arc<Self>,
        id: u64,
        key: &Key,
        lock: &Key,
        until: u64,
    ) -> Option<Lock> {
        let token = token();
        let (value, owner) = (self.waits.enlist(key), self.waits.enlist(lock));
        let mut pauses = Pauses::new(self, lock);
        loop {
            let change = (value.change(), owner.change());
            let left = match self.take_lease(lock, &token, LEASE_MS, || ()).await {
                Ok(Attempt::Taken(lease)) => {
                    // Whoever had it before may have stored the value.
                    let is_missing = self.is_still_missing(id, key).await;
                    return is_missing.then_some(Lock::Ours(lease));
                }
                Ok(Attempt::Held(left)) => left,
                Err(_) => return Some(Lock::Unwanted),
            };
            let now = clock::now();
            if now >= until {
                return Some(Lock::Unwanted);
            }
            let changed = async {
                tokio::select! { () = change.0 => (), () = change.1 => () }
            };
            pauses.wait(left.min(until - now), changed).await;
            // Whoever wanted it may be gone, one by one, without a word.
            self.abandon(id);
            if self.is_over(id) || !self.is_still_missing(id, key).await {
                return None;
            }
        }
    }

    /// Looks once more; what is there ends the flight.
    async fn is_still_missing(self: &Arc<Self>, id: u64, key: &Key) -> bool {
        match self.look_again(key).await {
            Some(found @ Found::Hit(_)) => {
                self.flight_read(id, found);
                !self.is_over(id)
            }
            Some(Found::Stale(_) | Found::Miss(_) | Found::Failed(_)) | None => true,
        }
    }

    fn is_over(&self, id: u64) -> bool {
        !self.flights.lock().by_id.contains_key(&id)
    }

    /// The lease of a flight was taken, or cannot be: somebody leads.
    fn lock_settled(self: &Arc<Self>, id: u64, lock: Lock) {
        {
            let mut flights = self.flights.lock();
            let Some(flight) = flights.by_id.get_mut(&id) else {
                return;
            };
            flight.lock = lock;
        }
        self.lead(id, false);
    }
}
