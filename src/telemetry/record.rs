//! One log line as a value.
//!
//! Owns the reading of a `tracing` event and the line that stands for it on stderr.

use serde_json::Value;
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// A log line on its way to a logger.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// How grave it is.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The fields in their order, named as in JavaScript (`delayMs`).
    pub fields: Vec<(String, Value)>,
}

/// Reads `event`: which cache it is about, if it says so, and what it says.
pub(super) fn read(event: &Event<'_>) -> (Option<u64>, Record) {
    let mut reading = Reading {
        cache: None,
        record: Record {
            level: *event.metadata().level(),
            message: String::new(),
            fields: Vec::new(),
        },
    };
    event.record(&mut reading);
    (reading.cache, reading.record)
}

/// The line for stderr, with its end. One event is one line, whatever it says.
pub(super) fn line(cache: Option<u64>, record: &Record) -> String {
    let mut line = format!("evenkeel {}", level_name(record.level));
    if let Some(cache) = cache {
        let _ = write!(line, " [{cache}]");
    }
    line.push(' ');
    push_visible(&mut line, &record.message);
    for (name, value) in &record.fields {
        let _ = write!(line, " {name}={value}");
    }
    line.push('\n');
    line
}

/// The name of a level as `EVENKEEL_LOG` and the logger have it.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// A message may quote a server, and a server may send anything.
fn push_visible(line: &mut String, text: &str) {
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
}

/// `delay_ms` as `delayMs`.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = !out.is_empty();
        } else if upper {
            out.push(letter.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(letter);
        }
    }
    out
}

/// What was read of an event so far.
struct Reading {
    cache: Option<u64>,
    record: Record,
}

impl Reading {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("cache", Value::Number(id)) if id.is_u64() => self.cache = id.as_u64(),
            ("message", Value::String(text)) => self.record.message = text,
            (name, value) => self.record.fields.push((camel_case(name), value)),
        }
    }
}

impl Visit for Reading {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_javascripts() {
        for (name, expected) in [
            ("delay_ms", "delayMs"),
            ("code", "code"),
            ("a_b_c", "aBC"),
            ("_x", "x"),
            ("x_", "x"),
        ] {
            assert_eq!(camel_case(name), expected);
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_quotes() {
        let record = Record {
            level: Level::WARN,
            message: "Redis said \r\n\u{1b}[31mno".into(),
            fields: vec![("code".into(), "a\nb".into()), ("delayMs".into(), 3.into())],
        };
        let expected =
            "evenkeel warn [7] Redis said \\r\\n\\u{1b}[31mno code=\"a\\nb\" delayMs=3\n";
        assert_eq!(line(Some(7), &record), expected);
    }
}
