//! What a cache does now and then, off the event loop: drop entries whose time is over, so that memory and counts are
//! honest. L1's store does not know our expiry, and lets go of what is dead only when it needs the room.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::Cache;
use crate::clock;

/// How often a small L1 is swept.
const SWEEP: Duration = Duration::from_secs(5);
/// A large L1 is swept once in so many rounds.
const ROUNDS_IF_LARGE: u32 = 12;
/// From how many entries on an L1 is large.
const LARGE: u64 = 100_000;

/// Starts the rounds of `cache`; they end with it.
pub fn start(cache: &Arc<Cache>) {
    cache.runtime.spawn(rounds(Arc::downgrade(cache)));
}

async fn rounds(weak: Weak<Cache>) {
    let mut round = 0_u32;
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(cache) = weak.upgrade() else { return };
        round = round.wrapping_add(1);
        let _ = tokio::task::spawn_blocking(move || cache.sweep(round)).await;
    }
}

impl Cache {
    fn sweep(&self, round: u32) {
        self.tags.sweep();
        let Some(l1) = &self.l1 else { return };
        l1.release_aside(|key| self.generation_in_use(key));
        if l1.figures().entries > LARGE && !round.is_multiple_of(ROUNDS_IF_LARGE) {
            return;
        }
        let now = clock::now();
        for key in l1.useless_keys(now) {
            let _locked = self.table.lock(&key);
            l1.sweep(&key, now);
        }
    }
}
