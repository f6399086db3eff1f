//! The journey of one prediction: admit, route, check, batch and run.
//!
//! `Pipeline::predict` is the one way in for tensors, `Pipeline::classify` for images, for every edge;
//! they take plain values of the domain and give plain values back.
//! This room must never know by which protocol a request came.

mod account;
mod admission;
mod classify;
mod decode_pool;
mod error;
mod idempotency;
pub mod interpret;
mod tensor_rows;
mod tensors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use crate::audit::{Audit, AuditId};
pub use crate::batcher::Priority;
use crate::batcher::{BatchRequest, Pending};
use account::{Account, Inputs};
use tensor_rows::TensorRows;

use crate::catalog::{Catalog, LoadedVersion, Resolved};
use crate::domain::{Digest, Fault as _, ModelName, ModelVersion, Route, Tensor, VersionSelector};
use crate::lifecycle::Clock;
use crate::telemetry::{Edge, Metrics, ModelMetrics, TraceContext, TraceStep};

pub use account::Caller;
pub use admission::{Admission, Arrival};
pub use classify::{
    ClassScore, Classification, Classifications, ClassifyOptions, ClassifyRequest, Explanation,
    ImageSettings, ImageTiming, MAX_OVERLAY_SIDE, Segmentation,
};
pub use decode_pool::{DecodePool, DecodePoolError, DecodeSettings};
pub use error::PredictError;
pub use idempotency::{
    IDEMPOTENCY_KEY, Idempotency, IdempotencyError, IdempotencySettings, Repeatable,
};

/// A tensor by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    /// The tensor's name in the model.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

/// What an edge asks for.
#[derive(Debug, Clone)]
pub struct PredictRequest {
    /// The model.
    pub model: ModelName,
    /// Which version of it.
    pub version: VersionSelector,
    /// The inputs, in any order.
    pub inputs: Vec<NamedTensor>,
    /// The outputs wanted, in this order; none means all that the model shows.
    pub outputs: Vec<String>,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// How long the answer is of use, from now; the earlier of the two bounds holds.
    pub timeout: Option<Duration>,
    /// How urgent it is.
    pub priority: Priority,
    /// The protocol that it came by, for metrics.
    pub edge: Edge,
    /// Where it stands in its trace.
    pub trace: TraceContext,
    /// Who asks.
    pub caller: Caller,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The model.
    pub model: ModelName,
    /// The version that answered.
    pub version: ModelVersion,
    /// Its bundle's digest.
    pub digest: Digest,
    /// The way by which the request came to it.
    pub route: Route,
    /// The outputs, in the order asked for.
    pub outputs: Vec<NamedTensor>,
    /// The names of the model's classes; empty where it has none.
    pub labels: Arc<[String]>,
    /// Whether the first dimension of the outputs is rows.
    pub has_rows: bool,
    /// Where the time went.
    pub timing: Timing,
    /// The number of its record; `None` where nothing is written down.
    pub audit_id: Option<AuditId>,
}

/// Where the time of a prediction went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Waiting for a free engine.
    pub queue: Duration,
    /// The model's runs.
    pub infer: Duration,
    /// All, from admission to the answer.
    pub total: Duration,
    /// Rows of the largest run that the request was part of.
    pub batch_rows: usize,
    /// Decoding and preparing images.
    pub decode: Duration,
    /// From the outputs about images to decisions.
    pub interpret: Duration,
    /// Scaling maps and painting them.
    pub explain: Duration,
}

/// The journey. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    catalog: Catalog,
    admission: Admission,
    pool: DecodePool,
    images: ImageSettings,
    audit: Audit,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Pipeline {
    /// A pipeline over `catalog`, which decodes images on `pool`.
    pub fn new(
        catalog: Catalog,
        admission: Admission,
        (pool, images): (DecodePool, ImageSettings),
        audit: Audit,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self { catalog, admission, pool, images, audit, clock, metrics }
    }

    /// Where its answers are written down.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The models that it serves.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Predicts. Dropping the future cancels the request: what has not begun to run never will.
    ///
    /// # Errors
    /// See [`PredictError`].
    pub async fn predict(&self, mut request: PredictRequest) -> Result<Prediction, PredictError> {
        let begun = self.clock.now();
        let timeout = request.timeout.and_then(|timeout| begun.checked_add(timeout));
        request.deadline = request.deadline.into_iter().chain(timeout).min();
        let edge = request.edge;
        request.trace.decoded(begun);
        let _inflight = self.metrics.inflight(edge);
        let resolved = self.catalog.resolve(&request.model, request.version);
        let counted = match &resolved {
            Ok(resolved) => resolved.version.metrics.clone(),
            Err(_) => self.metrics.no_model(),
        };
        let mut count = Count { metrics: counted, edge, begun, clock: &*self.clock, done: false };
        let result = match resolved {
            Ok(resolved) => self.run(resolved, request, begun).await,
            Err(error) => Err(self.unaccounted(error.into())),
        };
        count.end(&result);
        result
    }

    /// Announces a request that an edge has begun to read, until the arrival is dropped.
    pub fn arrive(&self) -> Arrival {
        self.admission.arrive()
    }

    /// Counts a request that an edge refused before it could be predicted.
    pub fn refused(&self, edge: Edge, fault: &dyn crate::domain::Fault) {
        self.metrics.no_model().answered(edge, Err(fault.kind()), Duration::ZERO);
        self.audit.refused(fault);
    }

    /// Counts a request that was not let in, for the record.
    fn unaccounted(&self, error: PredictError) -> PredictError {
        self.audit.refused(&error);
        error
    }

    async fn run(
        &self,
        resolved: Resolved,
        request: PredictRequest,
        begun: Instant,
    ) -> Result<Prediction, PredictError> {
        let Resolved { version, route } = resolved;
        let (trace, deadline) = (request.trace.clone(), request.deadline);
        let caller = request.caller.clone();
        let admitted = self.admit(&version, request, begun);
        if trace.is_on() {
            trace.step(TraceStep::Admit, begun, self.clock.now());
        }
        let Admitted { _place, inputs, wanted, pending } =
            admitted.map_err(|error| self.unaccounted(error))?;
        // Hashed while the model runs.
        let inputs = Inputs::Tensors(inputs, version.max_batch > 0);
        let times = (begun, deadline);
        let account = self.account((&version, route), &caller, &trace, inputs, times);
        let answer = match classify::within(deadline, pending).await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(match account {
                    Some(account) => account.failed(error).await,
                    None => error,
                });
            }
        };
        version.metrics.statistics().served(answer.queue, answer.compute);
        let mut timing = Timing {
            queue: answer.queue,
            infer: answer.compute.input + answer.compute.infer,
            batch_rows: answer.batch_rows,
            ..Timing::default()
        };
        let audit_id = account.as_ref().map(Account::audit_id);
        if let Some(account) = account {
            let rows = TensorRows::of(&version, wanted.set, &answer);
            account.answered(|place, record| rows.tell(place, record)).await?;
        }
        timing.total = self.clock.now().saturating_duration_since(begun);
        version.batcher().took_beside(timing.total.saturating_sub(timing.queue + timing.infer));
        let mut answered = prediction(&version, route, wanted.arrange(answer.outputs), timing);
        answered.audit_id = audit_id;
        Ok(answered)
    }

    fn admit(
        &self,
        version: &LoadedVersion,
        request: PredictRequest,
        begun: Instant,
    ) -> Result<Admitted, PredictError> {
        if request.deadline.is_some_and(|deadline| deadline <= begun) {
            return Err(PredictError::DeadlineExceeded);
        }
        self.audit.check()?;
        let place = self.admission.enter()?;
        let inputs = tensors::inputs(version, request.inputs)?;
        let mut wanted = tensors::outputs(version, &request.outputs)?;
        if self.audit.is_on() {
            // What the record tells of an answer is told whatever the caller wanted to see.
            wanted.set = wanted.set.union(TensorRows::outputs(version));
        }
        request.trace.model(&version.metrics, inputs.first().map_or(1, Tensor::rows));
        let batch = BatchRequest {
            inputs: inputs.clone(),
            outputs: wanted.set,
            deadline: request.deadline,
            priority: request.priority,
            trace: request.trace,
            alone: self.admission.is_alone(),
        };
        let pending = version.batcher().submit(batch)?;
        Ok(Admitted { _place: place, inputs, wanted, pending })
    }
}

/// A request that was let in and waits for its answer.
struct Admitted {
    _place: OwnedSemaphorePermit,
    inputs: Vec<Tensor>,
    wanted: tensors::Wanted,
    pending: Pending,
}

fn prediction(
    version: &LoadedVersion,
    route: Route,
    outputs: Vec<NamedTensor>,
    timing: Timing,
) -> Prediction {
    Prediction {
        model: version.name.clone(),
        version: version.version,
        digest: version.digest,
        route,
        outputs,
        labels: Arc::clone(&version.labels),
        has_rows: version.max_batch > 0,
        timing,
        audit_id: None,
    }
}

/// Counts a request once, also one whose caller went away in the middle.
struct Count<'a> {
    metrics: ModelMetrics,
    edge: Edge,
    begun: Instant,
    clock: &'a dyn Clock,
    done: bool,
}

impl Count<'_> {
    fn end<T>(&mut self, result: &Result<T, PredictError>) {
        self.done = true;
        self.write(result.as_ref().map(|_| ()).map_err(|error| error.kind()));
    }

    fn write(&self, outcome: crate::telemetry::Outcome) {
        let took = self.clock.now().saturating_duration_since(self.begun);
        self.metrics.answered(self.edge, outcome, took);
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.write(Err(crate::domain::ErrorKind::Cancelled));
        }
    }
}
