//! Asking Redis for the versions of tags, each once however many want it, and making those that are missing.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join;
use parking_lot::Mutex;
use redis::Value;

use crate::{
    cache::{Cache, Key},
    clock::{self, NEVER},
    l2::{
        commands::{self, OnlyIf},
        port::{Failure, Reply, Request, once},
    },
    tags::{Known, Tag},
};

/// A version is kept for this long at least, and for this many times the life of an entry that is made under it, so that
/// not every entry has to see to it.
const KEPT_MS: u64 = 24 * 3_600_000;
const KEPT_LIVES: u64 = 2;
/// How often a version that goes while it is asked for is asked for.
const TRIES: u32 = 3;

/// The version of a tag, none if it has none, or why that cannot be said.
pub(super) type Answer = Result<Option<u64>, Failure>;

/// Who is told an answer.
pub(super) type Told = Box<dyn FnOnce(&Arc<Cache>, Answer) + Send>;

/// A question under way.
struct Asked {
    /// How often the tag had changed when it was sent: what came later may not rely on the answer.
    changes: u64,
    /// Until when the version is to be kept, if one that is missing is to be made.
    keep_until: Option<u64>,
    told: Vec<Told>,
}

/// The questions under way, the last one of each tag.
#[derive(Default)]
pub(in crate::cache) struct Questions(Mutex<HashMap<Key, Arc<Mutex<Asked>>>>);

impl Questions {
    /// Adds `told` to the question under way, if that will do; else there is a new one now.
    fn join(&self, tag: &Tag, keep_until: Option<u64>, told: Told) -> Option<Arc<Mutex<Asked>>> {
        let changes = tag.changes();
        let mut questions = self.0.lock();
        if let Some(asked) = questions.get(&tag.key) {
            let mut asked = asked.lock();
            if asked.changes == changes && asked.keep_until >= keep_until {
                asked.told.push(told);
                return None;
            }
        }
        let asked = Arc::new(Mutex::new(Asked {
            changes,
            keep_until,
            told: vec![told],
        }));
        questions.insert(Arc::clone(&tag.key), Arc::clone(&asked));
        Some(asked)
    }

    /// The question is answered: those who wait for that.
    fn end(&self, key: &Key, asked: &Arc<Mutex<Asked>>) -> Vec<Told> {
        let mut questions = self.0.lock();
        let is_last = questions
            .get(key)
            .is_some_and(|last| Arc::ptr_eq(last, asked));
        if is_last {
            questions.remove(key);
        }
        std::mem::take(&mut asked.lock().told)
    }
}

impl Cache {
    /// Asks Redis for a version. With `keep_until` one that is missing is made, and kept until then at least.
    pub(super) fn ask_tag(
        self: &Arc<Self>,
        tag: &Arc<Tag>,
        keep_until: Option<u64>,
        deadline: u64,
        told: Told,
    ) {
        if self.open_link(&tag.key).is_none() {
            return told(self, Err(Failure::Unavailable));
        }
        if keep_until.is_none() && self.journaled(&tag.key) {
            return told(self, Ok(None));
        }
        let Some(asked) = self.questions.join(tag, keep_until, told) else {
            return;
        };
        let (cache, tag, link) = (
            Arc::clone(self),
            Arc::clone(tag),
            self.generation_in_use(&tag.key),
        );
        let Some(keep_until) = keep_until else {
            let request = Request::Get(Arc::clone(&tag.key));
            let settle = once(move |reply| cache.learn(&tag, &asked, link, &version_of(reply), 0));
            return self.submit(request, deadline, settle);
        };
        self.unlink_if_journaled(&tag.key);
        self.runtime.spawn(async move {
            let patience = Duration::from_millis(deadline.saturating_sub(clock::now()));
            let kept = tokio::time::timeout(patience, cache.keep_version(&tag, keep_until)).await;
            let (answer, kept_until) = match kept.unwrap_or(Err(Failure::Timeout)) {
                Ok((version, kept_until)) => (Ok(Some(version)), kept_until),
                Err(failure) => (Err(failure), 0),
            };
            cache.learn(&tag, &asked, link, &answer, kept_until);
        });
    }

    /// Gives the version of a tag, which it makes if there is none, and until when it is kept. May be cancelled.
    async fn keep_version(&self, tag: &Tag, until: u64) -> Result<(u64, u64), Failure> {
        let key = &tag.key;
        let ttl_ms = (until != NEVER).then(|| {
            let life = until.saturating_sub(clock::now());
            life.saturating_mul(KEPT_LIVES).max(KEPT_MS)
        });
        let kept_until = ttl_ms.map_or(NEVER, |ms| clock::now().saturating_add(ms));
        // One that is known to be kept has only to be read again, if it still is.
        if tag.kept_until() >= until
            && let Some(version) = version_of(self.call(Request::Get(Arc::clone(key))).await)?
        {
            return Ok((version, 0));
        }
        let write = |cmd| Request::Write(cmd, vec![Arc::clone(key)]);
        for _ in 0..TRIES {
            let version = fastrand::u64(1..);
            let text = version.to_string();
            let made = commands::set(key, text.as_bytes(), ttl_ms, Some(OnlyIf::Absent));
            if self.call(write(made)).await? != Value::Nil {
                return Ok((version, kept_until));
            }
            let get = self.call(Request::Get(Arc::clone(key)));
            let pttl = self.call(Request::Raw(commands::pttl(key)));
            let (version, left) = join(get, pttl).await;
            let Some(version) = version_of(version)? else {
                continue;
            };
            let left = commands::integer(&left?).map(u64::try_from);
            // Without a number: it never ends.
            let Some(Ok(left)) = left else {
                return Ok((version, NEVER));
            };
            let left_until = clock::now().saturating_add(left);
            if left_until >= until {
                return Ok((version, left_until));
            }
            self.call(write(commands::expire(key, ttl_ms))).await?;
            return Ok((version, kept_until));
        }
        Err(Failure::Unavailable)
    }

    fn learn(
        self: &Arc<Self>,
        tag: &Tag,
        asked: &Arc<Mutex<Asked>>,
        link: u64,
        answer: &Answer,
        kept_until: u64,
    ) {
        let changes = asked.lock().changes;
        match *answer {
            Ok(Some(version)) => {
                let until =
                    clock::now().saturating_add(self.config.l1.as_ref().map_or(0, |l1| l1.ttl_ms));
                let known = Known {
                    version,
                    link,
                    until,
                    kept_until,
                };
                tag.learn(changes, known);
            }
            Ok(None) => tag.learn_gone(changes),
            Err(_) => (),
        }
        for told in self.questions.end(&tag.key, asked) {
            told(self, answer.clone());
        }
    }
}

fn version_of(reply: Reply) -> Answer {
    let text = commands::bytes(reply?);
    let text = text.and_then(|text| String::from_utf8(text).ok());
    Ok(text.and_then(|text| text.parse().ok()))
}

type Then = Box<dyn FnOnce(&Arc<Cache>, Vec<Answer>) + Send>;

/// Gathers the answers of several questions; the last one is told all.
pub(super) struct Answers {
    given: Mutex<Vec<Answer>>,
    /// Answers that are missing, and one for the caller who is still asking.
    missing: AtomicUsize,
    then: Mutex<Option<Then>>,
}

impl Answers {
    pub(super) fn new(
        count: usize,
        then: impl FnOnce(&Arc<Cache>, Vec<Answer>) + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            given: Mutex::new(vec![Ok(None); count]),
            missing: AtomicUsize::new(count + 1),
            then: Mutex::new(Some(Box::new(then))),
        })
    }

    /// Takes the answer to the question at `at`.
    pub(super) fn told(self: &Arc<Self>, at: usize) -> Told {
        let all = Arc::clone(self);
        Box::new(move |cache, answer| {
            all.given.lock()[at] = answer;
            all.arrived(cache);
        })
    }

    /// All questions are asked.
    pub(super) fn start(&self, cache: &Arc<Cache>) {
        self.arrived(cache);
    }

    fn arrived(&self, cache: &Arc<Cache>) {
        if self.missing.fetch_sub(1, SeqCst) > 1 {
            return;
        }
        let then = self.then.lock().take();
        let given = std::mem::take(&mut *self.given.lock());
        if let Some(then) = then {
            then(cache, given);
        }
    }
}
