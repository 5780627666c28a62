//! Where operations enter the link: one queue, taken whole by the link's task. Owns admission (is there a link to
//! wait for?) and nothing of what happens afterwards.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, ServerError, Value};
use tokio::sync::Notify;

use super::{commands, dialer::Activity};

/// Bytes that may wait in the queue; a healthy link never comes near it.
const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Why an operation has no reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// No link is in use; nothing was sent.
    Unavailable,
    /// The link broke before the answer came; the command may have been carried out.
    Disconnected,
    /// The deadline passed; the command may have been or may yet be carried out.
    Timeout,
    /// Redis refused.
    Refused(ServerError),
}

impl Failure {
    /// Whether the command may have been, or may yet be, carried out.
    #[must_use]
    pub const fn ambiguous(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Timeout)
    }
}

/// The end of an operation.
pub type Reply = Result<Value, Failure>;

/// What takes the end of an operation; called exactly once.
pub type Settle = Box<dyn FnOnce(Reply) + Send>;

/// What is asked of Redis.
pub enum Request {
    /// One key's value; may be joined with others into an MGET.
    Get(Arc<[u8]>),
    /// A command that changes exactly these keys: reads of others may pass it.
    Write(Cmd, Vec<Arc<[u8]>>),
    /// Anything else: nothing passes it.
    Raw(Cmd),
}

/// One operation.
pub struct Operation {
    /// What is asked.
    pub request: Request,
    /// When it settles at the latest, on `clock::now`.
    pub deadline: u64,
    /// Who is told.
    pub settle: Settle,
}

impl Operation {
    /// About how many bytes it puts on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.request {
            Request::Get(key) => key.len() + 16,
            Request::Write(cmd, _) | Request::Raw(cmd) => cmd
                .args_iter()
                .map(|arg| commands::argument(&arg).map_or(8, <[u8]>::len) + 8)
                .sum(),
        }
    }
}

#[derive(Default)]
struct Queue {
    open: bool,
    operations: VecDeque<Operation>,
    bytes: usize,
}

/// The submission side of a link.
pub struct Port {
    queue: Mutex<Queue>,
    /// All that a submitter had is queued.
    notify: Notify,
    /// Something is queued, and more may follow.
    first: Notify,
    generation: AtomicU64,
    journaled: AtomicUsize,
    /// What goes over the link in use.
    activity: ArcSwapOption<Activity>,
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

impl Port {
    /// A port that refuses until it is opened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: Mutex::default(),
            notify: Notify::new(),
            first: Notify::new(),
            generation: AtomicU64::new(0),
            journaled: AtomicUsize::new(0),
            activity: ArcSwapOption::empty(),
        }
    }

    /// Queues an operation, or gives it back if there is no link to wait for.
    ///
    /// # Errors
    /// The operation itself, untouched.
    pub fn submit(&self, operation: Operation) -> Result<(), Operation> {
        let size = operation.size();
        let mut queue = self.queue.lock();
        if !queue.open || queue.bytes + size > MAX_QUEUED_BYTES {
            return Err(operation);
        }
        let first = queue.operations.is_empty();
        queue.bytes += size;
        queue.operations.push_back(operation);
        drop(queue);
        if first {
            self.first.notify_one();
        }
        Ok(())
    }

    /// Queues several operations that nothing may come between; gives back those that were refused.
    #[must_use]
    pub fn submit_all(&self, operations: Vec<Operation>) -> Vec<Operation> {
        let mut queue = self.queue.lock();
        if !queue.open || queue.bytes > MAX_QUEUED_BYTES {
            return operations;
        }
        let first = queue.operations.is_empty() && !operations.is_empty();
        queue.bytes += operations.iter().map(Operation::size).sum::<usize>();
        queue.operations.extend(operations);
        drop(queue);
        if first {
            self.first.notify_one();
        }
        Vec::new()
    }

    /// Wakes the link's task. Submitters call it once for all they submitted in a tick.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits for [`Port::wake`]. May be cancelled.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Waits until something is queued of which nobody has said yet that it is all. May be cancelled.
    pub async fn announced(&self) {
        self.first.notified().await;
    }

    /// Takes all that is queued.
    pub fn take(&self) -> VecDeque<Operation> {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        std::mem::take(&mut queue.operations)
    }

    /// Lets operations in.
    pub fn open(&self) {
        self.queue.lock().open = true;
    }

    /// Lets no more operations in; what is queued stays.
    pub fn shut(&self) {
        self.queue.lock().open = false;
    }

    /// Whether operations are let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.queue.lock().open
    }

    /// The generation of the link in use, 0 while there is none.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Names the link in use, 0 for none.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// Names the link whose bytes count from now on.
    pub fn listen_to(&self, activity: Arc<Activity>) {
        self.activity.store(Some(activity));
    }

    /// When the last byte came over the link in use, or the last one; 0 if there was none.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.activity
            .load()
            .as_ref()
            .map_or(0, |activity| activity.last_rx())
    }

    /// Keeps the journal's length where readers see it without its lock.
    pub fn note_journal(&self, pending: usize) {
        self.journaled.store(pending, Ordering::SeqCst);
    }

    /// Entries in the journal.
    #[must_use]
    pub fn journaled(&self) -> usize {
        self.journaled.load(Ordering::SeqCst)
    }
}
