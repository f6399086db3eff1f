//! A Parquet file of the record back to rows.
//!
//! Bytes go in, rows come out that hash as they did when they were written; a file that is anything else
//! is refused with the column and the row.
//! This file must never trust a file's length of anything.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array as _, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::parquet_write::{COLUMN_TYPES, SCHEMA_KEY};
use super::record::{InputKind, Link, Record, Row, SCHEMA, Status};
use super::time::Micros;
use crate::domain::{Decision, Digest, Route};
use crate::imaging::ImageStatistics;

/// A file that is no file of the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ParquetReadError {
    problem: String,
}

fn wrong(problem: impl Into<String>) -> ParquetReadError {
    ParquetReadError { problem: problem.into() }
}

/// Hands each row of a file to `each`, in the file's order; `each` says whether to go on.
///
/// # Errors
/// What makes it no file of the record.
pub(super) fn rows(
    file: Bytes,
    mut each: impl FnMut(Row) -> Result<(), ParquetReadError>,
) -> Result<(), ParquetReadError> {
    let not = |error: &dyn std::error::Error| wrong(format!("no Parquet file: {error}"));
    let builder = unpanicked(|| ParquetRecordBatchReaderBuilder::try_new(file))?;
    let builder = builder.map_err(|error| not(&error))?;
    let meta = builder.metadata().file_metadata().key_value_metadata();
    let schema = meta.and_then(|meta| meta.iter().find(|pair| pair.key == SCHEMA_KEY));
    let schema = schema.and_then(|pair| pair.value.as_deref()).unwrap_or("none");
    if schema != SCHEMA.to_string() {
        return Err(wrong(format!("schema {schema}; this program reads {SCHEMA}")));
    }
    for (found, expected) in builder.schema().fields().iter().zip(COLUMN_TYPES.fields()) {
        if found.name() != expected.name() || found.data_type() != expected.data_type() {
            return Err(wrong(format!("column {found}, {expected} is expected")));
        }
    }
    if builder.schema().fields().len() != COLUMN_TYPES.fields().len() {
        return Err(wrong("other columns than the record has"));
    }
    let reader = unpanicked(|| builder.with_batch_size(4096).build())?;
    let mut reader = reader.map_err(|error| not(&error))?;
    while let Some(batch) = unpanicked(|| reader.next())? {
        let batch = batch.map_err(|error| not(&error))?;
        for at in 0..batch.num_rows() {
            each(Fields { batch: &batch, at, column: 0 }.row()?)?;
        }
    }
    Ok(())
}

/// What `read` gives. The crate panics over some files whose levels, dictionaries or lengths contradict each
/// other.
fn unpanicked<T>(read: impl FnOnce() -> T) -> Result<T, ParquetReadError> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| wrong("no Parquet file: its parts contradict each other"))
}

/// The columns of one row, one after the other.
struct Fields<'b> {
    batch: &'b RecordBatch,
    at: usize,
    column: usize,
}

impl<'b> Fields<'b> {
    fn next(&mut self) -> &'b arrow_array::ArrayRef {
        self.column += 1;
        self.batch.column(self.column - 1)
    }

    fn wrong(&self) -> ParquetReadError {
        let schema = self.batch.schema();
        let name = schema.field(self.column.saturating_sub(1)).name().clone();
        wrong(format!("row {} of a batch: {name} is not of the column's form", self.at))
    }

    fn optional_text(&mut self) -> Option<&'b str> {
        let column = self.next().as_string::<i32>();
        (!column.is_null(self.at)).then(|| column.value(self.at))
    }

    fn text(&mut self) -> Result<&'b str, ParquetReadError> {
        self.optional_text().ok_or_else(|| self.wrong())
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, ParquetReadError> {
        let text = self.text()?;
        text.parse().map_err(|_| self.wrong())
    }

    fn named<T>(
        &mut self,
        named: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ParquetReadError> {
        let text = self.optional_text();
        text.map(|text| named(text).ok_or_else(|| self.wrong())).transpose()
    }

    fn optional_digest(&mut self) -> Result<Option<Digest>, ParquetReadError> {
        let column = self.next().as_binary::<i32>();
        if column.is_null(self.at) {
            return Ok(None);
        }
        let bytes = <[u8; 32]>::try_from(column.value(self.at)).map_err(|_| self.wrong())?;
        Ok(Some(Digest::from_bytes(bytes)))
    }

    fn digest(&mut self) -> Result<Digest, ParquetReadError> {
        self.optional_digest()?.ok_or_else(|| self.wrong())
    }

    fn number<T: TryFrom<i64>>(&mut self) -> Result<T, ParquetReadError> {
        let column = self.next().as_primitive::<Int64Type>();
        let value = column.is_valid(self.at).then(|| column.value(self.at));
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| self.wrong())
    }

    fn float(&mut self) -> Option<f64> {
        let column = self.next().as_primitive::<Float64Type>();
        column.is_valid(self.at).then(|| column.value(self.at))
    }

    fn floats(&mut self) -> Result<Vec<f32>, ParquetReadError> {
        let column = self.next().as_list::<i32>();
        if column.is_null(self.at) {
            return Err(self.wrong());
        }
        Ok(column.value(self.at).as_primitive::<Float32Type>().values().to_vec())
    }

    fn texts(&mut self) -> Result<Vec<String>, ParquetReadError> {
        let column = self.next().as_list::<i32>();
        if column.is_null(self.at) {
            return Err(self.wrong());
        }
        let values = column.value(self.at);
        Ok(values.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
    }

    fn statistics(&mut self) -> Result<Option<ImageStatistics>, ParquetReadError> {
        let values: [Option<f64>; 7] = std::array::from_fn(|_| self.float());
        let column = self.next().as_primitive::<Int32Type>();
        let bits = column.is_valid(self.at).then(|| column.value(self.at));
        match (values, bits) {
            (
                [
                    Some(mean),
                    Some(std),
                    Some(p1),
                    Some(p99),
                    Some(entropy),
                    Some(sharpness),
                    Some(aspect),
                ],
                Some(bits),
            ) => {
                let bits = u8::try_from(bits).map_err(|_| self.wrong())?;
                Ok(Some(ImageStatistics { mean, std, p1, p99, entropy, sharpness, aspect, bits }))
            }
            ([None, None, None, None, None, None, None], None) => Ok(None),
            _ => Err(self.wrong()),
        }
    }

    fn row(&mut self) -> Result<Row, ParquetReadError> {
        let audit_id = self.parsed()?;
        let ts = self.next().as_primitive::<TimestampMicrosecondType>();
        let ts =
            Micros(ts.is_valid(self.at).then(|| ts.value(self.at)).ok_or_else(|| self.wrong())?);
        let link = Link { chain: self.parsed()?, seq: self.number()?, prev_hash: self.digest()? };
        let record = Record {
            audit_id,
            ts,
            request_id: self.text()?.into(),
            trace_id: self.optional_text().map(str::to_owned),
            principal: self.digest()?,
            model: self.text()?.to_owned(),
            version: self.named(|text| text.parse().ok())?,
            bundle_sha256: self.optional_digest()?,
            image_digest: self.optional_digest()?,
            route: self.named(|text| Route::ALL.into_iter().find(|route| route.name() == text))?,
            input_hmac: self.optional_digest()?,
            study_hmac: self.optional_digest()?,
            hmac_key_id: self.parsed()?,
            input_kind: self
                .named(|text| InputKind::ALL.into_iter().find(|kind| kind.name() == text))?,
            scores: self.floats()?,
            calibrated: self.floats()?,
            label: self.optional_text().map(str::to_owned),
            decision: self
                .named(|text| Decision::ALL.into_iter().find(|decision| decision.name() == text))?,
            warnings: self.texts()?,
            statistics: self.statistics()?,
            ood_score: self.float(),
            embedding: self.floats()?,
            queue_us: self.number()?,
            decode_us: self.number()?,
            infer_us: self.number()?,
            total_us: self.number()?,
            batch_size: self.number()?,
            status: self.named(Status::named)?.ok_or_else(|| self.wrong())?,
            row: self.number()?,
            count: self.number()?,
        };
        Ok(Row { link, record })
    }
}
