//! Whether a request may come in now: a bound on the requests in flight.
//!
//! A request holds a place from admission to its answer; without a free place it is refused at once.
//! This file must never make a caller wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PredictError;
use crate::lifecycle::Shutdown;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
    shutdown: Shutdown,
}

impl Admission {
    /// `limit` requests at a time, over all models, until `shutdown` closes.
    pub fn new(limit: usize, shutdown: Shutdown) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(limit)), limit, shutdown }
    }

    /// Takes a place until the permit is dropped.
    ///
    /// # Errors
    /// [`PredictError::TooManyRequests`] when there is none, [`PredictError::Closing`] at the end.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, PredictError> {
        if self.shutdown.is_closing() {
            return Err(PredictError::Closing);
        }
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PredictError::TooManyRequests { limit: self.limit })
    }
}
