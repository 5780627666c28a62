//! Figures and log lines, for whoever wants them.
//!
//! Owns the counters, their exposition as Prometheus text, and the way of a
//! `tracing` event to the logger of its cache. Decides nothing: no other module
//! asks it what to do. Uses none of them either.

pub mod advice;
pub mod counters;
pub mod histogram;
mod labels;
pub mod log;
mod page;
pub mod prometheus;
mod record;
mod repeats;
mod text;
