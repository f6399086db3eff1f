//! Whether a request may come in now: a bound on the requests in flight.
//!
//! A request holds a place from admission to its answer; without a free place it is refused at once.
//! An edge announces a request as soon as it knows of it, so that one can be told to be alone.
//! This file must never make a caller wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PredictError;
use crate::lifecycle::Shutdown;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
    shutdown: Shutdown,
    arrived: Arc<AtomicUsize>,
}

/// A request that has begun to arrive; dropped when it is answered.
#[derive(Debug)]
pub struct Arrival(Arc<AtomicUsize>);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// `limit` requests at a time, over all models, until `shutdown` closes.
    pub fn new(limit: usize, shutdown: Shutdown) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        let (places, arrived) = (Arc::new(Semaphore::new(limit)), Arc::default());
        Self { places, limit, shutdown, arrived }
    }

    /// Announces a request.
    pub fn arrive(&self) -> Arrival {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        Arrival(Arc::clone(&self.arrived))
    }

    /// Whether a request that was announced and let in is the only one.
    pub fn is_alone(&self) -> bool {
        let places = self.limit - self.places.available_permits().min(self.limit);
        self.arrived.load(Ordering::Relaxed) == 1 && places == 1
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
