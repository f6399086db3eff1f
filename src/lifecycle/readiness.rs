//! The readiness latch: ready once every part has said so, never again once draining began.
//!
//! A part registers before start and releases its hold when it can serve.
//! This file must never guess: a part that says nothing holds readiness back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The latch that all parts of a service share.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    parts: BTreeMap<String, String>,
    draining: bool,
}

/// One part's hold on the latch.
#[derive(Debug)]
pub struct ReadinessPart {
    latch: Readiness,
    name: String,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A latch without holds: ready.
    pub fn new() -> Self {
        let waiting = Mutex::default();
        Self(Arc::new(Inner { waiting, ready: watch::Sender::new(true) }))
    }

    /// Adds a hold that stays until the part is released.
    pub fn hold(&self, name: impl Into<String>) -> ReadinessPart {
        let name = name.into();
        self.change(|state| {
            state.parts.insert(name.clone(), "starting".to_owned());
        });
        ReadinessPart { latch: self.clone(), name }
    }

    /// Not ready from now on.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Whether the service is ready.
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Whether [`Readiness::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).draining
    }

    /// What holds readiness back, as `part: reason`, in the order of the names.
    pub fn reasons(&self) -> Vec<String> {
        let state = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let draining = state.draining.then(|| "draining".to_owned());
        let parts = state.parts.iter().map(|(part, reason)| format!("{part}: {reason}"));
        draining.into_iter().chain(parts).collect()
    }

    /// Changes of readiness.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let ready = !state.draining && state.parts.is_empty();
        self.0.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }
}

impl ReadinessPart {
    /// The part can serve.
    pub fn release(&self) {
        self.latch.change(|state| {
            state.parts.remove(&self.name);
        });
    }

    /// The part cannot serve, and why; the hold stays.
    pub fn refuse(&self, reason: impl Into<String>) {
        self.latch.change(|state| {
            state.parts.insert(self.name.clone(), reason.into());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_parts_are_and_never_while_draining() {
        let latch = Readiness::new();
        let (a, b) = (latch.hold("a"), latch.hold("b"));
        assert!(!latch.is_ready());
        a.release();
        b.refuse("no such file");
        assert_eq!(latch.reasons(), ["b: no such file"]);
        latch.hold("b").release();
        assert!(latch.is_ready());
        latch.drain();
        assert_eq!((latch.is_ready(), latch.reasons()), (false, vec!["draining".to_owned()]));
    }
}
