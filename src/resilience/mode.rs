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
    /// What a link that is up can be used for.
    #[must_use]
    pub fn of(breaker: BreakerState, gate_open: bool, share: f64) -> Self {
        match breaker {
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
            (BreakerState::Closed, true, 1.0, "tiered"),
            (BreakerState::Closed, false, 1.0, "reads-only"),
            (BreakerState::Closed, true, 0.5, "partial"),
            (BreakerState::Closed, false, 0.1, "partial"),
            (BreakerState::HalfOpen, true, 1.0, "memory"),
            (BreakerState::Open, false, 1.0, "memory"),
        ];
        for (breaker, gate_open, share, mode) in table {
            assert_eq!(Mode::of(breaker, gate_open, share).as_str(), mode);
        }
    }
}
