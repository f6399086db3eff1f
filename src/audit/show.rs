//! Rows that are asked for: filters, and a row as JSON and as a line for people.
//!
//! Takes rows from wherever they are read; it knows no file.
//! This file must never change what a row says.

use serde_json::{Value, json};

use super::keys::{HmacKey, KeyRing};
use super::record::{AuditId, InputKind, Record, Row};
use super::time::Micros;
use crate::domain::{Digest, ModelVersion, Tensor};

/// Which rows are wanted; all that is named must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Of this model.
    pub model: Option<String>,
    /// Of this version.
    pub version: Option<ModelVersion>,
    /// Of this request.
    pub audit_id: Option<AuditId>,
    /// From this moment on.
    pub since: Option<Micros>,
    /// Before this moment.
    pub until: Option<Micros>,
    /// About one of these inputs.
    pub inputs: Option<Vec<Digest>>,
}

impl Filter {
    /// Whether the row is wanted.
    pub fn admits(&self, record: &Record) -> bool {
        let Self { model, version, audit_id, since, until, inputs } = self;
        model.as_ref().is_none_or(|model| *model == record.model)
            && version.is_none_or(|version| record.version == Some(version))
            && audit_id.is_none_or(|id| id == record.audit_id)
            && since.is_none_or(|since| record.ts >= since)
            && until.is_none_or(|until| record.ts < until)
            && inputs
                .as_ref()
                .is_none_or(|inputs| record.input_hmac.is_some_and(|input| inputs.contains(&input)))
    }

    /// The rows of `rows` that are wanted; what cannot be read stays.
    pub fn of<E>(
        self,
        rows: impl Iterator<Item = Result<Row, E>>,
    ) -> impl Iterator<Item = Result<Row, E>> {
        rows.filter(move |row| row.as_ref().map_or(true, |row| self.admits(&row.record)))
    }
}

/// The hashes by which a file's rows are found, by all keys: those of the file as it is, and where it
/// is a tensor (`.npy`) those of its rows and of the whole.
pub fn hashes_of(ring: &KeyRing, file: &[u8], tensor: Option<&Tensor>) -> Vec<Digest> {
    let of = |key: &HmacKey| {
        let mut hashes = vec![key.file(file)];
        if let Some(tensor) = tensor {
            let row = |at| key.tensors(&[tensor.slice_rows(at, at + 1)], true);
            hashes.extend((0..tensor.rows()).map(row));
            hashes.push(key.tensors(std::slice::from_ref(tensor), false));
        }
        hashes
    };
    ring.all().iter().flat_map(of).collect()
}

/// A row as JSON: the columns by their names, digests in hexadecimal digits, `ts` as RFC 3339. What is
/// not a number is null there.
pub fn to_json(row: &Row) -> Value {
    let (link, r) = (&row.link, &row.record);
    let hex = |digest: &Option<Digest>| digest.map(|digest| digest.to_string());
    let s = r.statistics.as_ref();
    json!({
        "audit_id": r.audit_id.to_string(),
        "ts": r.ts.to_string(),
        "chain": link.chain.to_string(),
        "seq": link.seq,
        "prev_hash": link.prev_hash.to_string(),
        "request_id": r.request_id.as_ref(),
        "trace_id": r.trace_id,
        "principal": r.principal.to_string(),
        "model": r.model,
        "version": r.version,
        "bundle_sha256": hex(&r.bundle_sha256),
        "image_digest": hex(&r.image_digest),
        "route": r.route.map(|route| route.name()),
        "input_hmac": hex(&r.input_hmac),
        "study_hmac": hex(&r.study_hmac),
        "hmac_key_id": r.hmac_key_id.as_str(),
        "input_kind": r.input_kind.map(InputKind::name),
        "scores": r.scores,
        "calibrated": r.calibrated,
        "label": r.label,
        "decision": r.decision.map(|decision| decision.name()),
        "warnings": r.warnings,
        "mean": s.map(|s| s.mean),
        "std": s.map(|s| s.std),
        "p1": s.map(|s| s.p1),
        "p99": s.map(|s| s.p99),
        "entropy": s.map(|s| s.entropy),
        "sharpness": s.map(|s| s.sharpness),
        "aspect": s.map(|s| s.aspect),
        "bits": s.map(|s| s.bits),
        "ood_score": r.ood_score,
        "embedding": r.embedding,
        "queue_us": r.queue_us,
        "decode_us": r.decode_us,
        "infer_us": r.infer_us,
        "total_us": r.total_us,
        "batch_size": r.batch_size,
        "status": r.status.name(),
        "row": r.row,
        "count": r.count,
    })
}

/// The head of the table that [`line()`] fills.
pub const TABLE_HEAD: &str = "ts                           audit_id                              row \
                              model/version         status             label (score)  decision";

/// A row for people.
pub fn line(row: &Row) -> String {
    let r = &row.record;
    let version = r.version.map_or_else(String::new, |version| format!("/{version}"));
    let best = r.calibrated.iter().copied().fold(f32::NAN, f32::max);
    let label = match (&r.label, r.calibrated.is_empty()) {
        (Some(label), false) => format!("{label} ({best:.4})"),
        (Some(label), true) => label.clone(),
        (None, _) => "-".to_owned(),
    };
    let status = match r.count {
        1 => r.status.name().to_owned(),
        count => format!("{} x{count}", r.status.name()),
    };
    let decision = r.decision.map_or("-", |decision| decision.name());
    let model = format!("{}{version}", r.model);
    let warnings = if r.warnings.is_empty() { "" } else { "  " };
    format!(
        "{}  {}  {:>3} {model:<21} {status:<18} {label:<14} {decision}{warnings}{}",
        r.ts,
        r.audit_id,
        r.row,
        r.warnings.join(",")
    )
}
