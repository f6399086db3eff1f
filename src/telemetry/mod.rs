//! What the service says about itself: logs and metrics.
//!
//! Parts take a handle to the metrics they write; names, labels and buckets are declared once.
//! This room must never carry anything that a caller chooses freely: no label, no log field.

mod declared;
pub mod logs;
pub mod metrics;

pub use declared::{DECLARED, MetricKind, MetricSpec};
pub use metrics::{Edge, Metrics, ModelInfo, ModelMetrics, NO_MODEL, Outcome, Step};
