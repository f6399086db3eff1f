//! What the service says about itself: logs, metrics and traces.
//!
//! Parts take a handle to the metrics they write; names, labels and buckets are declared once.
//! This room must never carry anything that a caller chooses freely: no label, no log field,
//! no attribute of a span.

mod declared;
mod log_json;
pub mod logs;
pub mod metrics;
pub mod statistics;
pub mod traces;

pub use declared::{DECLARED, MetricKind, MetricSpec};
pub use metrics::audit::AuditMetrics;
pub use metrics::{Edge, Metrics, ModelInfo, ModelMetrics, NO_MODEL, Outcome, Step};
pub use traces::{TraceContext, TraceStep, Traces};
