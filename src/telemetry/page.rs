//! One family after the other, each with the series of all caches.
//!
//! Owns how a kind of family is laid out. Which families there are is told in
//! `prometheus`, how a sample is written in `text`.

use super::counters::{Counts, Label};
use super::histogram::Distribution;
use super::prometheus::Snapshot;
use super::text::{Text, escaped};
use std::fmt::Display;

/// The page that is being written.
pub(super) struct Page<'a> {
    text: Text,
    caches: &'a [Snapshot],
    /// The names of the caches as label values.
    labels: Vec<String>,
}

impl<'a> Page<'a> {
    /// An empty page that has room for `bytes`.
    pub(super) fn new(caches: &'a [Snapshot], bytes: usize, open_metrics: bool) -> Self {
        Self {
            text: Text::with_capacity(bytes, open_metrics),
            caches,
            labels: caches.iter().map(|cache| escaped(&cache.cache)).collect(),
        }
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.text.finish()
    }

    /// A counter; `name` is without `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, of: impl Fn(&Counts) -> u64) {
        self.text.counter_family(name, help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            self.text.counter_sample(name, label, &[]);
            self.text.value(of(&cache.counts));
        }
    }

    /// A counter by the values of a label; `about` is name, help and label.
    pub(super) fn counters<L: Label>(
        &mut self,
        about: (&str, &str, &str),
        of: impl for<'c> Fn(&'c Counts) -> &'c [u64],
    ) {
        let (name, help, by) = about;
        self.text.counter_family(name, help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            for (value, count) in L::ALL.iter().zip(of(&cache.counts)) {
                self.text
                    .counter_sample(name, label, &[(by, value.as_str())]);
                self.text.value(count);
            }
        }
    }

    /// A gauge; what is unknown is NaN.
    pub(super) fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Snapshot) -> Option<V>,
    ) {
        self.text.family(name, "gauge", help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            self.text.sample(name, label, &[]);
            match of(cache) {
                Some(value) => self.text.value(value),
                None => self.text.value("NaN"),
            }
        }
    }

    /// An info with its labels; `name` is without `_info`.
    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Snapshot) -> [(&str, &str); N],
    ) {
        self.text.info_family(name, help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            self.text.info_sample(name, label, &of(cache));
        }
    }

    /// All of `all`, of which one is 1.
    pub(super) fn states(
        &mut self,
        name: &str,
        help: &str,
        all: &[&str],
        of: impl Fn(&Snapshot) -> &str,
    ) {
        self.text.family(name, "gauge", help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            for state in all {
                self.text.sample(name, label, &[("state", state)]);
                self.text.value(u8::from(of(cache) == *state));
            }
        }
    }

    /// A histogram.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&Counts) -> &Distribution,
    ) {
        self.text.family(name, "histogram", help);
        for (cache, label) in self.caches.iter().zip(&self.labels) {
            self.text.distribution(name, label, of(&cache.counts));
        }
    }
}
