//! Which tiers serve, step by step: what the application hears as `mode`.

use super::breaker::BreakerState;

/// The tiers in use, from all to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// L1, and Redis for everything.
    Tiered,
    /// L1, and Redis for reads; it refuses writes.
    ReadsOnly,
    /// L1, and Redis for a share of the reads.
    Partial,
    /// L1 alone.
    Memory,
}

impl Mode {
    /// What a link that is up can be used for, where `readable` says that not all of Redis is journaled.
    #[must_use]
    pub fn of(breaker: BreakerState, readable: bool, gate_open: bool, share: f64) -> Self {
        match breaker {
            _ if !readable => Self::Memory,
            BreakerState::Open | BreakerState::HalfOpen => Self::Memory,
            BreakerState::Closed if share < 1.0 => Self::Partial,
            BreakerState::Closed if !gate_open => Self::ReadsOnly,
            BreakerState::Closed => Self::Tiered,
        }
    }

    /// The name in events and `health()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tiered => "tiered",
            Self::ReadsOnly => "reads-only",
            Self::Partial => "partial",
            Self::Memory => "memory",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_is_wrong_gives_the_mode() {
        let table = [
            (BreakerState::Closed, true, true, 1.0, "tiered"),
            (BreakerState::Closed, true, false, 1.0, "reads-only"),
            (BreakerState::Closed, true, true, 0.5, "partial"),
            (BreakerState::Closed, true, false, 0.1, "partial"),
            (BreakerState::Closed, false, true, 1.0, "memory"),
            (BreakerState::HalfOpen, true, true, 1.0, "memory"),
            (BreakerState::Open, true, false, 1.0, "memory"),
        ];
        for (breaker, readable, gate_open, share, mode) in table {
            assert_eq!(Mode::of(breaker, readable, gate_open, share).as_str(), mode);
        }
    }
}
