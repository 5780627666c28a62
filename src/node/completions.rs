//! The completion queue of one environment (a thread): what ends is pushed here from any thread, the event loop is
//! woken once per batch, and JavaScript takes the batch. It never keeps the loop alive; JavaScript does, while
//! something is pending.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use napi::{
    Env,
    bindgen_prelude::{Array, Function, Object, Result},
};
use napi_derive::napi;
use parking_lot::Mutex;

use super::{outcome, wake::Wake};
use crate::{
    cache::{
        Cache, Outcome,
        outcome::{Notice, Sink},
    },
    error::{CacheError, Code},
};

enum Item {
    Settled(u32, Outcome),
    Noticed(Notice, String),
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

    fn take(&self, most: usize) -> VecDeque<Item> {
        let mut items = self.items.lock();
        if items.len() <= most {
            // What is pushed from now on wakes again.
            self.woken.store(false, Ordering::SeqCst);
            return std::mem::take(&mut *items);
        }
        items.drain(..most).collect()
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
}

#[napi]
impl Completions {
    /// `wake` is called on the event loop when something has ended since the queue was last emptied. `resource` is what
    /// `async_hooks` is shown for it.
    #[napi(constructor)]
    pub fn new(env: &Env, wake: Function<'_, (), ()>, resource: Object<'_>) -> Result<Self> {
        let wake = Wake::new(env, &wake, &resource)?;
        let queue = Arc::new(Queue {
            items: Mutex::default(),
            woken: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            wake,
            caches: Mutex::default(),
        });
        env.add_env_cleanup_hook(Arc::clone(&queue), Queue::end)?;
        Ok(Self { queue })
    }

    /// At most `most` ends, flat: ticket, kind, value. If there were more, the caller comes again by itself.
    #[napi]
    pub fn take<'env>(&self, env: &'env Env, most: u32) -> Result<Array<'env>> {
        let items = self.queue.take(most as usize);
        let length = u32::try_from(items.len() * 3).unwrap_or(0);
        let mut array = Array::from_vec(env, Vec::<u32>::with_capacity(0))?;
        for (item, at) in items.into_iter().zip((0..length).step_by(3)) {
            match item {
                Item::Settled(ticket, end) => {
                    array.set(at, ticket)?;
                    if outcome::put(env, &mut array, at + 1, end).is_err() {
                        // Such as a text longer than a string can be: that must not cost the others their answers.
                        let text = "the answer could not be turned into a JavaScript value";
                        let failed = CacheError::new(Code::Internal, text);
                        outcome::put(env, &mut array, at + 1, Outcome::Error(failed))?;
                    }
                }
                Item::Noticed(kind, json) => {
                    array.set(at, 0)?;
                    array.set(at + 1, kind as u32)?;
                    array.set(at + 2, json)?;
                }
            }
        }
        Ok(array)
    }
}

impl Completions {
    /// The queue itself.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}
