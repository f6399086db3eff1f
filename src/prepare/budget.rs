//! How much memory all decoding together may take.
//!
//! Each file asks for what its header says before a pixel is decoded, and waits until others have
//! given enough back; one file alone always passes, since its own limits bound it.
//! This file must never be asked twice by one worker at a time: two could wait for each other.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that may be in use at a time.
#[derive(Debug)]
pub(super) struct DecodeBudget {
    limit: u64,
    used: Mutex<u64>,
    changed: Condvar,
}

/// Bytes in use, given back when dropped.
#[derive(Debug)]
pub(super) struct DecodeShare<'a> {
    budget: &'a DecodeBudget,
    bytes: u64,
}

impl DecodeBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::new(0), changed: Condvar::new() }
    }

    /// Waits until `bytes` fit beside what is in use, or until nothing is in use.
    pub fn acquire(&self, bytes: u64) -> DecodeShare<'_> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > self.limit {
            used = self.changed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used = used.saturating_add(bytes);
        DecodeShare { budget: self, bytes }
    }
}

impl Drop for DecodeShare<'_> {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(self.bytes);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn never_more_than_the_limit_but_for_one_file_alone() {
        let budget = DecodeBudget::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for bytes in [10, 60, 90, 40, 100, 5] {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let share = budget.acquire(bytes);
                        let held = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(held, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        drop(budget.acquire(1000));
        assert_eq!(*budget.used.lock().unwrap(), 0);
    }
}
