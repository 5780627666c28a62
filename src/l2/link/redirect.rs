//! Answers of a cluster's node that send what was asked elsewhere.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::{Serving, server_text};
use crate::{
    l2::{
        batch::Part,
        changes::Changes,
        cluster::{slot_of_request, slots::redirection},
        commands,
        port::{Failure, Operation, Request},
    },
    telemetry::counters::ErrorClass,
};

impl Serving<'_> {
    /// Sends what a part asked elsewhere, if its answer says so; gives it back if not.
    pub(super) fn redirect(&mut self, mut part: Part, value: &Value, cmd: &Cmd) -> Option<Part> {
        let Value::ServerError(error) = value else {
            return Some(part);
        };
        let code = error.code();
        if code == "CLUSTERDOWN"
            && let Some(tier) = self.setting.tier.upgrade()
            && let Some(cluster) = tier.cluster()
        {
            cluster.doubt();
        }
        if !matches!(code, "MOVED" | "ASK" | "TRYAGAIN") {
            return Some(part);
        }
        let Some(tier) = self.setting.tier.upgrade() else {
            return Some(part);
        };
        let asked = self.link.status.lock().endpoint.clone();
        let host = asked
            .rsplit_once(':')
            .map_or(asked.as_str(), |(host, _)| host);
        let place = error.details().and_then(|text| redirection(text, host));
        if place.is_none() && code != "TRYAGAIN" {
            return Some(part);
        }
        self.link.counters.l2_errors.count(ErrorClass::Moved);
        self.was_good = true;
        let operations = operations_of(&mut part, cmd);
        // Those whose deadline has passed hear that it was not carried out.
        for waiting in part.waiting() {
            waiting.settle(Err(Failure::Refused(error.clone())));
        }
        let cluster = tier.cluster_found();
        match (code, place) {
            ("MOVED", Some((slot, endpoint))) => {
                tracing::debug!(
                    cache = self.link.cache,
                    event = "moved",
                    "Redis: {}",
                    server_text(error)
                );
                cluster.moved(self.link, slot, endpoint, operations);
            }
            ("ASK", Some((slot, endpoint))) => {
                for operation in operations {
                    cluster.ask(slot, endpoint.clone(), operation);
                }
            }
            _ => {
                for operation in operations {
                    let slot = slot_of_request(&operation.request).unwrap_or_default();
                    cluster.again(self.link, slot, vec![operation]);
                }
            }
        }
        None
    }

    /// There are slots though nobody said so: from now on keys are told apart by them.
    pub(super) fn found_slots(&self) {
        if let Some(tier) = self.setting.tier.upgrade() {
            tier.cluster_found().doubt();
        }
    }
}

/// What a part asked, one by one, as far as somebody still waits.
fn operations_of(part: &mut Part, cmd: &Cmd) -> Vec<Operation> {
    match part {
        Part::Any(waiting) => waiting
            .elsewhere(Request::Raw(cmd.clone()))
            .into_iter()
            .collect(),
        Part::Write(_, waiting) => waiting
            .elsewhere(Request::Write(cmd.clone(), keys_of(cmd)))
            .into_iter()
            .collect(),
        Part::Read(key, waiting) => waiting
            .elsewhere(Request::Get(Arc::clone(key)))
            .into_iter()
            .collect(),
        Part::Joined(list) => {
            let reads = list.iter_mut();
            reads
                .filter_map(|(key, waiting)| waiting.elsewhere(Request::Get(Arc::clone(key))))
                .collect()
        }
    }
}

/// The keys that a write of ours changes.
fn keys_of(cmd: &Cmd) -> Vec<Arc<[u8]>> {
    let words = commands::words(cmd);
    let Some((name, args)) = words.split_first() else {
        return Vec::new();
    };
    match Changes::of(name, args.iter().copied()) {
        Changes::Keys(keys) => keys.into_iter().map(Arc::from).collect(),
        // Scripts of ours name one key, behind the text and the count.
        Changes::Unknown => args.get(2).map(|key| Arc::from(*key)).into_iter().collect(),
    }
}
