//! How often an operation allocates on the thread that asks: a guard that needs no clock. Where a number is another than here,
//! somebody changed what a call costs. If that is meant, the number is changed with it, and the commit says what it buys.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::TcpListener,
    sync::Arc,
};

use evenkeel::{
    cache::{
        As, Cache, Key, Outcome, Waiter,
        outcome::{Notice, Sink},
        write::WriteOptions,
    },
    clock,
    config::Config,
    entry::{Kind, Payload},
};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Nobody's event loop.
struct Nowhere;

impl Sink for Nowhere {
    fn settle(&self, _ticket: u32, _outcome: Outcome) {}
    fn notice(&self, _kind: Notice, _json: String) {}
    fn alive(&self) -> bool {
        true
    }
}

fn sink() -> Arc<dyn Sink> {
    Arc::new(Nowhere)
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().expect("threads")
}

fn cache(runtime: &Runtime, options: &str) -> Arc<Cache> {
    let config = Config::parse(options).expect("sound options");
    Cache::new(config, runtime.handle(), &sink()).expect("a cache")
}

fn key(name: &str) -> Key {
    name.as_bytes().into()
}

/// How often `work` allocates on this thread once it is warm, at least.
fn allocations(mut work: impl FnMut()) -> u64 {
    let once = |work: &mut dyn FnMut()| {
        let before = COUNT.with(Cell::get);
        work();
        COUNT.with(Cell::get) - before
    };
    // Tables and queues that grow do so seldom.
    (0..64).map(|_| once(&mut work)).min().unwrap_or(0)
}

#[test]
fn a_hit_allocates_nothing() {
    let runtime = runtime();
    let cache = cache(&runtime, "{}");
    let (key, sink) = (key("k"), sink());
    let waiter = Waiter::new(Arc::clone(&sink), 1, As::Value);
    let payload = Payload::new(Kind::Text, &b"value"[..]);
    let set = cache.set(&key, payload, &WriteOptions::default(), waiter);
    assert!(matches!(set, Some(Outcome::Undefined)));
    let count = allocations(|| {
        let proof = cache.proof(&key);
        assert!(cache.hit_until(&key, clock::now()).is_some());
        assert!(!cache.is_awaited(&key));
        assert_eq!(cache.proof(&key), proof);
    });
    assert_eq!(count, 0);
}

#[test]
fn a_set_in_memory_allocates_its_entry() {
    let runtime = runtime();
    let cache = cache(&runtime, "{}");
    let (key, sink) = (key("k"), sink());
    let count = allocations(|| {
        let waiter = Waiter::new(Arc::clone(&sink), 1, As::Value);
        let payload = Payload::new(Kind::Text, &b"value"[..]);
        let _ = cache.set(&key, payload, &WriteOptions::default(), waiter);
    });
    assert_eq!(count, 1);
}

#[test]
fn a_read_that_is_queued_for_redis_allocates_itself_and_its_end() {
    // It accepts and says nothing: what is asked waits.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let runtime = runtime();
    let options = format!(r#"{{"redis":{{"port":{port}}},"namespace":"n"}}"#);
    let cache = cache(&runtime, &options);
    let (sink, mut number) = (sink(), 0);
    let keys: Vec<Key> = (0..64).map(|n| key(&format!("n:{n}"))).collect();
    let count = allocations(|| {
        let waiter = Waiter::new(Arc::clone(&sink), 1, As::Value);
        assert!(cache.get(&keys[number], None, waiter).is_none());
        number += 1;
    });
    assert_eq!(count, 2);
}
