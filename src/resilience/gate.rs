//! Whether writes are sent to a server that refused some.
//!
//! Owns the gate that a refusal closes, and its probes: while it is closed one real write a second is let through, and
//! the first that succeeds opens it. Does not own what becomes of the writes that are held: they are journaled.
//!
//! | state | values | deletions | left by |
//! |---|---|---|---|
//! | open | sent | sent | a refusal |
//! | deletes only (OOM, capacity quota) | one a second | sent | a good value; a refusal of everything |
//! | shut (MISCONF, NOREPLICAS) | one a second, of either kind | | a good write |

use super::classify::Meaning;

/// How long after a probe the next one is let through.
pub const PROBE_EVERY_MS: u64 = 1_000;

/// What a write does to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It stores something.
    Value,
    /// It only frees memory.
    Deletion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    DeletesOnly { next_probe: u64 },
    Shut { next_probe: u64 },
}

/// The write gate of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate(State);

impl Default for Gate {
    fn default() -> Self {
        Self(State::Open)
    }
}

impl Gate {
    /// Whether all writes are sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0 == State::Open
    }

    /// Whether no writes are sent but probes.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        matches!(self.0, State::Shut { .. })
    }

    /// Whether a write of this kind is sent now; one that is let through a closed gate is its probe.
    pub fn admit(&mut self, kind: Kind, now: u64) -> bool {
        match (&mut self.0, kind) {
            (State::Open, _) | (State::DeletesOnly { .. }, Kind::Deletion) => true,
            (State::DeletesOnly { next_probe } | State::Shut { next_probe }, _) => {
                let due = now >= *next_probe;
                if due {
                    *next_probe = now + PROBE_EVERY_MS;
                }
                due
            }
        }
    }

    /// A write of this kind was carried out. True if that opened the gate.
    pub fn on_success(&mut self, kind: Kind) -> bool {
        let opens = match self.0 {
            State::Open => false,
            State::DeletesOnly { .. } => kind == Kind::Value,
            State::Shut { .. } => true,
        };
        if opens {
            self.0 = State::Open;
        }
        opens
    }

    /// A write was refused. True if that changed what is sent.
    pub fn on_refusal(&mut self, meaning: Meaning, now: u64) -> bool {
        let next_probe = now + PROBE_EVERY_MS;
        let next = match meaning {
            Meaning::DeletesOnly => State::DeletesOnly { next_probe },
            Meaning::NoWrites => State::Shut { next_probe },
            Meaning::NotReady
            | Meaning::Role
            | Meaning::Credentials
            | Meaning::Forbidden
            | Meaning::Quota
            | Meaning::Capacity
            | Meaning::Setup
            | Meaning::OldProtocol
            | Meaning::WrongType
            | Meaning::Elsewhere
            | Meaning::Caller => return false,
        };
        let changed = std::mem::discriminant(&self.0) != std::mem::discriminant(&next);
        self.0 = next;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_server_without_memory_still_gets_deletions_and_one_value_a_second() {
        let mut gate = Gate::default();
        assert!(gate.admit(Kind::Value, 0));
        assert!(gate.on_refusal(Meaning::DeletesOnly, 0) && !gate.is_shut());
        assert!(!gate.on_refusal(Meaning::DeletesOnly, 0), "known already");
        assert!(gate.admit(Kind::Deletion, 1) && !gate.admit(Kind::Value, 999));
        assert!(
            !gate.on_success(Kind::Deletion),
            "that says nothing of values"
        );
        assert!(gate.admit(Kind::Value, 1_000) && !gate.admit(Kind::Value, 1_001));
        assert!(gate.on_success(Kind::Value) && gate.is_open());
    }

    #[test]
    fn a_server_that_refuses_all_writes_gets_one_a_second_of_either_kind() {
        let mut gate = Gate::default();
        gate.on_refusal(Meaning::NoWrites, 0);
        assert!(gate.is_shut() && !gate.admit(Kind::Deletion, 999));
        assert!(gate.admit(Kind::Deletion, 1_000) && !gate.admit(Kind::Value, 1_500));
        assert!(gate.on_success(Kind::Deletion) && gate.is_open());
        assert!(
            !gate.on_refusal(Meaning::Caller, 0),
            "a bad command is not the server's fault"
        );
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn a_closed_gate_lets_one_probe_a_second_through_and_always_opens_again(
            steps in proptest::collection::vec((0..400_u64, 0..6_u8), 0..60)
        ) {
            let (mut gate, mut now, mut last) = (Gate::default(), 0, None::<u64>);
            for (after, step) in steps {
                now += after;
                match step {
                    0 => drop(gate.on_refusal(Meaning::NoWrites, now)),
                    1 => drop(gate.on_refusal(Meaning::DeletesOnly, now)),
                    2 => drop(gate.on_success(Kind::Value)),
                    _ => {
                        let open = gate.is_open();
                        if gate.admit(Kind::Value, now) && !open {
                            prop_assert!(last.is_none_or(|last| now - last >= PROBE_EVERY_MS));
                            last = Some(now);
                        }
                    }
                }
                if gate.is_open() {
                    last = None;
                }
            }
            prop_assert!(gate.admit(Kind::Value, now + PROBE_EVERY_MS));
            gate.on_success(Kind::Value);
            prop_assert!(gate.is_open());
        }
    }
}
