//! The way on which pipelines go out, numbered in their order. The link's task puts them there, or, where little is queued and
//! nothing else is on its way, whoever queued it: that spares the waking of a thread, which is most of what a lone read waits
//! for. The task hears of those when it is woken, by an answer or by its look; only while it looks is the lane open to others.
//! Over TLS, over sockets in the file system and in a cluster the task does it all.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use redis::{RedisResult, Value};
use tokio::sync::mpsc;

use super::exchange::Sent;
use crate::{
    clock,
    l2::{
        Link,
        batch::{self, Batch},
        port::{Failure, Operation, once},
        resp::Client,
    },
};

/// Operations that there stays room for.
const KEPT: usize = 4_096;

/// The replies to a pipeline, by its number.
pub(super) type Answer = (u64, RedisResult<Vec<Value>>);

/// What submitters may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Submitters {
    /// Nothing as long as the link's task does not look.
    Wait,
    Send,
    /// Nothing any more, or nothing ever: the socket is one that not anybody may write to.
    Never,
}

/// See the module.
pub struct Lane {
    client: Client,
    answers: mpsc::UnboundedSender<Answer>,
    last: u64,
    submitters: Submitters,
    /// What submitters sent and the link's task does not know of.
    news: Vec<(u64, Sent)>,
    /// Room for what is queued.
    room: VecDeque<Operation>,
}

impl Lane {
    pub(super) fn new(client: Client) -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (answers, answered) = mpsc::unbounded_channel();
        let lane = Self {
            submitters: if client.writes_anywhere() {
                Submitters::Wait
            } else {
                Submitters::Never
            },
            client,
            answers,
            last: 0,
            news: Vec::new(),
            room: VecDeque::new(),
        };
        (lane, answered)
    }

    /// Opens the lane to submitters, or shuts it; one that was closed stays so.
    pub(super) fn open(&mut self, is_open: bool) {
        self.submitters = match self.submitters {
            Submitters::Never => Submitters::Never,
            Submitters::Wait | Submitters::Send if is_open => Submitters::Send,
            Submitters::Wait | Submitters::Send => Submitters::Wait,
        };
    }

    /// Closes the lane to submitters for good; what they sent that nobody knows of.
    pub(super) fn close(&mut self) -> Vec<(u64, Sent)> {
        self.submitters = Submitters::Never;
        self.news()
    }

    /// What submitters sent since this was asked.
    pub(super) fn news(&mut self) -> Vec<(u64, Sent)> {
        std::mem::take(&mut self.news)
    }

    /// Puts a pipeline behind all others, to be written soon; its number, and what there is to know of it until it is answered.
    pub(super) fn put(&mut self, link: &Arc<Link>, mut batch: Batch) -> (u64, Sent) {
        if let Some(publish) = link.shared.bus.telling_of(&batch.pipeline) {
            let link = Arc::clone(link);
            batch.follow(publish, once(move |reply| link.heard_of_telling(&reply)));
        }
        let counters = &link.counters;
        for family in batch.families() {
            counters.commands.count(family);
        }
        counters
            .l2_commands
            .fetch_add(batch.parts.len() as u64, Relaxed);
        counters
            .commands_saved
            .fetch_add(batch.saved() as u64, Relaxed);
        self.last += 1;
        self.client.ask(&batch.pipeline, self.last, &self.answers);
        let now = clock::now();
        let sent = Sent::new(batch, now);
        link.port.note_sent(sent.bytes(), now);
        (self.last, sent)
    }

    /// Puts what is queued behind all others. What nobody waits for any more is given back: the process was busy or suspended,
    /// which says nothing of Redis.
    pub(super) fn put_queued(&mut self, link: &Arc<Link>) -> (Vec<(u64, Sent)>, Vec<Operation>) {
        let mut queued = std::mem::take(&mut self.room);
        let expired = link.port.take_due(clock::now(), &mut queued);
        let batches = batch::cut(queued.drain(..), link.is_shard());
        let sent = batches.into_iter().map(|batch| self.put(link, batch));
        let sent = sent.collect();
        if queued.capacity() <= KEPT {
            self.room = queued;
        }
        (sent, expired)
    }

    /// Leaves it to the connection's driver to write what was put.
    pub(super) fn leave(&self) {
        self.client.wake();
    }
}

impl Link {
    /// Sees to it that what is queued is sent. Submitters call it once for all that they submitted in a tick.
    pub fn flush(self: &Arc<Self>) {
        if !self.flush_here() {
            self.port.wake();
        }
    }

    /// Nobody takes care any more of what submitters send: they do not, and what they sent ends.
    pub(in crate::l2) fn close_lane(&self) {
        if let Some(lane) = self.port.lane() {
            self.port.set_lane(None);
            let news = lane.lock().close();
            // Not under the lock: who waits is told.
            drop(news);
        }
    }

    fn flush_here(self: &Arc<Self>) -> bool {
        if !self.port.is_light() {
            return false;
        }
        let lane = self.port.lane();
        let Some(mut lane) = lane.as_ref().and_then(|lane| lane.try_lock()) else {
            return false;
        };
        if lane.submitters != Submitters::Send {
            return false;
        }
        let (sent, expired) = lane.put_queued(self);
        lane.news.extend(sent);
        lane.client.write();
        drop(lane);
        for operation in expired {
            operation.refuse(Failure::Timeout);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use parking_lot::Mutex;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        config::Config,
        l2::{
            Shared,
            dialer::socket::{Socket, Tcp},
            port::{Request, Settle},
            resp,
        },
        telemetry::counters::Counters,
        tide::Tide,
    };

    struct Ends {
        link: Arc<Link>,
        lane: Arc<Mutex<Lane>>,
        server: TcpStream,
    }

    /// A link whose lane is a connection by TCP, which no driver reads.
    async fn ends() -> Ends {
        let config = Config::parse(r#"{"redis":{}}"#).expect("sound options");
        let redis = config.redis.as_ref().expect("it was given");
        let shared = Shared::new(&config, redis, Tide::new());
        let counters = Arc::new(Counters::default());
        let (link, _) = Link::new(1, &config, "memory".to_owned(), &shared, counters);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let ours = TcpStream::connect(address).await.expect("it listens");
        ours.writable().await.expect("open");
        let socket = Socket::new(Tcp::new(ours));
        let writer = socket.writer();
        let (client, driver) = resp::speak(Box::new(socket), writer, drop);
        // Neither polled nor dropped.
        std::mem::forget(driver);
        let (lane, answered) = Lane::new(client);
        std::mem::forget(answered);
        let lane = Arc::new(Mutex::new(lane));
        link.port.set_lane(Some(Arc::clone(&lane)));
        link.port.open();
        let server = listener.accept().await.expect("connected").0;
        Ends { link, lane, server }
    }

    fn queue(link: &Link, key: &str, deadline: u64, settle: Settle) {
        let operation = Operation {
            request: Request::Get(key.as_bytes().into()),
            deadline,
            settle,
            tries: 0,
        };
        assert!(link.port.submit(operation).is_none());
    }

    /// Queues a read that nobody waits for.
    fn queue_read(link: &Link, key: &str) {
        queue(link, key, clock::NEVER, once(|_| ()));
    }

    fn task_is_woken(link: &Link) -> bool {
        link.port.woken().now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_submitter_writes_what_is_little_while_nothing_is_under_way() {
        let Ends {
            link,
            lane,
            mut server,
        } = ends().await;
        lane.lock().open(true);
        queue_read(&link, "a");
        queue_read(&link, "b");
        link.flush();
        let expected = b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n";
        let mut bytes = vec![0; expected.len()];
        server.read_exact(&mut bytes).await.expect("written");
        assert_eq!(bytes, expected);
        assert!(!task_is_woken(&link));
        let news = lane.lock().news();
        assert_eq!(news.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
        // That is under way now.
        queue_read(&link, "c");
        link.flush();
        assert!(task_is_woken(&link) && link.port.is_queued());
    }

    #[tokio::test]
    async fn what_is_much_is_left_to_the_task() {
        let Ends { link, lane, .. } = ends().await;
        lane.lock().open(true);
        for number in 0..100 {
            queue_read(&link, &number.to_string());
        }
        link.flush();
        assert!(task_is_woken(&link) && lane.lock().news().is_empty());
    }

    #[tokio::test]
    async fn nobody_writes_while_the_task_does_not_look_or_has_the_lane() {
        let Ends { link, lane, .. } = ends().await;
        queue_read(&link, "a");
        link.flush();
        assert!(task_is_woken(&link), "the task does not look");
        {
            let mut held = lane.lock();
            held.open(true);
            link.flush();
            assert!(task_is_woken(&link), "the task has it");
        }
        lane.lock().close();
        lane.lock().open(true);
        link.flush();
        assert!(task_is_woken(&link), "it is over");
        assert!(link.port.is_queued() && lane.lock().news().is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_sent() {
        let Ends { link, lane, .. } = ends().await;
        lane.lock().open(true);
        let (sender, ended) = tokio::sync::oneshot::channel();
        queue(&link, "a", 0, once(|reply| drop(sender.send(reply))));
        link.flush();
        assert_eq!(ended.await, Ok(Err(Failure::Timeout)));
        assert!(lane.lock().news().is_empty());
    }

    #[tokio::test]
    async fn what_was_sent_ends_with_the_lane_if_no_task_takes_care() {
        let Ends { link, lane, .. } = ends().await;
        lane.lock().open(true);
        let (sender, ended) = tokio::sync::oneshot::channel::<()>();
        queue(&link, "a", clock::NEVER, once(|_| drop(sender)));
        link.flush();
        drop(lane);
        link.close_lane();
        assert!(ended.await.is_err(), "its claim was dropped");
    }
}
