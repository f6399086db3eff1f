//! How much memory the weights of all loaded versions may take, counted before they are loaded.
//!
//! A version reserves its share first; while a version is replaced, both are counted.
//! This file must never be taken for the process's whole memory: runs need some beside it.

use std::sync::{Arc, Mutex, PoisonError};

/// A bound on reserved bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    used: Mutex<u64>,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct MemoryShare {
    budget: MemoryBudget,
    /// Bytes.
    pub bytes: u64,
}

/// A share that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its weights take {wanted} bytes, {used} of models.memory_limit = {limit} bytes are in use; \
     unload a version or raise the limit"
)]
pub struct MemoryExceeded {
    /// Bytes wanted.
    pub wanted: u64,
    /// Bytes in use.
    pub used: u64,
    /// The bound.
    pub limit: u64,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Inner { limit, used: Mutex::new(0) }))
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes`.
    ///
    /// # Errors
    /// `MemoryExceeded` when they do not fit beside what is in use.
    pub fn reserve(&self, bytes: u64) -> Result<MemoryShare, MemoryExceeded> {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.0.limit;
        match used.checked_add(bytes).filter(|sum| *sum <= limit) {
            Some(sum) => {
                *used = sum;
                Ok(MemoryShare { budget: self.clone(), bytes })
            }
            None => Err(MemoryExceeded { wanted: bytes, used: *used, limit }),
        }
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let mut used = self.budget.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_reserved_again() {
        let budget = MemoryBudget::new(100);
        let first = budget.reserve(60).unwrap();
        let error = budget.reserve(60).unwrap_err();
        assert_eq!(error, MemoryExceeded { wanted: 60, used: 60, limit: 100 });
        drop(first);
        budget.reserve(100).unwrap();
    }
}
