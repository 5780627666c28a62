//! The way of a `tracing` event to the logger of its cache.
//!
//! Owns the one subscriber of this library, the sinks by cache and `EVENKEEL_LOG`.
//! An event reaches a sink if its target begins with `evenkeel`, it carries a field
//! `cache` with the id of the sink, and it is no `trace!`. `EVENKEEL_LOG=error`,
//! `warn`, `info` or `debug` prints all events up to that level to stderr as well,
//! read once when the first sink comes. Nothing else in the library prints.
//!
//! While nobody listens an event costs one load of an integer, since `tracing`
//! itself is told that no level is wanted.

use super::record;
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

pub use super::record::Record;
pub use super::repeats::{Repeats, Times};

/// Takes the lines of one cache. It is called on the thread on which the event
/// happened, so it must not wait; it may log, but not for ever about its own lines.
pub type Sink = Arc<dyn Fn(Record) + Send + Sync>;

/// The variable that has events printed.
const VARIABLE: &str = "EVENKEEL_LOG";
/// The one subscriber; `tracing` holds another reference to it.
static ROUTER: OnceLock<Arc<Router>> = OnceLock::new();

/// Sends the lines of the cache `id` to `sink`, instead of where they went before.
pub fn register(id: u64, sink: Sink) {
    router().change(|sinks| sinks.insert(id, sink));
}

/// Sends the lines of the cache `id` nowhere.
pub fn unregister(id: u64) {
    router().change(|sinks| sinks.remove(&id));
}

/// Makes the subscriber the default of the process, once. [`register`] does it too;
/// a cache without a logger needs it for `EVENKEEL_LOG`. Where somebody else was
/// first, which only a Rust program that embeds this crate can be, theirs stays.
pub fn install() {
    router();
}

fn router() -> &'static Router {
    let mut made = None;
    let router = ROUTER.get_or_init(|| {
        let wanted = std::env::var(VARIABLE).unwrap_or_default();
        let router = Arc::new(Router::new(printed_up_to(&wanted)));
        made = Some(Arc::clone(&router));
        router
    });
    if let Some(made) = made {
        let _ = tracing::subscriber::set_global_default(made);
    }
    router
}

/// What `EVENKEEL_LOG` asks for. Anything else than the four levels: nothing.
fn printed_up_to(text: &str) -> LevelFilter {
    match text.trim().to_ascii_lowercase().as_str() {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        _ => LevelFilter::OFF,
    }
}

/// Knows who listens, and passes events on.
struct Router {
    /// What is printed.
    printed: LevelFilter,
    /// Where lines go, by cache.
    sinks: RwLock<HashMap<u64, Sink>>,
    /// Whether there is a sink, to be read without the lock.
    heard: AtomicBool,
}

impl Router {
    fn new(printed: LevelFilter) -> Self {
        Self {
            printed,
            sinks: RwLock::default(),
            heard: AtomicBool::new(false),
        }
    }

    /// Changes the sinks. What is replaced is dropped after the lock is free, since
    /// it may log.
    fn change(&self, change: impl FnOnce(&mut HashMap<u64, Sink>) -> Option<Sink>) {
        let mut sinks = self.sinks.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = change(&mut sinks);
        let heard = !sinks.is_empty();
        if self.heard.swap(heard, Ordering::SeqCst) != heard {
            tracing::callsite::rebuild_interest_cache();
        }
        drop(sinks);
        drop(replaced);
    }

    fn sink(&self, cache: u64) -> Option<Sink> {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        sinks.get(&cache).map(Arc::clone)
    }

    /// The most detailed level that anybody wants.
    fn wanted(&self) -> LevelFilter {
        if self.heard.load(Ordering::Relaxed) {
            LevelFilter::DEBUG
        } else {
            self.printed
        }
    }
}

impl Subscriber for Router {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && metadata.target().starts_with("evenkeel") {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.wanted() && metadata.target().starts_with("evenkeel")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.wanted())
    }

    fn event(&self, event: &Event<'_>) {
        let (cache, record) = record::read(event);
        if *event.metadata().level() <= self.printed {
            // A closed stderr is nobody's fault; nothing can be told about it anyway.
            let line = record::line(cache, &record);
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        if let Some(sink) = cache.and_then(|cache| self.sink(cache)) {
            sink(record);
        }
    }

    // Spans are not used: `register_callsite` has refused them all.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;
    use tracing::Level;

    /// The lines of the cache `id` from now on. Ids are not shared between tests:
    /// the subscriber is the process'.
    fn listen(id: u64) -> Arc<Mutex<Vec<Record>>> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        register(
            id,
            Arc::new(move |record| into.lock().unwrap().push(record)),
        );
        lines
    }

    #[test]
    fn an_event_reaches_the_sink_of_its_cache_with_its_fields() {
        let lines = listen(1);
        let (cache, endpoint, code) = (1_u64, "localhost:6379".to_owned(), None::<&str>);
        tracing::info!(target: "evenkeel::l2", cache, event = "reconnecting", endpoint, code,
            attempt = 2_u32, delay_ms = 350_u64, share = 0.5, first = false, "Redis reconnecting in {} ms", 350);
        let expected = Record {
            level: Level::INFO,
            message: "Redis reconnecting in 350 ms".into(),
            fields: vec![
                ("event".into(), json!("reconnecting")),
                ("endpoint".into(), json!("localhost:6379")),
                ("attempt".into(), json!(2)),
                ("delayMs".into(), json!(350)),
                ("share".into(), json!(0.5)),
                ("first".into(), json!(false)),
            ],
        };
        assert_eq!(*lines.lock().unwrap(), [expected]);
        unregister(1);
    }

    #[test]
    fn what_is_for_others_or_nobody_is_not_heard() {
        let lines = listen(2);
        tracing::error!(target: "evenkeel::l2", cache = 3_u64, "another cache");
        tracing::error!(target: "evenkeel::l2", "no cache");
        tracing::error!(target: "tokio", cache = 2_u64, "another library");
        tracing::trace!(target: "evenkeel::l2", cache = 2_u64, "too detailed");
        let span = tracing::info_span!(target: "evenkeel::l2", "span", cache = 2_u64);
        span.in_scope(|| tracing::debug!(target: "evenkeel", cache = 2_u64, "heard"));
        unregister(2);
        tracing::error!(target: "evenkeel::l2", cache = 2_u64, "too late");
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].message, "heard");
    }

    #[test]
    fn a_sink_may_log_and_may_take_itself_away() {
        register(
            4,
            Arc::new(|_| {
                unregister(4);
                tracing::error!(target: "evenkeel", cache = 4_u64, "from within");
            }),
        );
        tracing::error!(target: "evenkeel", cache = 4_u64, "from without");
        assert!(router().sink(4).is_none());
    }

    #[test]
    fn nothing_is_wanted_while_nobody_listens() {
        let quiet = Router::new(LevelFilter::OFF);
        assert_eq!(quiet.max_level_hint(), Some(LevelFilter::OFF));
        let printing = Router::new(printed_up_to(" Warn "));
        assert_eq!(printing.max_level_hint(), Some(LevelFilter::WARN));
        printing.change(|sinks| sinks.insert(9, Arc::new(drop)));
        assert_eq!(printing.max_level_hint(), Some(LevelFilter::DEBUG));
        printing.change(|sinks| sinks.remove(&9));
        assert_eq!(printing.max_level_hint(), Some(LevelFilter::WARN));
    }

    #[test]
    fn only_the_four_levels_have_anything_printed() {
        for text in ["", "off", "1", "trace", "evenkeel=debug"] {
            assert_eq!(printed_up_to(text), LevelFilter::OFF, "{text}");
        }
        assert_eq!(printed_up_to("DEBUG"), LevelFilter::DEBUG);
    }
}
