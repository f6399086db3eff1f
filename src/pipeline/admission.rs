//! Whether a request may come in now: a bound on the requests in flight.
//!
//! A request holds a place from admission to its answer; without a free place it is refused at once.
//! This file must never make a caller wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PredictError;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

impl Admission {
    /// `limit` requests at a time, over all models.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Takes a place until the permit is dropped.
    ///
    /// # Errors
    /// [`PredictError::TooManyRequests`] when there is none.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, PredictError> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PredictError::TooManyRequests { limit: self.limit })
    }
}
