//! What goes to the application without being asked for: events, log lines, and questions with their answers. Every
//! environment that holds the cache gets the events and the log; the oldest living one is asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::outcome::{Notice, Sink};
use crate::{
    error::Code,
    l2::{Application, Event, Question},
    telemetry::log::{self, Record},
};

/// The environments of one cache, and what they were told and asked.
pub struct Notices {
    cache: u64,
    sinks: Mutex<Vec<Weak<dyn Sink>>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<String>>>,
    next_ask: AtomicU64,
}

impl Notices {
    /// Of the cache with this id, with nobody listening yet.
    #[must_use]
    pub fn new(cache: u64) -> Self {
        Self {
            cache,
            sinks: Mutex::default(),
            asked: Mutex::default(),
            next_ask: AtomicU64::new(1),
        }
    }

    /// Sends log lines of the cache this way.
    pub fn register_log(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        log::register(
            self.cache,
            Arc::new(move |record: Record| {
                if let Some(notices) = weak.upgrade() {
                    notices.log(&record);
                }
            }),
        );
    }

    /// Undoes [`Notices::register_log`].
    pub fn unregister_log(&self) {
        log::unregister(self.cache);
    }

    /// Adds an environment.
    pub fn listen(&self, sink: &Arc<dyn Sink>) {
        self.sinks.lock().push(Arc::downgrade(sink));
    }

    fn living(&self) -> Vec<Arc<dyn Sink>> {
        let mut sinks = self.sinks.lock();
        sinks.retain(|sink| sink.upgrade().is_some_and(|sink| sink.alive()));
        sinks.iter().filter_map(Weak::upgrade).collect()
    }

    fn broadcast(&self, kind: Notice, mut body: Value) {
        body["cache"] = self.cache.into();
        let text = body.to_string();
        for sink in self.living() {
            sink.notice(kind, text.clone());
        }
    }

    fn log(&self, record: &Record) {
        let fields: serde_json::Map<String, Value> = record.fields.iter().cloned().collect();
        let level = record.level.as_str().to_ascii_lowercase();
        self.broadcast(
            Notice::Log,
            json!({ "level": level, "message": record.message, "fields": fields }),
        );
    }

    /// An event that is not the link's.
    pub fn event(&self, body: Value) {
        self.broadcast(Notice::Event, body);
    }

    /// Something that deserves a look: an event and a log line.
    pub fn warn(&self, code: &'static str, message: &str) {
        tracing::warn!(cache = self.cache, event = "warning", code, "{message}");
        self.tell(Event::Warning {
            code,
            message: message.to_owned(),
        });
    }

    /// The cache is closed and had no link that would say so.
    pub fn closed(&self) {
        self.tell(Event::Closed);
    }

    /// Takes the answer to a question; a late or second one is ignored.
    pub fn answer(&self, ask: u64, json: String) {
        if let Some(sender) = self.asked.lock().remove(&ask) {
            let _ = sender.send(json);
        }
    }
}

impl Application for Notices {
    fn tell(&self, event: Event) {
        self.event(match event {
            Event::Ready => json!({ "type": "ready" }),
            Event::Mode {
                from,
                to,
                reason,
                error,
            } => {
                let mut body = json!({ "type": "mode", "from": from, "to": to, "reason": reason });
                if let Some(error) = error {
                    let code = Code::L2Unavailable.as_str();
                    body["error"] =
                        json!({ "code": code, "message": error.message, "retryable": true, "cause": error.code });
                }
                body
            }
            Event::Reconnecting { attempt, delay_ms } => {
                json!({ "type": "reconnecting", "attempt": attempt, "delayMs": delay_ms })
            }
            Event::Warning { code, message } => {
                json!({ "type": "warning", "code": code, "message": message })
            }
            Event::Quota { used, limit, ratio } => {
                json!({ "type": "quota", "used": used, "limit": limit, "ratio": ratio })
            }
            Event::Closed => json!({ "type": "closed" }),
        });
    }

    fn ask(&self, question: Question) -> oneshot::Receiver<String> {
        let (sender, answer) = oneshot::channel();
        let Some(oldest) = self.living().into_iter().next() else {
            return answer;
        };
        let ask = self.next_ask.fetch_add(1, Ordering::Relaxed);
        {
            let mut asked = self.asked.lock();
            asked.retain(|_, sender| !sender.is_closed());
            asked.insert(ask, sender);
        }
        let mut body = match question {
            Question::Retry(attempt) => json!({ "type": "retry", "attempt": attempt }),
            Question::Credentials => json!({ "type": "credentials" }),
        };
        body["ask"] = ask.into();
        body["cache"] = self.cache.into();
        oldest.notice(Notice::Ask, body.to_string());
        answer
    }
}
