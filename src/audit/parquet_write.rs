//! Rows to a Parquet file: one model, one day, one chain, in the order of their numbers.
//!
//! Rows go in one by one, the file's bytes come out. Memory holds one batch of rows and what is packed.
//! This file must never write the same rows in two ways: a file is written again after a crash and must
//! come out as the very same bytes.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    BinaryBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::WriterProperties;

use super::record::{COLUMNS, ChainId, InputKind, Row, SCHEMA};
use crate::domain::{Decision, Digest, Route};

/// Rows that are turned into columns at a time.
const BATCH: usize = 4096;

/// Where the metadata of a file names the schema's version.
pub(super) const SCHEMA_KEY: &str = "hilum.audit.schema";
/// Where it names the chain.
pub(super) const CHAIN_KEY: &str = "hilum.audit.chain";

/// The columns of a file, in the order of the schema.
pub(super) static COLUMN_TYPES: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let field = |name: &&str| {
        let (kind, nullable) = match *name {
            "ts" => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            "seq" | "queue_us" | "decode_us" | "infer_us" | "total_us" | "batch_size" | "row"
            | "count" => (DataType::Int64, false),
            "prev_hash" | "principal" => (DataType::Binary, false),
            "bundle_sha256" | "image_digest" | "input_hmac" | "study_hmac" => {
                (DataType::Binary, true)
            }
            "scores" | "calibrated" | "embedding" => (list(DataType::Float32), false),
            "warnings" => (list(DataType::Utf8), false),
            "mean" | "std" | "p1" | "p99" | "entropy" | "sharpness" | "aspect" | "ood_score" => {
                (DataType::Float64, true)
            }
            "bits" => (DataType::Int32, true),
            "trace_id" | "version" | "route" | "input_kind" | "label" | "decision" => {
                (DataType::Utf8, true)
            }
            _ => (DataType::Utf8, false),
        };
        Field::new(*name, kind, nullable)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
});

fn list(item: DataType) -> DataType {
    DataType::List(element(item))
}

/// The item of a list as the format's own specification calls it.
fn element(item: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", item, false))
}

/// A file that grows by a row at a time.
pub(super) struct ParquetFile<W: Write + Send> {
    writer: ArrowWriter<W>,
    columns: Columns,
    /// How many rows it has.
    pub rows: u64,
    /// The number of its first row.
    pub first: u64,
    /// The number of its last row.
    pub last: u64,
}

impl<W: Write + Send> ParquetFile<W> {
    /// A file in `to` whose rows are all of `chain`, by rising numbers; without one they are of any chain and
    /// in any order.
    pub fn begin(to: W, chain: Option<ChainId>) -> Result<Self, ParquetError> {
        let meta = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let seq = COLUMNS.iter().position(|name| *name == "seq").unwrap_or_default();
        let mut metadata = vec![meta(SCHEMA_KEY, SCHEMA.to_string())];
        metadata.extend(chain.map(|chain| meta(CHAIN_KEY, chain.to_string())));
        let sorted = chain.is_some();
        let by_seq = SortingColumn {
            column_idx: i32::try_from(seq).unwrap_or_default(),
            descending: false,
            nulls_first: false,
        };
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            // Not the release: the bytes are the same by whichever release wrote them.
            .set_created_by("hilum".to_owned())
            .set_key_value_metadata(Some(metadata))
            .set_sorting_columns(sorted.then(|| vec![by_seq]))
            .build();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let schema = Arc::clone(&COLUMN_TYPES);
        let writer = ArrowWriter::try_new_with_options(to, schema, options)?;
        Ok(Self { writer, columns: Columns::default(), rows: 0, first: 0, last: 0 })
    }

    /// Adds a row; its number is above that of the row before.
    pub fn push(&mut self, row: &Row) -> Result<(), ParquetError> {
        self.columns.push(row);
        if self.rows == 0 {
            self.first = row.link.seq;
        }
        self.rows += 1;
        self.last = row.link.seq;
        if self.columns.rows >= BATCH {
            self.writer.write(&self.columns.take()?)?;
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        if self.columns.rows > 0 {
            self.writer.write(&self.columns.take()?)?;
        }
        self.writer.into_inner()
    }
}

/// Columns in the making.
struct Columns {
    rows: usize,
    audit_id: StringBuilder,
    ts: TimestampMicrosecondBuilder,
    chain: StringBuilder,
    seq: Int64Builder,
    prev_hash: BinaryBuilder,
    request_id: StringBuilder,
    trace_id: StringBuilder,
    principal: BinaryBuilder,
    model: StringBuilder,
    version: StringBuilder,
    bundle_sha256: BinaryBuilder,
    image_digest: BinaryBuilder,
    route: StringBuilder,
    input_hmac: BinaryBuilder,
    study_hmac: BinaryBuilder,
    hmac_key_id: StringBuilder,
    input_kind: StringBuilder,
    scores: ListBuilder<Float32Builder>,
    calibrated: ListBuilder<Float32Builder>,
    label: StringBuilder,
    decision: StringBuilder,
    warnings: ListBuilder<StringBuilder>,
    /// mean, std, p1, p99, entropy, sharpness, aspect.
    statistics: [Float64Builder; 7],
    bits: Int32Builder,
    ood_score: Float64Builder,
    embedding: ListBuilder<Float32Builder>,
    /// queue, decode, infer, total.
    times: [Int64Builder; 4],
    batch_size: Int64Builder,
    status: StringBuilder,
    row: Int64Builder,
    count: Int64Builder,
}

impl Default for Columns {
    fn default() -> Self {
        let floats =
            || ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
        Self {
            rows: 0,
            audit_id: StringBuilder::new(),
            ts: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            chain: StringBuilder::new(),
            seq: Int64Builder::new(),
            prev_hash: BinaryBuilder::new(),
            request_id: StringBuilder::new(),
            trace_id: StringBuilder::new(),
            principal: BinaryBuilder::new(),
            model: StringBuilder::new(),
            version: StringBuilder::new(),
            bundle_sha256: BinaryBuilder::new(),
            image_digest: BinaryBuilder::new(),
            route: StringBuilder::new(),
            input_hmac: BinaryBuilder::new(),
            study_hmac: BinaryBuilder::new(),
            hmac_key_id: StringBuilder::new(),
            input_kind: StringBuilder::new(),
            scores: floats(),
            calibrated: floats(),
            label: StringBuilder::new(),
            decision: StringBuilder::new(),
            warnings: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            statistics: Default::default(),
            bits: Int32Builder::new(),
            ood_score: Float64Builder::new(),
            embedding: floats(),
            times: Default::default(),
            batch_size: Int64Builder::new(),
            status: StringBuilder::new(),
            row: Int64Builder::new(),
            count: Int64Builder::new(),
        }
    }
}

impl Columns {
    fn push(&mut self, row: &Row) {
        let (link, r) = (&row.link, &row.record);
        self.rows += 1;
        self.audit_id.append_value(r.audit_id.to_string());
        self.ts.append_value(r.ts.0);
        self.chain.append_value(link.chain.to_string());
        self.seq.append_value(number(link.seq));
        self.prev_hash.append_value(link.prev_hash.as_bytes());
        self.request_id.append_value(&r.request_id);
        self.trace_id.append_option(r.trace_id.as_deref());
        self.principal.append_value(r.principal.as_bytes());
        self.model.append_value(&r.model);
        self.version.append_option(r.version.map(|version| version.to_string()));
        let digests = [
            (&mut self.bundle_sha256, &r.bundle_sha256),
            (&mut self.image_digest, &r.image_digest),
            (&mut self.input_hmac, &r.input_hmac),
            (&mut self.study_hmac, &r.study_hmac),
        ];
        for (column, digest) in digests {
            column.append_option(digest.as_ref().map(Digest::as_bytes));
        }
        self.route.append_option(r.route.map(Route::name));
        self.hmac_key_id.append_value(r.hmac_key_id.as_str());
        self.input_kind.append_option(r.input_kind.map(InputKind::name));
        let lists = [
            (&mut self.scores, &r.scores),
            (&mut self.calibrated, &r.calibrated),
            (&mut self.embedding, &r.embedding),
        ];
        for (column, values) in lists {
            column.values().append_slice(values);
            column.append(true);
        }
        self.label.append_option(r.label.as_deref());
        self.decision.append_option(r.decision.map(Decision::name));
        for warning in &r.warnings {
            self.warnings.values().append_value(warning);
        }
        self.warnings.append(true);
        let s = r.statistics.as_ref();
        let values = s.map(|s| [s.mean, s.std, s.p1, s.p99, s.entropy, s.sharpness, s.aspect]);
        for (at, column) in self.statistics.iter_mut().enumerate() {
            column.append_option(values.map(|values| values[at]));
        }
        self.bits.append_option(s.map(|s| i32::from(s.bits)));
        self.ood_score.append_option(r.ood_score);
        let times = [r.queue_us, r.decode_us, r.infer_us, r.total_us];
        for (column, time) in self.times.iter_mut().zip(times) {
            column.append_value(number(time));
        }
        self.batch_size.append_value(i64::from(r.batch_size));
        self.status.append_value(r.status.name());
        self.row.append_value(i64::from(r.row));
        self.count.append_value(number(r.count));
    }

    /// The rows so far as columns; the next rows are a batch of their own.
    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.audit_id.finish()),
            Arc::new(self.ts.finish()),
            Arc::new(self.chain.finish()),
            Arc::new(self.seq.finish()),
            Arc::new(self.prev_hash.finish()),
            Arc::new(self.request_id.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.principal.finish()),
            Arc::new(self.model.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.bundle_sha256.finish()),
            Arc::new(self.image_digest.finish()),
            Arc::new(self.route.finish()),
            Arc::new(self.input_hmac.finish()),
            Arc::new(self.study_hmac.finish()),
            Arc::new(self.hmac_key_id.finish()),
            Arc::new(self.input_kind.finish()),
            Arc::new(self.scores.finish()),
            Arc::new(self.calibrated.finish()),
            Arc::new(self.label.finish()),
            Arc::new(self.decision.finish()),
            Arc::new(self.warnings.finish()),
        ];
        columns
            .extend(self.statistics.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.bits.finish()));
        columns.push(Arc::new(self.ood_score.finish()));
        columns.push(Arc::new(self.embedding.finish()));
        columns.extend(self.times.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.batch_size.finish()));
        columns.push(Arc::new(self.status.finish()));
        columns.push(Arc::new(self.row.finish()));
        columns.push(Arc::new(self.count.finish()));
        RecordBatch::try_new(Arc::clone(&COLUMN_TYPES), columns)
    }
}

/// A number as the format has it. One beyond 2⁶³ would take longer than there is time.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
