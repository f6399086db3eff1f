//! Permits: what is in flight never exceeds what there is, whatever the mix.
//!
//! For runs of models they are cores: a worker takes as many as its run uses threads. For decoding
//! they are memory. They are given in the order of arrival.
//! This file must never be waited on from an async task: it blocks.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A number of permits that threads share.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    total: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    next_ticket: u64,
    now_serving: u64,
}

/// Permits held; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Permits,
    count: usize,
}

impl Permits {
    /// `total` permits, at least one.
    pub fn new(total: usize) -> Self {
        let total = total.max(1);
        let state = Mutex::new(State { free: total, next_ticket: 0, now_serving: 0 });
        Self(Arc::new(Inner { state, changed: Condvar::new(), total }))
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Waits for `count` permits, at most all there are. First come, first served: a large demand
    /// is not starved by small ones.
    pub fn acquire(&self, count: usize) -> Permit {
        let count = count.clamp(1, self.0.total);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.now_serving != ticket || state.free < count {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.now_serving += 1;
        state.free -= count;
        drop(state);
        self.0.changed.notify_all();
        Permit { permits: self.clone(), count }
    }
}

impl Permits {
    /// `count` permits, at most all there are, if they can be had without a wait and nobody waits.
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        let count = count.clamp(1, self.0.total);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now_serving != state.next_ticket || state.free < count {
            return None;
        }
        state.free -= count;
        Some(Permit { permits: self.clone(), count })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.permits.0;
        inner.state.lock().unwrap_or_else(PoisonError::into_inner).free += self.count;
        inner.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn never_more_in_flight_than_there_are() {
        let permits = Permits::new(3);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for count in [1, 2, 3, 1, 2, 9] {
                let (permits, now, most) = (&permits, &now, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let permit = permits.acquire(count);
                        let held = permit.count;
                        most.fetch_max(
                            now.fetch_add(held, Ordering::SeqCst) + held,
                            Ordering::SeqCst,
                        );
                        std::thread::yield_now();
                        now.fetch_sub(held, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(permits.0.state.lock().unwrap().free, 3);
    }
}
