//! A server that a test speaks for: in memory, on paused time. It keeps strings, notes what it is asked and when, and
//! is refused, silent, frozen or odd when a test says so.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream},
    sync::watch,
};

use super::wire::{Break, Passed, Sockets, Wire};
use crate::{
    clock,
    l2::dialer::{Dial, DialError, Dialed, dialed_in_memory},
};

/// What becomes of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// It is served.
    Serve,
    /// It is refused.
    Refuse,
    /// It is accepted and closed.
    HangUp,
}

/// What is answered to a command, if not what a Redis would.
pub(super) enum Say {
    /// As a Redis does.
    Usual,
    /// These bytes.
    This(&'static str),
    /// These, made up for the question.
    That(String),
    /// As a Redis does, after so many ms.
    After(u64),
    /// As a Redis does, with so many bytes in a tenth of a second.
    Thinly(usize),
}

type Script = Box<dyn FnMut(&[String]) -> Say + Send>;

/// The server.
pub(super) struct Server {
    accept: Mutex<Accept>,
    script: Mutex<Script>,
    store: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<(u64, String)>>,
    dialed: Mutex<Vec<u64>>,
    frozen: watch::Sender<bool>,
    /// Counts up to end every connection.
    severed: watch::Sender<u32>,
    /// Where the next connection breaks.
    breaks: Mutex<Option<Break>>,
    /// What has passed on the first connection.
    pub(super) passed: Arc<Passed>,
    sockets: Arc<Sockets>,
}

impl Server {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            accept: Mutex::new(Accept::Serve),
            script: Mutex::new(Box::new(|_| Say::Usual)),
            store: Mutex::default(),
            asked: Mutex::default(),
            dialed: Mutex::default(),
            frozen: watch::Sender::new(false),
            severed: watch::Sender::new(0),
            breaks: Mutex::default(),
            passed: Arc::default(),
            sockets: Arc::default(),
        })
    }

    pub(super) fn accept(&self, accept: Accept) {
        *self.accept.lock() = accept;
    }

    /// From now on `script` decides what is answered.
    pub(super) fn says(&self, script: impl FnMut(&[String]) -> Say + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    /// As a SIGSTOP: connections stay, nothing is answered.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// How many sockets clients have had at once.
    pub(super) fn most_sockets(&self) -> usize {
        self.sockets.most()
    }

    /// The next connection breaks, and only that.
    pub(super) fn breaks_next(&self, at: Break) {
        *self.breaks.lock() = Some(at);
    }

    /// Ends every connection; new ones are accepted.
    pub(super) fn sever(&self) {
        self.severed.send_modify(|count| *count += 1);
    }

    /// Ends every connection and refuses new ones.
    pub(super) fn die(&self) {
        self.accept(Accept::Refuse);
        self.sever();
    }

    pub(super) fn put(&self, key: &str, value: &str) {
        self.store.lock().insert(key.to_owned(), value.to_owned());
    }

    pub(super) fn holds(&self, key: &str) -> Option<String> {
        self.store.lock().get(key).cloned()
    }

    /// What was asked since the last call, without the times.
    pub(super) fn take_asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock());
        asked.into_iter().map(|(_, command)| command).collect()
    }

    /// When somebody tried to connect.
    pub(super) fn dials(&self) -> Vec<u64> {
        self.dialed.lock().clone()
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream) {
        let mut severed = self.severed.subscribe();
        severed.mark_unchanged();
        let talk = self.talk(stream);
        tokio::select! {
            _ = severed.changed() => (),
            _ = talk => (),
        }
    }

    async fn talk(&self, stream: DuplexStream) -> io::Result<()> {
        let mut frozen = self.frozen.subscribe();
        let mut stream = BufReader::new(stream);
        loop {
            let words = read_command(&mut stream).await?;
            let _ = frozen.wait_for(|frozen| !*frozen).await;
            self.asked.lock().push((clock::now(), words.join(" ")));
            let said = (self.script.lock())(&words);
            let (reply, at_once) = match said {
                Say::Usual => (self.usual(&words), usize::MAX),
                Say::This(text) => (text.to_owned(), usize::MAX),
                Say::That(text) => (text, usize::MAX),
                Say::After(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    (self.usual(&words), usize::MAX)
                }
                Say::Thinly(bytes) => (self.usual(&words), bytes),
            };
            for part in reply.as_bytes().chunks(at_once) {
                stream.write_all(part).await?;
                if at_once < usize::MAX {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn usual(&self, words: &[String]) -> String {
        let mut store = self.store.lock();
        let bulk = |value: Option<&String>| {
            value.map_or("_\r\n".to_owned(), |value| {
                format!("${}\r\n{value}\r\n", value.len())
            })
        };
        match words[0].as_str() {
            "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            "PING" => "+PONG\r\n".to_owned(),
            "INFO" => bulk(Some(
                &"role:master\r\nloading:0\r\ntotal_commands_processed:1\r\n".to_owned(),
            )),
            "GET" => bulk(store.get(&words[1])),
            "MGET" => {
                let values: String = words[1..].iter().map(|key| bulk(store.get(key))).collect();
                format!("*{}\r\n{values}", words.len() - 1)
            }
            "SET"
                if words.last().is_some_and(|word| word == "NX")
                    && store.contains_key(&words[1]) =>
            {
                "_\r\n".to_owned()
            }
            "SET" => {
                store.insert(words[1].clone(), words[2].clone());
                "+OK\r\n".to_owned()
            }
            "UNLINK" => {
                let gone = words[1..].iter().filter(|key| store.remove(*key).is_some());
                format!(":{}\r\n", gone.count())
            }
            _ => "+OK\r\n".to_owned(),
        }
    }
}

async fn read_command(stream: &mut BufReader<DuplexStream>) -> io::Result<Vec<String>> {
    let count = read_length(stream).await?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = read_length(stream).await?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(length);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(words)
}

/// The number in `*3` or `$5`.
async fn read_length(stream: &mut BufReader<DuplexStream>) -> io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let number = line.get(1..).and_then(|text| text.trim_end().parse().ok());
    number.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The way to the server.
pub(super) struct Road(pub(super) Arc<Server>);

impl Dial for Road {
    fn dial<'a>(
        &'a self,
        _last_good: &'a mut Option<IpAddr>,
        _allowance: Duration,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        async {
            self.0.dialed.lock().push(clock::now());
            let accept = *self.0.accept.lock();
            if accept == Accept::Refuse {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(DialError::of(&refused));
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            if accept == Accept::Serve {
                tokio::spawn(Arc::clone(&self.0).serve(far));
            }
            let passed = if self.0.dialed.lock().len() == 1 {
                Arc::clone(&self.0.passed)
            } else {
                Arc::default()
            };
            let breaks = self.0.breaks.lock().take();
            let sockets = Arc::clone(&self.0.sockets);
            Ok(dialed_in_memory(Wire::new(near, breaks, passed, sockets)))
        }
        .boxed()
    }
}
