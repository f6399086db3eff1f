//! `POST /api/v1/predict`: a file as it is, or a form with a file, to an explained answer in JSON.
//!
//! Options stand in the query, or beside the file in the form; they are the fields of
//! `hilum.v1.ClassifyRequest`, and the answer is `hilum.v1.ClassifyResponse`.
//! This file must never guess an option: an unknown or a repeated one is refused.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, FromRequest as _, Multipart, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::body;
use crate::domain::{Digest, ErrorKind, Fault};
use crate::http::ApiParts;
use crate::http::call::{Call, HttpFault, Refusal};
use crate::oip::{self, json};
use crate::pipeline::{IDEMPOTENCY_KEY, IdempotencyError, PredictError, Repeatable};
use crate::proto::hilum::v1::{ClassifyRequest, ClassifyResponse};
use crate::telemetry::{Edge, TraceStep};
use crate::vision::{Envelope, VisionError, classify_request, classify_response};

/// The scope of keys of this method.
const METHOD: &str = "POST /api/v1/predict";
/// The name of the file in a form.
const FILE: &str = "image";
/// The content type of a form.
const FORM: &str = "multipart/form-data";
/// The content types of a file. The last is what curl says by itself.
const FILES: [&str; 7] = [
    FORM,
    "image/png",
    "image/jpeg",
    "application/dicom",
    "image/dicom-rle",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];

/// An option with its schema in OpenAPI and what it says.
pub const OPTIONS: [(&str, &str, &str); 10] = [
    ("model", "string", "The model; always needed."),
    ("version", "string", "A version's number or an alias; without it the champion."),
    ("explain", "boolean", "Whether a heat map is wanted."),
    ("overlay", "boolean", "Whether the heat map painted over the image is wanted, a PNG file."),
    ("overlay_max_side", "integer", "Pixels of the overlay's longer side."),
    ("explain_class", "string", "The class to explain; without it the positive or the best one."),
    ("top_k", "integer", "How many scores, the best first; without it all."),
    ("include_rejected_scores", "boolean", "Whether a rejected image's scores are wanted too."),
    ("frame", "integer", "The frame of a multi-frame file, from 1."),
    ("study_id", "string", "What the image belongs to; kept as a keyed hash only."),
];

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
enum PredictFault {
    #[error(transparent)]
    Http(#[from] HttpFault),
    #[error("{name}: {problem}")]
    Option { name: String, problem: String },
    #[error(transparent)]
    Message(#[from] VisionError),
    #[error(transparent)]
    Key(#[from] IdempotencyError),
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl PredictFault {
    fn inner(&self) -> Option<&dyn Fault> {
        match self {
            PredictFault::Http(error) => Some(error),
            PredictFault::Option { .. } => None,
            PredictFault::Message(error) => Some(error),
            PredictFault::Key(error) => Some(error),
            PredictFault::Predict(error) => Some(error),
        }
    }

    fn option(name: &str, problem: impl Into<String>) -> Self {
        let name = name.chars().take(64).flat_map(char::escape_debug).collect();
        Self::Option { name, problem: problem.into() }
    }
}

impl Fault for PredictFault {
    fn kind(&self) -> ErrorKind {
        self.inner().map_or(ErrorKind::InvalidArgument, Fault::kind)
    }

    fn reason(&self) -> &'static str {
        self.inner().map_or("INVALID_OPTION", Fault::reason)
    }

    fn field(&self) -> Option<String> {
        match self {
            PredictFault::Option { name, .. } => Some(name.clone()),
            other => other.inner().and_then(Fault::field),
        }
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        self.inner().and_then(Fault::retry_after)
    }

    fn audit_id(&self) -> Option<String> {
        self.inner().and_then(Fault::audit_id)
    }
}

/// Answers one image.
pub async fn predict(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Result<Response, Refusal> {
    let answered = answered(&parts, &call, request).await;
    let answer = answered.map_err(|error| Refusal::of(&error, &call.request_id))?;
    let predicted = parts.clock.now();
    let (version, timing) = (answer.model_version.clone(), answer.timing);
    let audit_id = HeaderValue::try_from(&answer.audit_id).ok().filter(|id| !id.is_empty());
    // A map is some ten thousand numbers: none of the runtime's business.
    let written = match answer.explanation.is_some() {
        false => json::to_json(&answer),
        true => tokio::task::spawn_blocking(move || json::to_json(&answer))
            .await
            .map_err(|_| Refusal::of(&HttpFault::Lost, &call.request_id))?,
    };
    call.trace.step(TraceStep::Encode, predicted, parts.clock.now());
    let mut response = Json(written).into_response();
    let headers = response.headers_mut();
    if let Ok(version) = HeaderValue::try_from(version) {
        headers.insert(oip::MODEL_VERSION, version);
    }
    if let Some(audit_id) = audit_id {
        headers.insert(oip::AUDIT_ID, audit_id);
    }
    let timing = timing.map(|timing| oip::server_timing(crate::vision::timing(&timing)));
    if let Some(timing) = timing.and_then(|timing| HeaderValue::try_from(timing).ok()) {
        headers.insert(oip::SERVER_TIMING, timing);
    }
    Ok(response)
}

async fn answered(
    parts: &ApiParts,
    call: &Call,
    request: Request,
) -> Result<ClassifyResponse, PredictFault> {
    let asked = asked(parts, request)
        .await
        .inspect_err(|error| parts.pipeline.refused(Edge::Http, error))?;
    let Asked { message, repeatable } = asked;
    let explain = message.explain;
    let work = async {
        let envelope = Envelope {
            edge: Edge::Http,
            deadline: None,
            trace: call.trace.clone(),
            request_id: std::sync::Arc::clone(&call.request_id),
        };
        let request = classify_request(message, envelope)
            .inspect_err(|error| parts.pipeline.refused(Edge::Http, error))?;
        Ok(classify_response(parts.pipeline.classify(request).await?, explain)?)
    };
    let answer = parts.repeats.once(repeatable, crate::vision::size, work).await;
    if let Err(PredictFault::Key(conflict @ IdempotencyError::Conflict)) = &answer {
        parts.pipeline.refused(Edge::Http, conflict);
    }
    answer
}

struct Asked {
    message: ClassifyRequest,
    repeatable: Option<Repeatable>,
}

/// What the request asks for.
async fn asked(parts: &ApiParts, request: Request) -> Result<Asked, PredictFault> {
    let (head, content) = request.into_parts();
    let content = body::read_as(&head.headers, content, parts.body, &FILES).await?;
    let key = head.headers.get(IDEMPOTENCY_KEY).cloned();
    let mut options = Options::default();
    let pairs: Query<Vec<(String, String)>> = Query::try_from_uri(&head.uri)
        .map_err(|error| PredictFault::option("query", error.body_text()))?;
    for (name, value) in &pairs.0 {
        options.set(name, value)?;
    }
    let image = match is_form(&head) {
        false => content,
        true => form(head, content, &mut options).await?,
    };
    let key = key.as_ref().map(HeaderValue::as_bytes);
    let repeatable = Repeatable::of(METHOD, key, || options.digest(&image))?;
    let mut message = options.message;
    if message.model.is_empty() {
        return Err(PredictFault::option("model", "it is missing; name a model"));
    }
    message.image = image;
    Ok(Asked { message, repeatable })
}

fn is_form(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(FORM))
}

/// The file of a form; its other fields are options.
async fn form(head: Parts, content: Bytes, options: &mut Options) -> Result<Bytes, PredictFault> {
    let wrong = |error: String| PredictFault::Http(HttpFault::Body(error));
    let request = Request::from_parts(head, Body::from(content));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| wrong(error.body_text()))?;
    let mut image = None;
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        if name != FILE && field.file_name().is_some() {
            let problem = format!("a file comes in the field '{FILE}'");
            return Err(PredictFault::option(&name, problem));
        }
        let value = field.bytes().await.map_err(|error| wrong(error.body_text()))?;
        if name != FILE {
            let text = std::str::from_utf8(&value);
            let text = text.map_err(|_| PredictFault::option(&name, "it is not UTF-8"))?;
            options.set(&name, text)?;
        } else if image.replace(value).is_some() {
            return Err(PredictFault::option(FILE, "it came twice; one file is expected"));
        }
    }
    image
        .ok_or_else(|| PredictFault::option(FILE, "the form has no field of this name with a file"))
}

#[derive(Default)]
struct Options {
    message: ClassifyRequest,
    seen: Vec<(String, String)>,
}

impl Options {
    /// A digest of what is asked, the same however it came: a form has a boundary of its own each time.
    fn digest(&self, image: &Bytes) -> Digest {
        let mut seen = self.seen.clone();
        seen.sort();
        let texts = seen.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        // Lengths first, so that no two requests are the same bytes.
        let parts = texts.chain([image.as_ref()]);
        let bytes = parts.flat_map(|part| [&(part.len() as u64).to_le_bytes()[..], part].concat());
        Digest::of(&bytes.collect::<Vec<u8>>())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), PredictFault> {
        if self.seen.iter().any(|(seen, _)| seen == name) {
            return Err(PredictFault::option(name, "it came twice"));
        }
        self.seen.push((name.to_owned(), value.to_owned()));
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(PredictFault::option(name, "true or false is expected")),
        };
        let number = || {
            let number = value.parse::<u32>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| PredictFault::option(name, "a whole number from 1 is expected"))
        };
        let message = &mut self.message;
        match name {
            "model" => message.model = value.to_owned(),
            "version" => message.version = value.to_owned(),
            "explain" => message.explain = flag()?,
            "overlay" => message.overlay = flag()?,
            "overlay_max_side" => message.overlay_max_side = number()?,
            "explain_class" => message.explain_class = value.to_owned(),
            "top_k" => message.top_k = number()?,
            "include_rejected_scores" => message.include_rejected_scores = flag()?,
            "frame" => message.frame = number()?,
            "study_id" => message.study_id = value.to_owned(),
            _ => {
                let known: Vec<&str> = OPTIONS.iter().map(|(name, ..)| *name).collect();
                let problem = format!("unknown option; there are {}", known.join(", "));
                return Err(PredictFault::option(name, problem));
            }
        }
        Ok(())
    }
}
