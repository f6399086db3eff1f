//! `hilum.v1.Vision` messages ↔ the pipeline's values, for both edges: gRPC as they are, REST as JSON.
//!
//! A message becomes a request for one image, or an error that names the field; an answer becomes a
//! message.
//! This room must never route a request or know a status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::{ErrorKind, Fault, NameError};
use crate::pipeline::{
    Caller, Classifications, ClassifyOptions, ClassifyRequest, Explanation as Why, PredictError,
    Priority, Timing,
};
use crate::proto::hilum::v1 as proto;
use crate::telemetry::{Edge, TraceContext};

/// Bytes of a study's id.
const MAX_STUDY_BYTES: usize = 256;

/// What an edge adds to a message.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The protocol.
    pub edge: Edge,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// Where the request stands in its trace.
    pub trace: TraceContext,
    /// The request's id.
    pub request_id: Arc<str>,
}

/// A message that is wrong by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VisionError {
    /// A name or version.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The study's id is too long.
    #[error("study_id has {0} bytes, at most {MAX_STUDY_BYTES} are accepted")]
    Study(usize),
    /// An item of a stream without a request.
    #[error("the item has no request")]
    Empty,
}

impl Fault for VisionError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self {
            VisionError::Name(_) => "INVALID_NAME",
            _ => "INVALID_INPUT",
        }
    }

    fn field(&self) -> Option<String> {
        let field = match self {
            VisionError::Name(NameError::Model(_)) => "model",
            VisionError::Name(_) => "version",
            VisionError::Study(_) => "study_id",
            VisionError::Empty => "request",
        };
        Some(field.to_owned())
    }
}

/// The request that a message asks for.
///
/// # Errors
/// [`VisionError`]: what came and what was expected.
pub fn classify_request(
    message: proto::ClassifyRequest,
    envelope: Envelope,
) -> Result<ClassifyRequest, VisionError> {
    if message.study_id.len() > MAX_STUDY_BYTES {
        return Err(VisionError::Study(message.study_id.len()));
    }
    let unless_zero = |number: u32| (number > 0).then_some(number);
    let options = ClassifyOptions {
        explain: message.explain,
        overlay: message.overlay,
        overlay_max_side: unless_zero(message.overlay_max_side),
        class: (!message.explain_class.is_empty()).then_some(message.explain_class),
        top_k: unless_zero(message.top_k).map(|k| usize::try_from(k).unwrap_or(usize::MAX)),
        include_rejected_scores: message.include_rejected_scores,
        frame: unless_zero(message.frame),
    };
    let Envelope { edge, deadline, trace, request_id } = envelope;
    // Hashed on arrival in the pipeline; nothing keeps the id itself.
    let study_id = (!message.study_id.is_empty()).then_some(message.study_id);
    Ok(ClassifyRequest {
        model: message.model.parse()?,
        version: message.version.parse()?,
        images: vec![message.image],
        batch: false,
        options,
        deadline,
        timeout: None,
        priority: Priority::default(),
        edge,
        trace,
        caller: Caller { request_id, study_id },
    })
}

/// The answer about one image as a message; the map itself only if `explain` asked for it, since an overlay
/// needs no ten thousand numbers beside it.
///
/// # Errors
/// [`PredictError::Broken`] where there is not exactly one answer.
pub fn classify_response(
    answers: Classifications,
    explain: bool,
) -> Result<proto::ClassifyResponse, PredictError> {
    let timing = answers.timing();
    let row = match <[_; 1]>::try_from(answers.rows) {
        Ok([row]) => row,
        Err(rows) => {
            return Err(PredictError::Broken(format!("{} answers for one image", rows.len())));
        }
    };
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let network = row.network;
    let scores = row.scores.into_iter().map(|score| proto::ClassScore {
        label: score.label,
        raw: score.raw,
        calibrated: score.calibrated,
    });
    let warnings = row
        .warnings
        .into_iter()
        .map(|warning| proto::Warning { code: warning.code.name().to_owned(), text: warning.text });
    Ok(proto::ClassifyResponse {
        decision: row.decision.name().to_owned(),
        label: row.label.unwrap_or_default(),
        scores: scores.collect(),
        threshold: answers.threshold,
        warnings: warnings.collect(),
        explanation: row.explanation.map(|why| explanation(why, explain.then_some(network))),
        model_name: answers.model.to_string(),
        model_version: answers.version.to_string(),
        bundle_sha256: answers.digest.to_string(),
        audit_id: answers.audit_id,
        notice: answers.notice,
        timing: Some(proto::Timing {
            decode_ms: ms(timing.decode),
            queue_ms: ms(timing.queue),
            infer_ms: ms(timing.infer),
            interpret_ms: ms(timing.interpret),
            explain_ms: ms(timing.explain),
            total_ms: ms(timing.total),
        }),
    })
}

/// Where the time of an answer went.
pub fn timing(timing: &proto::Timing) -> Timing {
    let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
    Timing {
        queue: duration(timing.queue_ms),
        infer: duration(timing.infer_ms),
        total: duration(timing.total_ms),
        decode: duration(timing.decode_ms),
        interpret: duration(timing.interpret_ms),
        explain: duration(timing.explain_ms),
        batch_rows: 0,
    }
}

/// About how many bytes of memory an answer takes.
pub fn size(answer: &proto::ClassifyResponse) -> usize {
    let explanation = answer.explanation.as_ref();
    let map = explanation.map_or(0, |why| why.heatmap.len() * 4 + why.overlay_png.len());
    let texts = answer.warnings.iter().map(|warning| warning.text.len() + warning.code.len());
    let labels = answer.scores.iter().map(|score| score.label.len() + 24);
    1024 + map + answer.notice.len() + texts.chain(labels).sum::<usize>()
}

fn explanation(why: Why, map: Option<(u32, u32)>) -> proto::Explanation {
    let (width, height) = map.unwrap_or_default();
    proto::Explanation {
        label: why.class,
        heatmap: map.map(|size| why.heatmap.over_network(size)).unwrap_or_default(),
        width,
        height,
        is_zero: why.heatmap.is_zero(),
        overlay_png: why.overlay_png.unwrap_or_default(),
    }
}
