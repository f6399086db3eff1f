//! An error as a gRPC status with `google.rpc` details.
//!
//! The code comes from the one table of error kinds; the text is the error's own.
//! This file must never show a caller an error of ours without a number by which the log is found.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::domain::{ErrorKind, Fault};
use crate::oip;

/// The domain of `google.rpc.ErrorInfo`.
const DOMAIN: &str = "hilum";

/// The status that answers `fault` in the request `request_id`.
pub fn of(fault: &dyn Fault, request_id: &str) -> Status {
    let kind = fault.kind();
    let message = match kind {
        ErrorKind::Internal => {
            tracing::error!(request_id, reason = fault.reason(), error = %fault, "request failed");
            format!("{fault} (request {request_id})")
        }
        _ => fault.to_string(),
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(
        fault.reason(),
        DOMAIN,
        [("request_id".to_owned(), request_id.to_owned())],
    );
    if let Some(field) = fault.field() {
        details.add_bad_request_violation(field, message.clone());
    }
    if let Some(delay) = fault.retry_after() {
        details.set_retry_info(Some(delay));
    }
    let code = Code::from_i32(kind.grpc_code());
    let mut metadata = MetadataMap::new();
    let audit_id = fault.audit_id().and_then(|id| MetadataValue::try_from(id).ok());
    if let Some(audit_id) = audit_id {
        metadata.insert(oip::AUDIT_ID, audit_id);
    }
    Status::with_error_details_and_metadata(code, message, details, metadata)
}
