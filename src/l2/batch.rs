//! Cuts what is queued into pipelines: neighbouring reads are joined into an MGET, small commands travel together,
//! large ones alone. Pure: what goes in comes out, in an order that never lets a read pass a write of its key.

use std::{collections::HashSet, sync::Arc};

use redis::{Cmd, Pipeline, Value};

use super::{
    cluster::slots::group_by_slot,
    commands,
    port::{self, Failure, Late, Operation, Reply, Request, Settle},
};
use crate::{clock, telemetry::counters::CommandFamily};

/// Commands in one pipeline.
const MAX_COMMANDS: usize = 64;
/// Bytes in one pipeline.
const MAX_BYTES: usize = 64 << 10;
/// A command above this size goes alone.
const LARGE: usize = 16 << 10;
/// Keys in one MGET.
const MAX_JOINED: usize = 1_000;

/// Someone who waits for a reply, and until when.
pub struct Waiting {
    /// When it settles at the latest, on `clock::now`.
    pub deadline: u64,
    claim: Claim,
    tries: u32,
}

/// What is owed to the one who waits.
enum Claim {
    /// The end of the operation.
    End(Settle),
    /// The deadline passed: what became of it.
    Late(Late),
    /// Nothing more.
    Settled,
}

impl Waiting {
    fn of(operation: Operation) -> (Request, Self) {
        let waiting = Self {
            deadline: operation.deadline,
            claim: Claim::End(operation.settle),
            tries: operation.tries,
        };
        (operation.request, waiting)
    }

    /// The read of `key` as it was asked for, to be sent once more, if somebody still waits and it was not sent more
    /// than `most` times again.
    pub fn again(&mut self, key: &Arc<[u8]>, most: u32) -> Option<Operation> {
        if !self.waits() || self.tries >= most {
            return None;
        }
        let Claim::End(settle) = std::mem::replace(&mut self.claim, Claim::Settled) else {
            return None;
        };
        Some(Operation {
            request: Request::Get(Arc::clone(key)),
            deadline: self.deadline,
            settle,
            tries: self.tries + 1,
        })
    }

    /// Settles with `reply`, or, if the deadline passed before, tells what became of it.
    pub fn settle(&mut self, reply: Reply) {
        let expired = reply == Err(Failure::Timeout);
        self.claim = match std::mem::replace(&mut self.claim, Claim::Settled) {
            Claim::End(settle) => match settle(reply) {
                Some(late) if expired => Claim::Late(late),
                Some(_) | None => Claim::Settled,
            },
            Claim::Late(late) => {
                late(reply);
                Claim::Settled
            }
            Claim::Settled => Claim::Settled,
        };
    }

    /// The operation as it was asked for, to be sent elsewhere, if somebody still waits.
    pub fn elsewhere(&mut self, request: Request) -> Option<Operation> {
        if !self.waits() {
            return None;
        }
        let Claim::End(settle) = std::mem::replace(&mut self.claim, Claim::Settled) else {
            return None;
        };
        Some(Operation {
            request,
            deadline: self.deadline,
            settle,
            tries: self.tries + 1,
        })
    }

    /// Whether somebody still waits.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self.claim, Claim::End(_))
    }
}

/// Who waits for the reply to one command of a pipeline.
pub enum Part {
    /// A command that may be answered with anything.
    Any(Waiting),
    /// One write, by its family.
    Write(CommandFamily, Waiting),
    /// One read, with its key for another try.
    Read(Arc<[u8]>, Waiting),
    /// The reads joined in an MGET, in its order, with their keys for another try alone.
    Joined(Vec<(Arc<[u8]>, Waiting)>),
}

/// A pipeline and those who wait for it, command by command.
#[derive(Default)]
pub struct Batch {
    /// What to send.
    pub pipeline: Pipeline,
    /// Who waits for each command.
    pub parts: Vec<Part>,
    bytes: usize,
}

impl Part {
    /// The reads among those who wait, with their keys.
    pub fn reads(&mut self) -> impl Iterator<Item = (&Arc<[u8]>, &mut Waiting)> {
        let (one, joined) = match self {
            Self::Any(_) | Self::Write(..) => (None, None),
            Self::Read(key, waiting) => (Some((&*key, waiting)), None),
            Self::Joined(list) => (None, Some(list)),
        };
        let joined = joined.into_iter().flatten();
        one.into_iter()
            .chain(joined.map(|(key, waiting)| (&*key, waiting)))
    }

    /// Everyone who waits for this reply.
    pub fn waiting(&mut self) -> impl Iterator<Item = &mut Waiting> {
        let (one, joined) = match self {
            Self::Any(waiting) | Self::Write(_, waiting) | Self::Read(_, waiting) => {
                (Some(waiting), None)
            }
            Self::Joined(list) => (None, Some(list)),
        };
        one.into_iter()
            .chain(joined.into_iter().flatten().map(|(_, waiting)| waiting))
    }

    /// Whether `value` can be the answer to this command at all. If it is not, the link is out of step.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        // Proxies answer for a key whose server is away with an error in its place.
        let answers_read = |value: &Value| {
            matches!(
                value,
                Value::BulkString(_) | Value::Nil | Value::ServerError(_)
            )
        };
        match (self, value) {
            (Self::Any(_), _) | (_, Value::ServerError(_)) => true,
            (Self::Write(family, _), value) => commands::fits(*family, value),
            (Self::Read(..), value) => answers_read(value),
            (Self::Joined(list), Value::Array(values)) => {
                values.len() == list.len() && values.iter().all(answers_read)
            }
            (Self::Joined(_), _) => false,
        }
    }
}

impl Batch {
    /// One read for one who waits.
    #[must_use]
    pub fn read(key: Arc<[u8]>, waiting: Waiting) -> Self {
        let mut batch = Self::default();
        let (cmd, size) = (commands::get(&[&key]), key.len());
        batch.push(cmd, Part::Read(key, waiting), size);
        batch
    }

    /// About how many bytes it occupies until it is answered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let waiting = self.parts.iter().map(|part| match part {
            Part::Any(_) | Part::Write(..) | Part::Read(..) => 1,
            Part::Joined(list) => list.len(),
        });
        self.bytes + waiting.sum::<usize>() * port::WAITING_BYTES
    }

    /// How many commands less it has than were asked for.
    #[must_use]
    pub fn saved(&self) -> usize {
        let saved = self.parts.iter().map(|part| match part {
            Part::Any(_) | Part::Write(..) | Part::Read(..) => 0,
            Part::Joined(list) => list.len() - 1,
        });
        saved.sum()
    }

    /// What its commands are counted as.
    pub fn families(&self) -> impl Iterator<Item = CommandFamily> {
        self.pipeline.cmd_iter().map(commands::family)
    }

    /// Adds a command behind all others, to whose reply `settle` is told.
    pub fn follow(&mut self, cmd: Cmd, settle: Settle) {
        let waiting = Waiting {
            deadline: clock::NEVER,
            claim: Claim::End(settle),
            tries: 0,
        };
        self.push(cmd, Part::Any(waiting), 0);
    }

    fn push(&mut self, cmd: Cmd, part: Part, size: usize) {
        self.pipeline.add_command(cmd);
        self.parts.push(part);
        self.bytes += size;
    }

    fn has_room(&self, size: usize) -> bool {
        self.parts.is_empty()
            || (self.parts.len() < MAX_COMMANDS && self.bytes + size <= MAX_BYTES && size <= LARGE)
    }
}

/// Cuts `operations` into pipelines. `by_slot`, only reads of the same slot are joined.
#[must_use]
pub fn cut(operations: impl IntoIterator<Item = Operation>, by_slot: bool) -> Vec<Batch> {
    let mut cutter = Cutter {
        by_slot,
        ..Cutter::default()
    };
    for operation in operations {
        cutter.add(operation);
    }
    cutter.flush_reads();
    cutter.batches
}

#[derive(Default)]
struct Cutter {
    by_slot: bool,
    batches: Vec<Batch>,
    reads: Vec<(Arc<[u8]>, Waiting)>,
    /// Keys written since the first of `reads`: a read of one of them may not join.
    written: HashSet<Arc<[u8]>>,
    /// Commands that were queued after the first of `reads`.
    held: Vec<(Cmd, Part, usize)>,
}

impl Cutter {
    fn add(&mut self, operation: Operation) {
        let size = operation.size();
        let (request, waiting) = Waiting::of(operation);
        match request {
            Request::Get(key) => {
                if self.reads.len() == MAX_JOINED || self.written.contains(&key) {
                    self.flush_reads();
                }
                self.reads.push((key, waiting));
            }
            Request::Write(cmd, keys) => {
                let part = Part::Write(commands::family(&cmd), waiting);
                if self.reads.is_empty() {
                    self.send(cmd, part, size);
                } else {
                    self.written.extend(keys);
                    self.held.push((cmd, part, size));
                }
            }
            Request::Raw(cmd) => {
                self.flush_reads();
                self.send(cmd, Part::Any(waiting), size);
            }
        }
    }

    /// Sends the joined reads, then what was queued behind the first of them.
    fn flush_reads(&mut self) {
        let reads = std::mem::take(&mut self.reads);
        if self.by_slot {
            for reads in group_by_slot(reads, |(key, _)| key) {
                self.send_reads(reads);
            }
        } else {
            self.send_reads(reads);
        }
        self.written.clear();
        for (cmd, part, size) in std::mem::take(&mut self.held) {
            self.send(cmd, part, size);
        }
    }

    fn send_reads(&mut self, mut reads: Vec<(Arc<[u8]>, Waiting)>) {
        if reads.is_empty() {
            return;
        }
        let keys: Vec<&[u8]> = reads.iter().map(|(key, _)| &**key).collect();
        let cmd = commands::get(&keys);
        if reads.len() > 1 {
            let size = keys.iter().map(|key| key.len() + 8).sum();
            self.send(cmd, Part::Joined(reads), size);
        } else if let Some((key, waiting)) = reads.pop() {
            let size = key.len();
            self.send(cmd, Part::Read(key, waiting), size);
        }
    }

    fn send(&mut self, cmd: Cmd, part: Part, size: usize) {
        if !self.batches.last().is_some_and(|last| last.has_room(size)) {
            self.batches.push(Batch::default());
        }
        if let Some(last) = self.batches.last_mut() {
            last.push(cmd, part, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::port::once, *};

    fn operation(request: Request) -> Operation {
        Operation {
            request,
            deadline: 0,
            settle: once(|_| ()),
            tries: 0,
        }
    }

    fn read(key: &str) -> Operation {
        operation(Request::Get(key.as_bytes().into()))
    }

    fn write(key: &str, size: usize) -> Operation {
        let mut cmd = redis::cmd("SET");
        cmd.arg(key).arg(vec![b'x'; size]);
        operation(Request::Write(cmd, vec![key.as_bytes().into()]))
    }

    fn shape(operations: Vec<Operation>) -> Vec<Vec<String>> {
        let name = |cmd: &Cmd| {
            let args: Vec<String> = cmd
                .args_iter()
                .take(4)
                .map(|arg| {
                    let bytes = commands::argument(&arg).unwrap_or_default();
                    String::from_utf8_lossy(&bytes[..bytes.len().min(4)]).into_owned()
                })
                .collect();
            args.join(" ")
        };
        cut(operations, false)
            .iter()
            .map(|batch| batch.pipeline.cmd_iter().map(name).collect())
            .collect()
    }

    #[test]
    fn reads_that_wait_together_leave_as_one_command() {
        assert_eq!(
            shape(vec![read("a"), read("b"), read("c")]),
            [["MGET a b c"]]
        );
        assert_eq!(shape(vec![read("a")]), [["GET a"]]);
        assert!(shape(vec![]).is_empty());
    }

    #[test]
    fn a_read_never_passes_a_write_of_its_key_and_may_pass_others() {
        let shape = shape(vec![
            read("a"),
            write("b", 1),
            read("c"),
            read("b"),
            read("d"),
        ]);
        assert_eq!(shape, [["MGET a c", "SET b x", "MGET b d"]]);
    }

    #[test]
    fn in_a_cluster_only_reads_of_one_slot_are_joined() {
        let reads = ["{a}1", "{b}1", "{a}2", "c"].map(read);
        let batches = cut(reads, true);
        let [batch] = &batches[..] else {
            panic!("{} pipelines", batches.len());
        };
        let lengths = batch.pipeline.cmd_iter().map(|cmd| cmd.args_iter().count());
        assert_eq!(lengths.collect::<Vec<_>>(), [3, 2, 2]);
    }

    #[test]
    fn nothing_passes_a_raw_command() {
        let raw = operation(Request::Raw(redis::cmd("INFO")));
        let shape = shape(vec![read("a"), raw, read("b")]);
        assert_eq!(shape, [["GET a", "INFO", "GET b"]]);
    }

    #[test]
    fn pipelines_are_bounded_in_commands_and_bytes() {
        let many = (0..130).map(|n| write(&n.to_string(), 1)).collect();
        let lengths: Vec<usize> = shape(many).iter().map(Vec::len).collect();
        assert_eq!(lengths, [64, 64, 2]);
        let large = vec![write("a", 1), write("b", 20 << 10), write("c", 1)];
        let lengths: Vec<usize> = shape(large).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2]);
    }
}
