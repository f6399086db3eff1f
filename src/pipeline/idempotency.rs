//! A repeat of a request gets the answer of the first: `idempotency-key`.
//!
//! A key belongs to a method and a body. A repeat while the first is under way waits for it; one that
//! comes within the window gets the same answer; the same key with another body is a conflict. A
//! failed request leaves nothing behind, so that it can be tried again.
//! This file must never grow beyond its bounds: the oldest answer goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::{Digest, ErrorKind, Fault};
use crate::lifecycle::Clock;

/// The header that brings the key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of a key.
const MAX_KEY_BYTES: usize = 256;

/// The bounds of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencySettings {
    /// How long an answer is kept.
    pub window: Duration,
    /// Answers that are kept.
    pub entries: usize,
    /// Bytes of answers that are kept; a larger answer is not.
    pub bytes: usize,
}

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdempotencyError {
    /// Not a key.
    #[error("{IDEMPOTENCY_KEY}: 1 to {MAX_KEY_BYTES} printable ASCII characters are expected")]
    Malformed,
    /// Used before.
    #[error("{IDEMPOTENCY_KEY}: the key came before with another body; take a new one")]
    Conflict,
}

impl Fault for IdempotencyError {
    fn kind(&self) -> ErrorKind {
        match self {
            IdempotencyError::Malformed => ErrorKind::InvalidArgument,
            IdempotencyError::Conflict => ErrorKind::Conflict,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            IdempotencyError::Malformed => "MALFORMED_IDEMPOTENCY_KEY",
            IdempotencyError::Conflict => "IDEMPOTENCY_CONFLICT",
        }
    }

    fn field(&self) -> Option<String> {
        Some(IDEMPOTENCY_KEY.to_owned())
    }
}

/// What is asked under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeatable {
    method: &'static str,
    key: String,
    body: Digest,
}

impl Repeatable {
    /// A request of `method` with a body of this digest, by its header; `None` without a key.
    ///
    /// # Errors
    /// [`IdempotencyError::Malformed`].
    pub fn of(
        method: &'static str,
        key: Option<&[u8]>,
        body: impl FnOnce() -> Digest,
    ) -> Result<Option<Self>, IdempotencyError> {
        let Some(key) = key else { return Ok(None) };
        let good = (1..=MAX_KEY_BYTES).contains(&key.len())
            && key.iter().all(|byte| byte.is_ascii_graphic());
        let text = std::str::from_utf8(key).ok().filter(|_| good);
        let key = text.ok_or(IdempotencyError::Malformed)?.to_owned();
        Ok(Some(Self { method, key, body: body() }))
    }
}

/// Answers of type `T` by their keys. Cheap to clone.
#[derive(Debug)]
pub struct Idempotency<T>(Arc<Inner<T>>);

impl<T> Clone for Idempotency<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<T> {
    settings: IdempotencySettings,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept<T>>,
}

type Name = (&'static str, String);

#[derive(Debug)]
struct Kept<T> {
    entries: HashMap<Name, Entry<T>>,
    /// Answers in the order of their age, with their bytes.
    ages: VecDeque<(Instant, Name, usize)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    body: Digest,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    UnderWay(watch::Receiver<Option<T>>),
    Answered(T),
}

/// What a request does next.
enum Turn<T> {
    Answer(T),
    Wait(watch::Receiver<Option<T>>),
    First(watch::Sender<Option<T>>),
}

impl<T: Clone> Idempotency<T> {
    /// An empty store.
    pub fn new(settings: IdempotencySettings, clock: Arc<dyn Clock>) -> Self {
        let kept = Kept { entries: HashMap::new(), ages: VecDeque::new(), bytes: 0 };
        Self(Arc::new(Inner { settings, clock, kept: Mutex::new(kept) }))
    }

    /// The answer of `work`, or of the request that came before under the same key. `size` says what
    /// an answer takes.
    ///
    /// # Errors
    /// [`IdempotencyError::Conflict`], or what `work` says.
    pub async fn once<E: From<IdempotencyError>>(
        &self,
        asked: Option<Repeatable>,
        size: impl FnOnce(&T) -> usize,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(Repeatable { method, key, body }) = asked else { return work.await };
        let name = (method, key);
        let sender = loop {
            match self.turn(&name, body)? {
                Turn::Answer(answer) => return Ok(answer),
                Turn::First(sender) => break sender,
                Turn::Wait(mut first) => {
                    let answer = first.wait_for(Option::is_some).await;
                    // Where the first failed or left, this one takes its place.
                    if let Some(answer) = answer.ok().and_then(|answer| answer.clone()) {
                        return Ok(answer);
                    }
                }
            }
        };
        let claim = Claim { store: self, name: Some(name) };
        let answer = work.await?;
        claim.keep(answer.clone(), size(&answer));
        let _ = sender.send(Some(answer.clone()));
        Ok(answer)
    }

    fn turn(&self, name: &Name, body: Digest) -> Result<Turn<T>, IdempotencyError> {
        let mut kept = self.lock();
        let now = self.0.clock.now();
        kept.forget(|age| now.saturating_duration_since(age) >= self.0.settings.window);
        match kept.entries.get(name) {
            Some(entry) if entry.body != body => Err(IdempotencyError::Conflict),
            Some(Entry { state: State::Answered(answer), .. }) => Ok(Turn::Answer(answer.clone())),
            Some(Entry { state: State::UnderWay(first), .. }) => Ok(Turn::Wait(first.clone())),
            None => {
                let (sender, first) = watch::channel(None);
                let entry = Entry { body, state: State::UnderWay(first) };
                kept.entries.insert(name.clone(), entry);
                Ok(Turn::First(sender))
            }
        }
    }
}

impl<T> Idempotency<T> {
    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Kept<T> {
    /// Lets the oldest answers go while `is_old` holds of their age.
    fn forget(&mut self, is_old: impl Fn(Instant) -> bool) {
        while self.ages.front().is_some_and(|(age, ..)| is_old(*age)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name, bytes)) = self.ages.pop_front() {
            self.bytes -= bytes;
            self.entries.remove(&name);
        }
    }
}

/// The place of a request that is under way; given up when it is dropped without an answer.
struct Claim<'a, T> {
    store: &'a Idempotency<T>,
    name: Option<Name>,
}

impl<T> Claim<'_, T> {
    fn keep(mut self, answer: T, bytes: usize) {
        let IdempotencySettings { entries, bytes: limit, .. } = self.store.0.settings;
        if bytes > limit {
            // Dropped as it is: the key is free again.
            return;
        }
        let Some(name) = self.name.take() else { return };
        let now = self.store.0.clock.now();
        let mut kept = self.store.lock();
        while !kept.ages.is_empty() && (kept.ages.len() >= entries || kept.bytes + bytes > limit) {
            kept.forget_oldest();
        }
        if let Some(entry) = kept.entries.get_mut(&name) {
            entry.state = State::Answered(answer);
            kept.bytes += bytes;
            kept.ages.push_back((now, name, bytes));
        }
    }
}

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.store.lock().entries.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::lifecycle::SystemClock;

    const WIDE: IdempotencySettings =
        IdempotencySettings { window: Duration::from_secs(600), entries: 2, bytes: 100 };

    fn store(settings: IdempotencySettings) -> Idempotency<String> {
        Idempotency::new(settings, Arc::new(SystemClock))
    }

    fn asked(key: &str, body: &str) -> Option<Repeatable> {
        let body = Digest::of(body.as_bytes());
        Repeatable::of("m", Some(key.as_bytes()), || body).unwrap()
    }

    async fn once(
        store: &Idempotency<String>,
        asked: Option<Repeatable>,
        answer: &str,
    ) -> Result<String, IdempotencyError> {
        store.once(asked, String::len, async { Ok(answer.to_owned()) }).await
    }

    #[tokio::test]
    async fn a_repeat_gets_the_first_answer_and_another_body_is_a_conflict() {
        let store = store(WIDE);
        assert_eq!(once(&store, asked("k", "a"), "one").await.unwrap(), "one");
        assert_eq!(once(&store, asked("k", "a"), "two").await.unwrap(), "one");
        assert_eq!(once(&store, asked("k", "b"), "x").await, Err(IdempotencyError::Conflict));
        assert_eq!(once(&store, None, "without a key").await.unwrap(), "without a key");
        // Two more and the first is gone; what is too large is never kept.
        once(&store, asked("l", "a"), "l").await.unwrap();
        once(&store, asked("m", "a"), "m").await.unwrap();
        assert_eq!(once(&store, asked("k", "b"), "three").await.unwrap(), "three");
        let large = "x".repeat(101);
        once(&store, asked("large", "a"), &large).await.unwrap();
        assert_eq!(once(&store, asked("large", "a"), "again").await.unwrap(), "again");
        assert!(store.lock().ages.len() <= 2 && store.lock().entries.len() <= 2);
    }

    #[tokio::test]
    async fn the_window_ends_and_a_failure_leaves_nothing() {
        let none = IdempotencySettings { window: Duration::ZERO, ..WIDE };
        let store = store(none);
        once(&store, asked("k", "a"), "one").await.unwrap();
        assert_eq!(once(&store, asked("k", "b"), "two").await.unwrap(), "two");
        let failing = async { Err(IdempotencyError::Malformed) };
        let failed = store.once(asked("f", "a"), String::len, failing).await;
        assert_eq!(failed, Err(IdempotencyError::Malformed));
        assert_eq!(once(&store, asked("f", "b"), "fine").await.unwrap(), "fine");
    }

    #[tokio::test]
    async fn a_repeat_waits_for_the_first_and_takes_over_when_it_leaves() {
        let store = store(WIDE);
        let runs = AtomicUsize::new(0);
        let work = |answer: &'static str| {
            let runs = &runs;
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok::<_, IdempotencyError>(answer.to_owned())
            }
        };
        let one = store.once(asked("k", "a"), String::len, work("one"));
        let two = store.once(asked("k", "a"), String::len, work("two"));
        let (one, two) = futures::join!(one, two);
        assert_eq!((one.unwrap().as_str(), two.unwrap().as_str()), ("one", "one"));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        let mut leaver = Box::pin(store.once(
            asked("l", "a"),
            String::len,
            std::future::pending::<Result<String, IdempotencyError>>(),
        ));
        assert!(futures::poll!(&mut leaver).is_pending());
        let waiter = store.once(asked("l", "a"), String::len, work("taken over"));
        let leave = async {
            tokio::task::yield_now().await;
            drop(leaver);
        };
        let (waited, ()) = futures::join!(waiter, leave);
        assert_eq!(waited.unwrap(), "taken over");
    }

    #[test]
    fn a_key_is_short_and_printable() {
        let long = "k".repeat(257);
        for bad in ["", "a b", "ä", long.as_str()] {
            let found = Repeatable::of("m", Some(bad.as_bytes()), || Digest::of(b""));
            assert_eq!(found, Err(IdempotencyError::Malformed), "{bad}");
        }
    }
}
