//! The journey of images: admit, route, decode, prepare, batch, run, interpret, explain.
//!
//! [`Pipeline::classify`] is the one way for every edge; it takes the bytes of files and gives plain
//! values back, one for each file in the same order. Maps and overlays are made only for who asks.
//! This room must never store an image: pixels are gone with the answer.

mod answer;
mod decoding;
mod lungs;
mod outputs;
mod row;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};

pub use answer::{ClassScore, Classification, Explanation, ImageTiming};
pub use lungs::Segmentation;
pub(super) use outputs::{Roles, RowTensors, floats};
use row::Journey;
pub(super) use row::within;

use super::account::{Account, Inputs};
use super::{Caller, Count, Pipeline, PredictError, Priority};
use crate::catalog::{LoadedVersion, Resolved};
use crate::domain::{Digest, ModelName, ModelVersion, Route, VersionSelector};
use crate::imaging::DecodeLimits;
use crate::telemetry::{Edge, TraceContext, TraceStep};

/// Images of one request that are under way at a time.
const ROWS_AT_ONCE: usize = 16;
/// Pixels of an overlay's longer side that a caller may ask for.
pub const MAX_OVERLAY_SIDE: u32 = 4096;

/// What the journey of images needs beside what that of tensors has.
#[derive(Debug, Clone)]
pub struct ImageSettings {
    /// Bounds on one file.
    pub limits: DecodeLimits,
    /// Pixels of an overlay's longer side where the caller names no bound.
    pub overlay_max_side: u32,
}

/// What is asked about images.
#[derive(Debug, Clone)]
pub struct ClassifyRequest {
    /// The model, without `.image`.
    pub model: ModelName,
    /// Which version of it.
    pub version: VersionSelector,
    /// Files: PNG, JPEG or DICOM, at least one.
    pub images: Vec<Bytes>,
    /// Whether they are rows, so that an error names its row; an image that came alone has none.
    pub batch: bool,
    /// What is wanted of each.
    pub options: ClassifyOptions,
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

/// What is wanted of each image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassifyOptions {
    /// Whether a heat map is wanted.
    pub explain: bool,
    /// Whether the heat map painted over the image is wanted.
    pub overlay: bool,
    /// Pixels of the overlay's longer side; `None` for the configured bound. The image is never
    /// enlarged.
    pub overlay_max_side: Option<u32>,
    /// The class to explain; `None` for the positive one, or of several the best.
    pub class: Option<String>,
    /// How many scores, the best first; `None` for all in the order of the labels.
    pub top_k: Option<usize>,
    /// Whether a rejected image's scores are wanted all the same.
    pub include_rejected_scores: bool,
    /// The frame of a multi-frame file, from 1.
    pub frame: Option<u32>,
}

impl ClassifyOptions {
    /// Whether any explanation is wanted.
    pub fn explains(&self) -> bool {
        self.explain || self.overlay
    }

    /// What contradicts itself.
    fn check(&self) -> Result<(), PredictError> {
        let wrong = |field: &str, problem: String| {
            Err(PredictError::Option { field: field.to_owned(), problem })
        };
        if self.class.is_some() && !self.explains() {
            let problem = "a class is named and no explanation is asked for; ask for explain or \
                           overlay, or name no class";
            return wrong("explain_class", problem.to_owned());
        }
        match self.overlay_max_side {
            Some(_) if !self.overlay => {
                let problem = "a size is given and no overlay is asked for";
                return wrong("overlay_max_side", problem.to_owned());
            }
            Some(side) if !(1..=MAX_OVERLAY_SIDE).contains(&side) => {
                return wrong("overlay_max_side", format!("{side} is not 1 to {MAX_OVERLAY_SIDE}"));
            }
            _ => {}
        }
        if self.top_k == Some(0) {
            return wrong("top_k", "at least 1; leave it out for all scores".to_owned());
        }
        if self.frame == Some(0) {
            return wrong("frame", "frames are counted from 1".to_owned());
        }
        Ok(())
    }
}

/// The answers, and who gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifications {
    /// The model.
    pub model: ModelName,
    /// The version that answered.
    pub version: ModelVersion,
    /// Its bundle's digest.
    pub digest: Digest,
    /// The way by which the request came to it.
    pub route: Route,
    /// The names of the model's classes.
    pub labels: Arc<[String]>,
    /// The bundle's notice; empty where it has none.
    pub notice: String,
    /// The number of the record of these answers; empty where nothing is written down.
    pub audit_id: String,
    /// The threshold of the decisions, on the calibrated score.
    pub threshold: f64,
    /// One for each image, in order.
    pub rows: Vec<Classification>,
    /// All, from admission to the last answer.
    pub total: Duration,
}

impl Classifications {
    /// Where the time went: sums over the images, and the whole.
    pub fn timing(&self) -> super::Timing {
        let sum = |step: fn(&ImageTiming) -> Duration| {
            self.rows.iter().map(|row| step(&row.timing)).sum()
        };
        super::Timing {
            queue: sum(|t| t.queue),
            infer: sum(|t| t.infer),
            total: self.total,
            batch_rows: self.rows.iter().map(|row| row.timing.batch_rows).max().unwrap_or(0),
            decode: sum(|t| t.decode),
            interpret: sum(|t| t.interpret),
            explain: sum(|t| t.explain),
        }
    }
}

impl Pipeline {
    /// Answers images. Dropping the future cancels the request: what has not begun never will.
    ///
    /// # Errors
    /// See [`PredictError`]; an image that cannot be decoded fails the request by its place.
    pub async fn classify(
        &self,
        mut request: ClassifyRequest,
    ) -> Result<Classifications, PredictError> {
        let begun = self.clock.now();
        let timeout = request.timeout.and_then(|timeout| begun.checked_add(timeout));
        request.deadline = request.deadline.into_iter().chain(timeout).min();
        let edge = request.edge;
        request.trace.decoded(begun);
        let _inflight = self.metrics.inflight(edge);
        let resolved = self.catalog.resolve(&request.model, request.version);
        let image_metrics = |resolved: &Resolved| resolved.version.image_metrics.clone();
        let counted = resolved.as_ref().ok().and_then(image_metrics);
        let metrics = counted.unwrap_or_else(|| self.metrics.no_model());
        let mut count = Count { metrics, edge, begun, clock: &*self.clock, done: false };
        let result = match resolved {
            Ok(resolved) => self.classified(resolved, request, begun).await,
            Err(error) => Err(self.unaccounted(error.into())),
        };
        count.end(&result);
        result
    }

    async fn classified(
        &self,
        resolved: Resolved,
        request: ClassifyRequest,
        begun: Instant,
    ) -> Result<Classifications, PredictError> {
        let Resolved { version, route } = resolved;
        let trace = request.trace.clone();
        let admitted = self.admit_images(&version, &request, begun);
        if trace.is_on() {
            trace.step(TraceStep::Admit, begun, self.clock.now());
        }
        let (_place, journey) = admitted.map_err(|error| self.unaccounted(error))?;
        trace.model(&version.metrics, request.images.len());
        let files = Inputs::Files(request.images.clone());
        let times = (begun, request.deadline);
        let account = self.account((&version, route), &request.caller, &trace, files, times);
        let batch = request.batch;
        let journey = &journey;
        let mut answers = stream::iter(request.images.into_iter().enumerate())
            .map(|(row, image)| async move {
                let place = batch.then_some(row);
                journey.of(image).await.map_err(|error| error.of_row(place))
            })
            .buffered(ROWS_AT_ONCE);
        let mut rows = Vec::new();
        let mut failed = None;
        while let Some(row) = answers.next().await {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(answers);
        let audit_id = account.as_ref().map(Account::audit_id);
        match (account, failed) {
            (None, None) => {}
            (None, Some(error)) => return Err(error),
            (Some(account), Some(error)) => return Err(account.failed(error).await),
            (Some(account), None) => {
                account
                    .answered(|place, record| {
                        if let Some(row) = rows.get(place) {
                            row.tell(record);
                        }
                    })
                    .await?;
            }
        }
        Ok(Classifications {
            model: version.name.clone(),
            version: version.version,
            digest: version.digest,
            route,
            labels: Arc::clone(&version.labels),
            notice: journey.manifest().intended_use.notice.clone(),
            audit_id: audit_id.map(|id| id.to_string()).unwrap_or_default(),
            threshold: journey.manifest().postprocess.threshold,
            rows,
            total: self.clock.now().saturating_duration_since(begun),
        })
    }

    fn admit_images<'a>(
        &'a self,
        version: &'a LoadedVersion,
        request: &ClassifyRequest,
        begun: Instant,
    ) -> Result<(tokio::sync::OwnedSemaphorePermit, Journey<'a>), PredictError> {
        if request.deadline.is_some_and(|deadline| deadline <= begun) {
            return Err(PredictError::DeadlineExceeded);
        }
        self.audit.check()?;
        let place = self.admission.enter()?;
        request.options.check()?;
        if request.images.is_empty() {
            let problem = "no image came; at least one is expected".to_owned();
            return Err(PredictError::Input { field: "image".to_owned(), problem });
        }
        Ok((place, Journey::begin(self, version, request)?))
    }
}
