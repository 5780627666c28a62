//! How samples are written in both of Prometheus' text formats.
//!
//! Owns escaping, suffixes and number formats. Does not know one family.

use super::histogram::{BOUNDS_TEXT, Distribution};
use std::fmt::{Display, Write};

/// `text` as the inside of a label value.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out
}

/// A text that grows.
pub(super) struct Text {
    out: String,
    open_metrics: bool,
}

impl Text {
    pub(super) fn with_capacity(bytes: usize, open_metrics: bool) -> Self {
        Self {
            out: String::with_capacity(bytes),
            open_metrics,
        }
    }

    /// The head of a family whose samples are named as it is.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.push(&[
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ]);
    }

    /// The head of a counter; `name` is without `_total`.
    pub(super) fn counter_family(&mut self, name: &str, help: &str) {
        self.suffixed_family(name, "_total", ("counter", "counter"), help);
    }

    /// The head of an info; `name` is without `_info`.
    pub(super) fn info_family(&mut self, name: &str, help: &str) {
        self.suffixed_family(name, "_info", ("gauge", "info"), help);
    }

    /// `kinds` are the types in the text format and in `OpenMetrics`, where the
    /// suffix belongs to the sample and not to the family.
    fn suffixed_family(&mut self, name: &str, suffix: &str, kinds: (&str, &str), help: &str) {
        let (suffix, kind) = if self.open_metrics {
            ("", kinds.1)
        } else {
            (suffix, kinds.0)
        };
        self.push(&[
            "# HELP ",
            name,
            suffix,
            " ",
            help,
            "\n# TYPE ",
            name,
            suffix,
            " ",
            kind,
            "\n",
        ]);
    }

    /// A sample up to its value. `cache` is escaped already; the values of `labels`
    /// are words of our own.
    pub(super) fn sample(&mut self, name: &str, cache: &str, labels: &[(&str, &str)]) {
        self.push(&[name, "{cache=\"", cache, "\""]);
        for (label, value) in labels {
            self.push(&[",", label, "=\"", value, "\""]);
        }
        self.out.push_str("} ");
    }

    /// The same of a counter; `name` is without `_total`.
    pub(super) fn counter_sample(&mut self, name: &str, cache: &str, labels: &[(&str, &str)]) {
        self.out.push_str(name);
        self.sample("_total", cache, labels);
    }

    /// The sample of an info, with its value; `name` is without `_info`.
    pub(super) fn info_sample(&mut self, name: &str, cache: &str, labels: &[(&str, &str)]) {
        self.out.push_str(name);
        self.sample("_info", cache, labels);
        self.value(1);
    }

    /// The value of the sample before.
    pub(super) fn value(&mut self, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{value}");
    }

    /// All samples of one histogram.
    pub(super) fn distribution(&mut self, name: &str, cache: &str, seen: &Distribution) {
        let mut sum = 0;
        for (bound, count) in BOUNDS_TEXT.iter().chain([&"+Inf"]).zip(seen.buckets) {
            sum += count;
            self.out.push_str(name);
            self.sample("_bucket", cache, &[("le", bound)]);
            self.value(sum);
        }
        self.out.push_str(name);
        self.sample("_sum", cache, &[]);
        let (seconds, rest) = (seen.sum_us / 1_000_000, seen.sum_us % 1_000_000);
        self.value(format_args!("{seconds}.{rest:06}"));
        self.out.push_str(name);
        self.sample("_count", cache, &[]);
        self.value(sum);
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.open_metrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd é"), r#"a\"b\\c\nd é"#);
    }

    #[test]
    fn a_histogram_adds_up_and_tells_its_sum_in_seconds() {
        let mut seen = Distribution {
            sum_us: 12_000_345,
            ..Distribution::default()
        };
        seen.buckets[0] = 2;
        seen.buckets[13] = 3;
        let mut text = Text::with_capacity(0, false);
        text.distribution("d", "x", &seen);
        let text = text.finish();
        assert!(text.starts_with("d_bucket{cache=\"x\",le=\"0.0001\"} 2\n"));
        assert!(
            text.contains(
                "d_bucket{cache=\"x\",le=\"1.0\"} 2\nd_bucket{cache=\"x\",le=\"+Inf\"} 5\n"
            )
        );
        assert!(text.ends_with("d_sum{cache=\"x\"} 12.000345\nd_count{cache=\"x\"} 5\n"));
    }
}
