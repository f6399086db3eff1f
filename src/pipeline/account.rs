//! What is written down of a request that was let in: one row for each row predicted.
//!
//! Inputs are hashed while the model runs; large ones on a thread that may block. The rows are handed to
//! the audit before the answer leaves; a caller that goes away leaves rows that say so.
//! This file must never let an answer go whose record is not written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Pipeline, PredictError};
use crate::audit::{
    ANONYMOUS, Audit, AuditError, AuditId, HmacKey, InputKind, Micros, Record, Status,
};
use crate::catalog::LoadedVersion;
use crate::domain::{Digest, ErrorKind, Fault as _, Route, Tensor};
use crate::lifecycle::Clock;
use crate::telemetry::TraceContext;

/// Up to here inputs are hashed where the request is served: some ten microseconds.
const INLINE_BYTES: usize = 64 << 10;

/// Who asks, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The caller's id of the request, or one made by the edge.
    pub request_id: Arc<str>,
    /// What the images belong to, if the caller says it; only its hash is kept.
    pub study_id: Option<String>,
}

/// What came.
pub(super) enum Inputs {
    /// Tensors in the order of the model's inputs, and whether their first dimension is rows.
    Tensors(Vec<Tensor>, bool),
    /// Files.
    Files(Vec<Bytes>),
}

impl Inputs {
    fn rows(&self) -> usize {
        match self {
            Inputs::Tensors(inputs, true) => inputs.first().map_or(1, Tensor::rows),
            Inputs::Tensors(_, false) => 1,
            Inputs::Files(files) => files.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Inputs::Tensors(inputs, _) => inputs.iter().map(|input| input.data.len()).sum(),
            Inputs::Files(files) => files.iter().map(Bytes::len).sum(),
        }
    }

    fn kinds(&self) -> Vec<InputKind> {
        match self {
            Inputs::Tensors(..) => vec![InputKind::Tensor; self.rows()],
            Inputs::Files(files) => files.iter().map(|file| InputKind::of_file(file)).collect(),
        }
    }

    /// The keyed hash of each row.
    fn hashed(self, key: &HmacKey) -> Vec<Digest> {
        let rows = self.rows();
        match self {
            Inputs::Files(files) => files.iter().map(|file| key.file(file)).collect(),
            Inputs::Tensors(inputs, false) => vec![key.tensors(&inputs, false)],
            Inputs::Tensors(mut rest, true) => (0..rows)
                .map(|_| {
                    let cut = rest.iter().map(|tensor| tensor.split_rows(1));
                    let (row, after): (Vec<_>, Vec<_>) = cut.unzip();
                    rest = after;
                    key.tensors(&row, true)
                })
                .collect(),
        }
    }
}

enum Hashes {
    Done(Vec<Digest>),
    Working(JoinHandle<Vec<Digest>>),
}

/// The rows of a request until they are written.
pub(super) struct Account<'a> {
    audit: &'a Audit,
    clock: &'a dyn Clock,
    begun: Instant,
    deadline: Option<Instant>,
    base: Record,
    kinds: Vec<InputKind>,
    hashes: Hashes,
    written: bool,
}

impl Pipeline {
    /// Opens the account of a request that was let in; `None` where nothing is written down.
    pub(super) fn account(
        &self,
        (version, route): (&LoadedVersion, Route),
        caller: &Caller,
        trace: &TraceContext,
        inputs: Inputs,
        (begun, deadline): (Instant, Option<Instant>),
    ) -> Option<Account<'_>> {
        let keys = self.audit.keys()?;
        let now = Micros::of(self.clock.utc());
        let key = keys.at(now);
        let principal = keys.principal(key, ANONYMOUS);
        let base = Record {
            request_id: Arc::clone(&caller.request_id),
            trace_id: trace.trace_id(),
            model: version.name.as_str().to_owned(),
            version: Some(version.version),
            bundle_sha256: Some(version.digest),
            image_digest: self.audit.image_digest(),
            route: Some(route),
            study_hmac: caller.study_id.as_deref().map(|id| key.study(id)),
            ..Record::empty(AuditId::at(now), principal, key.id().clone())
        };
        let kinds = inputs.kinds();
        let hashes = if inputs.bytes() <= INLINE_BYTES {
            Hashes::Done(inputs.hashed(key))
        } else {
            let key = key.clone();
            Hashes::Working(tokio::task::spawn_blocking(move || inputs.hashed(&key)))
        };
        let (audit, clock) = (&self.audit, &*self.clock);
        Some(Account { audit, clock, begun, deadline, base, kinds, hashes, written: false })
    }
}

impl Account<'_> {
    /// The number of the request.
    pub fn audit_id(&self) -> AuditId {
        self.base.audit_id
    }

    /// Writes the rows of an answered request, each completed by `fill`.
    ///
    /// # Errors
    /// [`PredictError::Audit`]: the answer must not leave.
    pub async fn answered(
        mut self,
        mut fill: impl FnMut(usize, &mut Record),
    ) -> Result<(), PredictError> {
        let mut rows = self.rows().await?;
        for (place, row) in rows.iter_mut().enumerate() {
            fill(place, row);
        }
        self.write(rows).await
    }

    /// Writes the rows of a request that has no answer. Gives back its error, with the number of the request;
    /// [`PredictError::Audit`] in its place where they cannot be written.
    pub async fn failed(mut self, error: PredictError) -> PredictError {
        let mut rows = match self.rows().await {
            Ok(rows) => rows,
            Err(unwritten) => return unwritten,
        };
        for row in &mut rows {
            row.status = Status::Failed(error.kind());
            row.warnings = vec![error.reason().to_owned()];
        }
        // Not by the deadline: that it passed may be what is to be written down.
        self.deadline = None;
        match self.write(rows).await {
            Ok(()) => error.recorded(self.audit_id()),
            Err(unwritten) => unwritten,
        }
    }

    async fn write(&mut self, rows: Vec<Record>) -> Result<(), PredictError> {
        self.written = true;
        let record = self.audit.record(rows);
        match self.deadline {
            None => record.await?,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), record)
                .await
                .map_err(|_| PredictError::DeadlineExceeded)??,
        }
        Ok(())
    }

    async fn rows(&mut self) -> Result<Vec<Record>, PredictError> {
        if let Hashes::Working(work) = &mut self.hashes {
            let hashes = work.await.map_err(|_| PredictError::Audit(AuditError::Ended))?;
            self.hashes = Hashes::Done(hashes);
        }
        Ok(self.with_hashes())
    }

    /// The rows with the hashes that are there.
    fn with_hashes(&self) -> Vec<Record> {
        let hashes = match &self.hashes {
            Hashes::Done(hashes) => hashes.as_slice(),
            Hashes::Working(_) => &[],
        };
        let took = self.clock.now().saturating_duration_since(self.begun);
        let row = |(place, kind): (usize, &InputKind)| Record {
            input_kind: Some(*kind),
            input_hmac: hashes.get(place).copied(),
            total_us: micros(took),
            row: u32::try_from(place).unwrap_or(u32::MAX),
            ..self.base.clone()
        };
        self.kinds.iter().enumerate().map(row).collect()
    }
}

impl Drop for Account<'_> {
    /// A caller that has gone away: nobody waits for these rows.
    fn drop(&mut self) {
        if self.written {
            return;
        }
        let mut rows = self.with_hashes();
        for row in &mut rows {
            row.status = Status::Failed(ErrorKind::Cancelled);
        }
        self.audit.record_left(rows);
    }
}

/// Whole microseconds.
pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Scores as the record has them.
pub(super) fn narrow(scores: &[f64]) -> Vec<f32> {
    scores.iter().map(|score| *score as f32).collect()
}
