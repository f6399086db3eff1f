//! A row as bytes: one CBOR array in the order of the schema, encoded deterministically (RFC 8949,
//! section 4.2.1), and back.
//!
//! Integers, lengths and floating-point numbers take the shortest form that keeps their value; NaN is
//! `f97e00`; what is not there is `null`; digests are byte strings, `ts` is an integer of µs.
//! This file must never write the same row in two ways: the row's hash is that of these bytes.

use half::f16;
use minicbor::data::Type;
use minicbor::decode::Error as DecodeError;
use minicbor::{Decoder, Encoder};

use super::keys::KeyId;
use super::record::{AuditId, COLUMNS, ChainId, InputKind, Link, Record, Row, Status};
use super::time::Micros;
use crate::domain::{Decision, Digest, ModelVersion, Route};
use crate::imaging::ImageStatistics;

pub(super) type Writer<'a> = Encoder<&'a mut Vec<u8>>;
pub(super) type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// Bytes that are no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {problem}")]
pub struct RowError {
    /// The column, or `row` for the whole.
    pub column: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl Row {
    /// The row's bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        self.write_cbor(&mut bytes);
        bytes
    }

    /// Appends the row's bytes.
    pub fn write_cbor(&self, bytes: &mut Vec<u8>) {
        // Writing to memory has no error.
        let _ = self.encode(&mut Encoder::new(bytes));
    }

    /// The row's hash: SHA-256 of its bytes.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.to_cbor())
    }

    fn encode(&self, e: &mut Writer<'_>) -> Written {
        let Link { chain, seq, prev_hash } = &self.link;
        let r = &self.record;
        e.array(COLUMNS.len() as u64)?;
        e.str(&r.audit_id.to_string())?.i64(r.ts.0)?.str(&chain.to_string())?.u64(*seq)?;
        e.bytes(prev_hash.as_bytes())?.str(&r.request_id)?;
        text(e, r.trace_id.as_deref())?;
        e.bytes(r.principal.as_bytes())?.str(&r.model)?;
        text(e, r.version.map(|version| version.to_string()).as_deref())?;
        digest(e, r.bundle_sha256.as_ref())?;
        digest(e, r.image_digest.as_ref())?;
        text(e, r.route.map(Route::name))?;
        digest(e, r.input_hmac.as_ref())?;
        digest(e, r.study_hmac.as_ref())?;
        e.str(r.hmac_key_id.as_str())?;
        text(e, r.input_kind.map(InputKind::name))?;
        floats(e, &r.scores)?;
        floats(e, &r.calibrated)?;
        text(e, r.label.as_deref())?;
        text(e, r.decision.map(Decision::name))?;
        e.array(r.warnings.len() as u64)?;
        for warning in &r.warnings {
            e.str(warning)?;
        }
        match &r.statistics {
            Some(s) => {
                for value in [s.mean, s.std, s.p1, s.p99, s.entropy, s.sharpness, s.aspect] {
                    float(e, value)?;
                }
                e.u8(s.bits)?;
            }
            None => {
                for _ in 0..8 {
                    e.null()?;
                }
            }
        }
        match r.ood_score {
            Some(score) => float(e, score)?,
            None => {
                e.null()?;
            }
        }
        floats(e, &r.embedding)?;
        e.u64(r.queue_us)?.u64(r.decode_us)?.u64(r.infer_us)?.u64(r.total_us)?;
        e.u32(r.batch_size)?.str(r.status.name())?.u32(r.row)?.u64(r.count)?;
        Ok(())
    }

    /// The row that these bytes are.
    ///
    /// # Errors
    /// [`RowError`] names the column.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, RowError> {
        let mut fields = Fields { decoder: Decoder::new(bytes), at: 0 };
        let whole = |problem: String| RowError { column: "row", problem };
        let length = fields.decoder.array().map_err(|error| whole(error.to_string()))?;
        if length != Some(COLUMNS.len() as u64) {
            let found = length.map_or_else(|| "no fixed number of".to_owned(), |n| n.to_string());
            return Err(whole(format!("{found} columns, {} are expected", COLUMNS.len())));
        }
        let row = fields.row()?;
        match fields.decoder.position() {
            end if end == bytes.len() => Ok(row),
            end => Err(whole(format!("{} bytes too many", bytes.len() - end))),
        }
    }
}

fn text(e: &mut Writer<'_>, value: Option<&str>) -> Written {
    match value {
        Some(value) => e.str(value).map(drop),
        None => e.null().map(drop),
    }
}

fn digest(e: &mut Writer<'_>, value: Option<&Digest>) -> Written {
    match value {
        Some(value) => e.bytes(value.as_bytes()).map(drop),
        None => e.null().map(drop),
    }
}

fn floats(e: &mut Writer<'_>, values: &[f32]) -> Written {
    e.array(values.len() as u64)?;
    values.iter().try_for_each(|value| float(e, f64::from(*value)))
}

/// The shortest of half, single and double precision that keeps the value (RFC 8949, 4.2.2).
fn float(e: &mut Writer<'_>, value: f64) -> Written {
    let (half, single) = (f16::from_f64(value), value as f32);
    if value.is_nan() {
        e.f16(f32::NAN)?;
    } else if half.to_f64() == value {
        e.f16(half.to_f32())?;
    } else if f64::from(single) == value {
        e.f32(single)?;
    } else {
        e.f64(value)?;
    }
    Ok(())
}

/// The columns one after the other.
struct Fields<'b> {
    decoder: Decoder<'b>,
    at: usize,
}

impl<'b> Fields<'b> {
    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, DecodeError>,
    ) -> Result<T, RowError> {
        let column = COLUMNS.get(self.at).copied().unwrap_or("row");
        self.at += 1;
        read(&mut self.decoder).map_err(|error| RowError { column, problem: error.to_string() })
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, RowError> {
        self.next(|d| match d.datatype()? {
            Type::Null => d.null().map(|()| None),
            _ => read(d).map(Some),
        })
    }

    fn statistics(&mut self) -> Result<Option<ImageStatistics>, RowError> {
        let mut values = [None; 7];
        for value in &mut values {
            *value = self.optional(Decoder::f64)?;
        }
        let bits = self.optional(Decoder::u8)?;
        let [mean, std, p1, p99, entropy, sharpness, aspect] = values;
        // All of them are there or none.
        let all = || {
            Some(ImageStatistics {
                mean: mean?,
                std: std?,
                p1: p1?,
                p99: p99?,
                entropy: entropy?,
                sharpness: sharpness?,
                aspect: aspect?,
                bits: bits?,
            })
        };
        let found = all();
        if found.is_none() && (values.iter().any(Option::is_some) || bits.is_some()) {
            let problem = "the statistics of an image are all there or none".to_owned();
            return Err(RowError { column: "mean", problem });
        }
        Ok(found)
    }

    fn row(&mut self) -> Result<Row, RowError> {
        let audit_id = self.next(parsed::<AuditId>)?;
        let ts = Micros(self.next(Decoder::i64)?);
        let chain = self.next(parsed::<ChainId>)?;
        let seq = self.next(Decoder::u64)?;
        let prev_hash = self.next(read_digest)?;
        let record = Record {
            audit_id,
            ts,
            request_id: self.next(Decoder::str)?.into(),
            trace_id: self.optional(Decoder::str)?.map(str::to_owned),
            principal: self.next(read_digest)?,
            model: self.next(Decoder::str)?.to_owned(),
            version: self.optional(parsed::<ModelVersion>)?,
            bundle_sha256: self.optional(read_digest)?,
            image_digest: self.optional(read_digest)?,
            route: self.optional(|d| named(d, &Route::ALL, |route| route.name()))?,
            input_hmac: self.optional(read_digest)?,
            study_hmac: self.optional(read_digest)?,
            hmac_key_id: self.next(parsed::<KeyId>)?,
            input_kind: self.optional(|d| named(d, &InputKind::ALL, |kind| kind.name()))?,
            scores: self.next(read_floats)?,
            calibrated: self.next(read_floats)?,
            label: self.optional(Decoder::str)?.map(str::to_owned),
            decision: self.optional(|d| named(d, &Decision::ALL, |decision| decision.name()))?,
            warnings: self.next(|d| list(d, |d| d.str().map(str::to_owned)))?,
            statistics: self.statistics()?,
            ood_score: self.optional(Decoder::f64)?,
            embedding: self.next(read_floats)?,
            queue_us: self.next(Decoder::u64)?,
            decode_us: self.next(Decoder::u64)?,
            infer_us: self.next(Decoder::u64)?,
            total_us: self.next(Decoder::u64)?,
            batch_size: self.next(Decoder::u32)?,
            status: self.next(|d| {
                let name = d.str()?;
                Status::named(name).ok_or_else(|| wrong(d, "an unknown status"))
            })?,
            row: self.next(Decoder::u32)?,
            count: self.next(Decoder::u64)?,
        };
        Ok(Row { link: Link { chain, seq, prev_hash }, record })
    }
}

fn wrong(d: &Decoder<'_>, problem: &'static str) -> DecodeError {
    DecodeError::message(problem).at(d.position())
}

fn parsed<T: std::str::FromStr>(d: &mut Decoder<'_>) -> Result<T, DecodeError> {
    d.str()?.parse().map_err(|_| wrong(d, "the text is not of the column's form"))
}

fn named<T: Copy>(
    d: &mut Decoder<'_>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, DecodeError> {
    let text = d.str()?;
    let found = all.iter().copied().find(|one| name(*one) == text);
    found.ok_or_else(|| wrong(d, "an unknown word"))
}

pub(super) fn read_digest(d: &mut Decoder<'_>) -> Result<Digest, DecodeError> {
    let bytes = <[u8; 32]>::try_from(d.bytes()?);
    bytes.map(Digest::from_bytes).map_err(|_| wrong(d, "32 bytes are expected"))
}

fn list<T>(
    d: &mut Decoder<'_>,
    read: impl Fn(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let length = d.array()?.ok_or_else(|| wrong(d, "an array of a fixed length is expected"))?;
    // What is claimed is not believed before it is there.
    let mut values = Vec::with_capacity(usize::try_from(length).unwrap_or(usize::MAX).min(1024));
    for _ in 0..length {
        values.push(read(d)?);
    }
    Ok(values)
}

fn read_floats(d: &mut Decoder<'_>) -> Result<Vec<f32>, DecodeError> {
    list(d, |d| d.f64().map(|value| value as f32))
}

#[cfg(test)]
mod tests;
