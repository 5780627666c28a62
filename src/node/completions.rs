//! The completion queue of one environment (a thread): what ends is pushed here from any thread, the event loop is
//! woken once per batch, and JavaScript takes the batch, the numbers by memory that both see. It never keeps the loop alive; JavaScript does, while
//! something is pending.

#![expect(
    unsafe_code,
    reason = "memory that JavaScript reads, with its argument"
)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use napi::{
    Env, Error, Status,
    bindgen_prelude::{Array, Function, Object, Result, Uint32Array},
};
use napi_derive::napi;
use parking_lot::Mutex;

use super::{outcome, wake::Wake};
use crate::cache::{
    Cache, Outcome,
    outcome::{Notice, Sink},
};

/// Ends that are handed over at once, and bytes of values, beyond which a queue waits for the next turn of the event loop.
const MOST: usize = 512;
const MOST_BYTES: usize = 256 << 10;
/// Items that there stays room for.
const KEPT: usize = 4 * MOST;

/// What an environment is told.
pub enum Item {
    /// The end of a ticket.
    Settled(u32, Outcome),
    /// What belongs to no ticket, as JSON.
    Noticed(Notice, String),
}

impl Item {
    /// About how many bytes JavaScript has to go through.
    fn bytes(&self) -> usize {
        match self {
            Self::Settled(_, end) => end.bytes(),
            Self::Noticed(_, json) => json.len(),
        }
    }
}

/// The queue behind [`Completions`].
pub struct Queue {
    items: Mutex<VecDeque<Item>>,
    /// A wake-up is on its way.
    woken: AtomicBool,
    alive: AtomicBool,
    wake: Wake,
    caches: Mutex<Vec<Weak<Cache>>>,
}

impl Default for Queue {
    /// Of an environment that nothing wakes.
    fn default() -> Self {
        Self {
            items: Mutex::default(),
            woken: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            wake: Wake::default(),
            caches: Mutex::default(),
        }
    }
}

impl Queue {
    fn push(&self, item: Item) {
        if !self.alive() {
            return;
        }
        self.items.lock().push_back(item);
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.wake.wake();
        }
    }

    /// Remembers a cache, to tell it when the environment ends.
    pub fn serves(&self, cache: &Arc<Cache>) {
        let mut caches = self.caches.lock();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(cache));
    }

    /// The environment ends: nobody waits here any more.
    fn end(self: Arc<Self>) {
        self.alive.store(false, Ordering::SeqCst);
        let caches = std::mem::take(&mut *self.caches.lock());
        let sink: Arc<dyn Sink> = self;
        for cache in caches.iter().filter_map(Weak::upgrade) {
            cache.environment_ended(&sink);
        }
    }

    /// Moves as many items to `taken`, which is empty, as the event loop can bear at once, `most` at most; whether there are
    /// more.
    pub fn take(&self, most: usize, taken: &mut VecDeque<Item>) -> bool {
        let mut items = self.items.lock();
        let mut bytes = 0;
        let fits = |item: &&Item| {
            let fits = bytes < MOST_BYTES;
            bytes += item.bytes();
            fits
        };
        let count = items.iter().take(most.min(MOST)).take_while(fits).count();
        if count < items.len() {
            taken.extend(items.drain(..count));
            return true;
        }
        std::mem::swap(&mut *items, taken);
        // What is pushed from now on wakes again.
        self.woken.store(false, Ordering::SeqCst);
        false
    }
}

impl Sink for Queue {
    fn settle(&self, ticket: u32, outcome: Outcome) {
        self.push(Item::Settled(ticket, outcome));
    }

    fn notice(&self, kind: Notice, json: String) {
        self.push(Item::Noticed(kind, json));
    }

    fn alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

/// The completion queue of one environment.
#[napi]
pub struct Completions {
    queue: Arc<Queue>,
    words: Uint32Array,
    /// Room for what is taken.
    taken: VecDeque<Item>,
}

#[napi]
impl Completions {
    /// `wake` is called on the event loop when something has ended since the queue was last emptied. `resource` is what
    /// `async_hooks` is shown for it. What ends is told in `words`.
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        wake: Function<'_, (), ()>,
        resource: Object<'_>,
        words: Uint32Array,
    ) -> Result<Self> {
        if words.len() < 2 * MOST + 1 {
            return Err(Error::new(Status::InvalidArg, "words is too short"));
        }
        let wake = Wake::new(env, &wake, &resource)?;
        let queue = Arc::new(Queue {
            wake,
            ..Queue::default()
        });
        env.add_env_cleanup_hook(Arc::clone(&queue), Queue::end)?;
        Ok(Self {
            queue,
            words,
            taken: VecDeque::new(),
        })
    }

    /// The values of what has ended, of `most` at most. The first word is 1 if there is more, for which the caller comes again by itself; then
    /// come the ticket and the kind of each.
    #[napi]
    pub fn take<'env>(&mut self, env: &'env Env, most: u32) -> Result<Array<'env>> {
        let mut items = std::mem::take(&mut self.taken);
        let more = self.queue.take(most as usize, &mut items);
        // SAFETY: nobody else has a hold of the words: JavaScript reads them between two calls of this function.
        let words = unsafe { self.words.as_mut() };
        let mut values = env.create_array(u32::try_from(items.len()).unwrap_or(0))?;
        words[0] = u32::from(more);
        for ((item, at), words) in items.drain(..).zip(0..).zip(words[1..].chunks_exact_mut(2)) {
            let (ticket, kind) = match item {
                Item::Settled(ticket, end) => {
                    let kind = outcome::put(env, &mut values, at, end)
                        .or_else(|_| outcome::put(env, &mut values, at, outcome::unmade()))?;
                    (ticket, kind)
                }
                Item::Noticed(kind, json) => {
                    values.set(at, json)?;
                    (0, kind as u32)
                }
            };
            words.copy_from_slice(&[ticket, kind]);
        }
        if items.capacity() <= KEPT {
            self.taken = items;
        }
        Ok(values)
    }
}

impl Completions {
    /// The queue itself.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}
