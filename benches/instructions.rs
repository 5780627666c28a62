//! How many instructions an operation takes on the thread that asks: a guard that needs no clock. `npm run instructions` runs
//! this under callgrind, one operation at a time, and holds the counts against `instructions.json`; alone it counts nothing.
//!
//! callgrind itself, without gungraun on top of it: to count within one function is an option of callgrind's, and the comparison
//! with committed counts would be ours in either case. gungraun would be a runner to build and to keep at its version.

use std::{collections::VecDeque, env, hint::black_box, net::TcpListener, ops::Range, sync::Arc};

use evenkeel::{
    cache::{As, Cache, Key, Outcome, Waiter, outcome::Sink, write::WriteOptions},
    clock,
    config::Config,
    entry::{Kind, Payload},
    node::completions::Queue,
};
use tokio::runtime::{Builder, Runtime};

/// Keys in use: more than one, so that it matters little where in a table the random seed of its hashes puts each.
const KEYS: usize = 100;
/// Ends that the event loop takes at once.
const BATCH: usize = 100;

/// One operation; it is told how many there were before.
type Operation = Box<dyn FnMut(usize)>;

/// The operation of a name of `instructions.json`, which can be done `count` times.
fn operation(name: &str, runtime: &Runtime, count: usize) -> Operation {
    match name {
        "hit" => hit(runtime),
        "miss" => miss(runtime),
        "set" => set(runtime),
        "read" => read(runtime, count),
        "drain" => drain(),
        other => panic!("nothing is called {other}"),
    }
}

fn cache(runtime: &Runtime, options: &str, sink: &Arc<dyn Sink>) -> Arc<Cache> {
    let config = Config::parse(options).expect("sound options");
    Cache::new(config, runtime.handle(), sink).expect("a cache")
}

fn sink() -> Arc<dyn Sink> {
    Arc::new(Queue::default())
}

fn waiter(sink: &Arc<dyn Sink>) -> Waiter {
    Waiter::new(Arc::clone(sink), 1, As::Value)
}

fn keys(count: usize) -> Vec<Key> {
    (0..count)
        .map(|number| format!("n:{number:06}").as_bytes().into())
        .collect()
}

fn payload() -> Payload {
    Payload::new(Kind::Json, vec![b'1'; 126])
}

fn put(cache: &Arc<Cache>, key: &Key, sink: &Arc<dyn Sink>) {
    let outcome = cache.set(key, payload(), &WriteOptions::default(), waiter(sink));
    assert!(matches!(outcome, Some(Outcome::Undefined)));
}

/// What `node::hot` does between reading the key and making the value.
fn hit(runtime: &Runtime) -> Operation {
    let (keys, sink) = (keys(KEYS), sink());
    let cache = cache(runtime, "{}", &sink);
    for key in &keys {
        put(&cache, key, &sink);
    }
    Box::new(move |at| {
        let key = &keys[at % KEYS];
        let (proof, now) = (cache.proof(key), clock::now());
        let hit = cache.hit_until(key, now).filter(|_| !cache.is_awaited(key));
        assert!(black_box((proof, hit)).1.is_some());
    })
}

/// What it does with a key that L1 does not have.
fn ask(cache: &Arc<Cache>, name: &[u8], sink: &Arc<dyn Sink>) -> Option<Outcome> {
    black_box(cache.proof(name));
    assert!(cache.hit_until(name, clock::now()).is_none());
    let key: Key = name.into();
    assert!(!cache.defers(std::slice::from_ref(&key)));
    cache.get(&key, None, waiter(sink))
}

/// There is nothing, and nobody else to ask.
fn miss(runtime: &Runtime) -> Operation {
    let (keys, sink) = (keys(KEYS), sink());
    let cache = cache(runtime, "{}", &sink);
    Box::new(move |at| {
        let outcome = ask(&cache, &keys[at % KEYS], &sink);
        assert!(matches!(outcome, Some(Outcome::Undefined)));
    })
}

fn set(runtime: &Runtime) -> Operation {
    let (keys, sink) = (keys(KEYS), sink());
    let cache = cache(runtime, "{}", &sink);
    Box::new(move |at| put(&cache, &keys[at % KEYS], &sink))
}

/// A read that is queued for Redis, which accepts and says nothing; each of another key, or they would join.
fn read(runtime: &Runtime, count: usize) -> Operation {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let options = format!(
        r#"{{"redis":{{"port":{port},"connectTimeout":60000}},"l2":{{"timeout":60000}},"namespace":"n"}}"#
    );
    let (keys, sink) = (keys(count), sink());
    let cache = cache(runtime, &options, &sink);
    Box::new(move |at| {
        let _listening = &listener;
        assert!(ask(&cache, &keys[at], &sink).is_none());
    })
}

/// An end is pushed, and taken with others. Without the JavaScript values that are made of them, which want an engine.
fn drain() -> Operation {
    let queue = Arc::new(Queue::default());
    let sink: Arc<dyn Sink> = Arc::<Queue>::clone(&queue);
    let (payload, mut taken) = (payload(), VecDeque::new());
    Box::new(move |at| {
        sink.settle(1, Outcome::Value(payload.clone(), As::Value));
        if (at + 1).is_multiple_of(BATCH) {
            assert!(!queue.take(usize::MAX, &mut taken));
            assert_eq!(black_box(&mut taken).drain(..).len(), BATCH);
        }
    })
}

/// The function within which callgrind counts, on this thread alone: `scripts/instructions.js` names it.
#[inline(never)]
fn counted(operation: &mut Operation, numbers: Range<usize>) {
    numbers.for_each(operation);
}

fn main() {
    let mut arguments = env::args().skip(1);
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        return;
    };
    let count: usize = count.parse().expect("how many operations");
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    let runtime = builder.build().expect("threads");
    let mut operation = operation(&name, &runtime, 2 * count);
    // What grows has grown after as many.
    (0..count).for_each(&mut operation);
    counted(&mut operation, count..2 * count);
}
