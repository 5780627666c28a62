//! evenkeel: a two-tier cache for Node.js, memory and Redis, whose Redis may go away without anyone noticing.
//!
//! A call comes in through [`node`] (the boundary, the only place that names Node-API), is carried out by [`cache`]
//! (which tier, in which order, what on failure) on [`l1`] (memory) under the protocols of [`generations`] and [`tags`], and on
//! [`l2`] (the Redis link), whose decisions are the pure rules of [`resilience`]. [`telemetry`] counts and logs.

pub mod node;

pub mod cache;
pub mod config;
pub mod error;

pub mod entry;
pub mod generations;
pub mod l1;
pub mod tags;
pub mod tide;

pub mod l2;
pub mod resilience;

pub mod clock;
pub mod telemetry;
