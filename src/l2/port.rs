//! Where operations enter the link: one queue, taken whole by the link's task, or by who has little to send. Owns admission (is there a link to
//! wait for?) and nothing of what happens afterwards.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, ServerError, Value};
use tokio::sync::Notify;

use super::{commands, dialer::Activity, link::Lane};
use crate::{clock, resilience::journal::Journal, tide::Tide};

/// Bytes that may wait for a link that says nothing.
const MAX_PENDING_BYTES: usize = 16 << 20;
/// How long a link may say nothing before they count.
const SILENCE_MS: u64 = 100;
/// How long what an interrupted stream of changes kept current may be served.
pub(super) const DEAF_MS: u64 = 60_000;
/// Admission is counted in thousandths.
const ALL: u32 = 1_000;
/// What one who waits is counted beside the bytes on the wire, on the high side: most of it is its promise.
pub(super) const WAITING_BYTES: usize = 2_048;
/// What a submitter sends by itself at most: more is not worth its time.
const FEW: usize = 32;
const FEW_BYTES: usize = FEW * WAITING_BYTES + (16 << 10);

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

/// What takes the end of an operation; called exactly once. After [`Failure::Timeout`] the reply may still come, or the
/// link end without one: what is answered here is told, once.
pub type Settle = Box<dyn FnOnce(Reply) -> Option<Late> + Send>;

/// What takes a reply that came after the deadline, or the news that none will come.
pub type Late = Box<dyn FnOnce(Reply) + Send>;

/// A [`Settle`] that has no use for a late reply.
pub fn once(settle: impl FnOnce(Reply) + Send + 'static) -> Settle {
    Box::new(move |reply| {
        settle(reply);
        None
    })
}

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
    /// How often it was sent before.
    pub tries: u32,
}

impl Operation {
    /// Ends an operation that was never sent.
    pub fn refuse(self, failure: Failure) {
        if let Some(late) = (self.settle)(Err(failure)) {
            late(Err(Failure::Unavailable));
        }
    }

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

/// How long changes were heard of over a link.
enum Heard {
    /// They are, or never were.
    Still,
    /// Until then.
    Until(u64),
    /// It is not remembered.
    LongAgo,
}

/// Until when changes of others were heard of, link by link.
#[derive(Default)]
pub struct HeardUntil(Mutex<VecDeque<(u64, u64)>>);

impl HeardUntil {
    /// Links that are remembered.
    const MOST: usize = 64;

    fn note(&self, generation: u64, at: u64) {
        let mut list = self.0.lock();
        if list.iter().any(|(noted, _)| *noted == generation) {
            return;
        }
        if list.len() == Self::MOST {
            list.pop_front();
        }
        list.push_back((generation, at));
    }

    fn of(&self, generation: u64) -> Heard {
        let list = self.0.lock();
        match list.iter().find(|(noted, _)| *noted == generation) {
            Some((_, at)) => Heard::Until(*at),
            None if list.len() == Self::MOST && list[0].0 > generation => Heard::LongAgo,
            None => Heard::Still,
        }
    }
}

/// The submission side of a link.
pub struct Port {
    queue: Mutex<Queue>,
    /// All that a submitter had is queued.
    notify: Notify,
    /// Something is queued, and more may follow.
    first: Notify,
    /// The link's task looks for what is queued by itself.
    attended: AtomicBool,
    generation: AtomicU64,
    /// How many there were, of all links of the cache.
    generations: Arc<AtomicU64>,
    /// Until when changes of others were heard of over the last links of the cache.
    heard_until: Arc<HeardUntil>,
    /// Turned whenever what was read over a link counts for something else.
    tide: Arc<Tide>,
    journaled: AtomicUsize,
    /// All of Redis is journaled.
    whole: AtomicBool,
    /// What goes over the link in use.
    activity: ArcSwapOption<Activity>,
    /// The way out, while there is a link.
    lane: ArcSwapOption<Mutex<Lane>>,
    /// Bytes that were sent and not answered.
    in_flight: AtomicUsize,
    /// Since when there are some.
    asked: AtomicU64,
    /// The server refuses some writes.
    gated: AtomicBool,
    /// How many of a thousand reads are let in.
    admission: AtomicU32,
}

impl Port {
    /// A port that refuses until it is opened. Links that share `generations` never have one of the same number.
    #[must_use]
    pub fn new(generations: Arc<AtomicU64>, heard_until: Arc<HeardUntil>, tide: Arc<Tide>) -> Self {
        Self {
            queue: Mutex::default(),
            notify: Notify::new(),
            first: Notify::new(),
            attended: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            generations,
            heard_until,
            tide,
            journaled: AtomicUsize::new(0),
            whole: AtomicBool::new(false),
            activity: ArcSwapOption::empty(),
            lane: ArcSwapOption::empty(),
            in_flight: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            gated: AtomicBool::new(false),
            admission: AtomicU32::new(ALL),
        }
    }

    /// Queues an operation, or gives it back, untouched, if there is no link to wait for.
    #[must_use]
    pub fn submit(&self, operation: Operation) -> Option<Operation> {
        let size = operation.size();
        let mut queue = self.queue.lock();
        if !queue.open || self.is_stuck(queue.bytes) {
            return Some(operation);
        }
        let first = queue.operations.is_empty();
        queue.bytes += size + WAITING_BYTES;
        queue.operations.push_back(operation);
        drop(queue);
        if first {
            self.announce();
        }
        None
    }

    /// Queues several operations that nothing may come between; gives back those that were refused.
    #[must_use]
    pub fn submit_all(&self, operations: Vec<Operation>) -> Vec<Operation> {
        let mut queue = self.queue.lock();
        if !queue.open || self.is_stuck(queue.bytes) {
            return operations;
        }
        let first = queue.operations.is_empty() && !operations.is_empty();
        let sizes = operations.iter().map(Operation::size);
        queue.bytes += sizes.map(|size| size + WAITING_BYTES).sum::<usize>();
        queue.operations.extend(operations);
        drop(queue);
        if first {
            self.announce();
        }
        Vec::new()
    }

    /// Queues an operation behind all that is queued or on its way, whether others are let in or not; gives it back if
    /// nothing is on its way, since there is no link.
    #[must_use]
    pub(super) fn submit_behind(&self, operation: Operation) -> Option<Operation> {
        let mut queue = self.queue.lock();
        if !queue.open && self.generation() == 0 {
            return Some(operation);
        }
        queue.bytes += operation.size() + WAITING_BYTES;
        queue.operations.push_back(operation);
        None
    }

    /// Whether something is queued or on its way.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.is_queued() || self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Whether as much waits as may, and there is no link yet, or it has said nothing for a while.
    fn is_stuck(&self, queued: usize) -> bool {
        if self.generation() == 0 {
            return queued >= MAX_PENDING_BYTES;
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        if in_flight == 0 || in_flight + queued < MAX_PENDING_BYTES {
            return false;
        }
        let last = self.heard().max(self.asked.load(Ordering::Relaxed));
        clock::now().saturating_sub(last) > SILENCE_MS
    }

    /// Whether the server refuses some writes.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.gated.load(Ordering::Relaxed)
    }

    pub(super) fn note_gate(&self, closed: bool) {
        self.gated.store(closed, Ordering::Relaxed);
    }

    /// Whether a read is let in: all are, unless the server is only just recovering from an overload.
    #[must_use]
    pub fn admits_read(&self) -> bool {
        let admission = self.admission.load(Ordering::Relaxed);
        admission >= ALL || fastrand::u32(..ALL) < admission
    }

    /// The share of reads that are let in.
    #[must_use]
    pub fn admission(&self) -> f64 {
        f64::from(self.admission.load(Ordering::Relaxed)) / f64::from(ALL)
    }

    pub(super) fn admit_reads(&self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share between 0 and 1"
        )]
        let admission = (share * f64::from(ALL)) as u32;
        self.admission.store(admission, Ordering::Relaxed);
    }

    /// So many bytes were sent.
    pub(super) fn note_sent(&self, bytes: usize, now: u64) {
        if self.in_flight.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.asked.store(now, Ordering::Relaxed);
        }
    }

    /// So many bytes were answered.
    pub(super) fn note_answered(&self, bytes: usize) {
        self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Nothing is in flight any more: the link is gone.
    pub(super) fn forget_sent(&self) {
        self.in_flight.store(0, Ordering::Relaxed);
    }

    /// Wakes the link's task.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// As [`Port::wake`], if anything is queued: where there are many links, few of them have anything to do.
    pub fn wake_if_queued(&self) {
        if self.is_queued() {
            self.wake();
        }
    }

    /// Whether something is queued.
    pub(super) fn is_queued(&self) -> bool {
        !self.queue.lock().operations.is_empty()
    }

    /// Waits for [`Port::wake`]. May be cancelled.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    fn announce(&self) {
        if !self.attended.load(Ordering::SeqCst) {
            self.first.notify_one();
        }
    }

    /// From now on the link's task looks for what is queued by itself, or does not; true if something is.
    pub(super) fn attend(&self, attended: bool) -> bool {
        self.attended.store(attended, Ordering::SeqCst);
        self.is_queued()
    }

    /// Waits until something is queued of which nobody has said yet that it is all. May be cancelled.
    pub async fn announced(&self) {
        self.first.notified().await;
    }

    /// Queues again what was sent over a link that is gone, though nothing is let in: the next link sends it first.
    pub fn requeue(&self, operations: Vec<Operation>) {
        self.queue.lock().operations.extend(operations);
    }

    /// When the first of those that are queued is to be told that it took too long.
    #[must_use]
    pub fn first_deadline(&self) -> Option<u64> {
        let queue = self.queue.lock();
        queue
            .operations
            .iter()
            .map(|operation| operation.deadline)
            .min()
    }

    /// Ends those that are queued and whose deadline has passed.
    pub fn expire(&self, now: u64) {
        let late: VecDeque<Operation> = {
            let mut queue = self.queue.lock();
            let (late, rest) = std::mem::take(&mut queue.operations)
                .into_iter()
                .partition(|operation| operation.deadline <= now);
            queue.operations = rest;
            let freed = late
                .iter()
                .map(|late: &Operation| late.size() + WAITING_BYTES);
            let freed = freed.sum::<usize>();
            queue.bytes = queue.bytes.saturating_sub(freed);
            late
        };
        for operation in late {
            operation.refuse(Failure::Timeout);
        }
    }

    /// Puts what is queued and is to be sent into `room`, which is empty; gives what nobody waits for any more.
    pub(super) fn take_due(&self, now: u64, room: &mut VecDeque<Operation>) -> Vec<Operation> {
        {
            let mut queue = self.queue.lock();
            queue.bytes = 0;
            std::mem::swap(&mut queue.operations, room);
        }
        if room.iter().all(|operation| operation.deadline > now) {
            return Vec::new();
        }
        let (due, expired): (VecDeque<_>, _) = std::mem::take(room)
            .into_iter()
            .partition(|operation| operation.deadline > now);
        *room = due;
        expired.into()
    }

    /// Whether little is queued, and nothing is on its way.
    pub(super) fn is_light(&self) -> bool {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let queue = self.queue.lock();
        queue.operations.len() <= FEW && queue.bytes <= FEW_BYTES
    }

    /// The way out, while there is a link.
    pub(super) fn lane(&self) -> Option<Arc<Mutex<Lane>>> {
        self.lane.load_full()
    }

    pub(super) fn set_lane(&self, lane: Option<Arc<Mutex<Lane>>>) {
        self.lane.store(lane);
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

    /// Another link is in use: what was read before it is no longer known to be current.
    pub(super) fn begin_generation(&self) {
        let next = self.generations.fetch_add(1, Ordering::SeqCst) + 1;
        self.generation.store(next, Ordering::SeqCst);
        self.tide.turn();
    }

    /// No link is in use any more.
    pub(super) fn end_generation(&self) {
        self.generation.store(0, Ordering::SeqCst);
        self.tide.turn();
    }

    /// What was read over the link in use is no longer known to be current: changes were missed.
    pub fn renew_generation(&self) {
        self.deafen(clock::now());
        let next = self.generations.fetch_add(1, Ordering::SeqCst) + 1;
        let renew = |current| (current != 0).then_some(next);
        // Without a link in use there is nothing to renew.
        let _ = self
            .generation
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, renew);
        self.tide.turn();
    }

    /// Changes of others were heard of until `now` over the link in use, and are not any more.
    pub(super) fn deafen(&self, now: u64) {
        let generation = self.generation();
        if generation != 0 {
            self.heard_until.note(generation, now);
            self.tide.turn();
        }
    }

    /// Until when what was read over the link of this generation may be served where Redis does not answer, on
    /// `clock::now`: for ever, if changes were never heard of over it, or still are.
    #[must_use]
    pub fn served_until(&self, generation: u64) -> u64 {
        match self.heard_until.of(generation) {
            Heard::Still => clock::NEVER,
            Heard::Until(at) => at + DEAF_MS,
            Heard::LongAgo => 0,
        }
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

    /// Keeps what readers want to know of the journal where they see it without its lock.
    pub fn note_journal(&self, journal: &Journal) {
        self.whole.store(journal.is_whole(), Ordering::SeqCst);
        self.journaled.store(journal.pending(), Ordering::SeqCst);
    }

    /// Whether all that Redis holds is journaled.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::SeqCst)
    }

    /// Entries in the journal.
    #[must_use]
    pub fn journaled(&self) -> usize {
        self.journaled.load(Ordering::SeqCst)
    }
}
