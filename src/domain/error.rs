//! The one error-kind enum and the one table that maps it to gRPC and HTTP.
//!
//! Each room has its own typed error; an edge asks it for its kind and looks the status up here.
//! This file must never hold a message: what went wrong is said where it went wrong.

use std::time::Duration;

/// What sort of failure a caller is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong by itself: a name, a type, a shape or a byte count.
    InvalidArgument,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// There is no such model, version or record.
    NotFound,
    /// The request is larger than a configured limit.
    TooLarge,
    /// The content is of a kind that is not served.
    UnsupportedMedia,
    /// The request contradicts what was done before.
    Conflict,
    /// The state of the system does not allow the request now.
    FailedPrecondition,
    /// The call is known but not served.
    Unimplemented,
    /// Accepting the request would exceed a queue's bound; try again later.
    Overloaded,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// The service is starting, draining or without something it needs.
    Unavailable,
    /// A bug or a failing run.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ErrorKind; 14] = [
        ErrorKind::InvalidArgument,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::NotFound,
        ErrorKind::TooLarge,
        ErrorKind::UnsupportedMedia,
        ErrorKind::Conflict,
        ErrorKind::FailedPrecondition,
        ErrorKind::Unimplemented,
        ErrorKind::Overloaded,
        ErrorKind::DeadlineExceeded,
        ErrorKind::Cancelled,
        ErrorKind::Unavailable,
        ErrorKind::Internal,
    ];

    /// The row of the table: gRPC status code (`google.rpc.Code`), HTTP status, UPPER_SNAKE name.
    const fn row(self) -> (i32, u16, &'static str) {
        match self {
            ErrorKind::InvalidArgument => (3, 400, "INVALID_ARGUMENT"),
            ErrorKind::Unauthenticated => (16, 401, "UNAUTHENTICATED"),
            ErrorKind::PermissionDenied => (7, 403, "PERMISSION_DENIED"),
            ErrorKind::NotFound => (5, 404, "NOT_FOUND"),
            ErrorKind::TooLarge => (8, 413, "TOO_LARGE"),
            ErrorKind::UnsupportedMedia => (3, 415, "UNSUPPORTED_MEDIA"),
            ErrorKind::Conflict => (10, 409, "CONFLICT"),
            ErrorKind::FailedPrecondition => (9, 412, "FAILED_PRECONDITION"),
            ErrorKind::Unimplemented => (12, 501, "UNIMPLEMENTED"),
            ErrorKind::Overloaded => (8, 429, "OVERLOADED"),
            ErrorKind::DeadlineExceeded => (4, 504, "DEADLINE_EXCEEDED"),
            ErrorKind::Cancelled => (1, 499, "CANCELLED"),
            ErrorKind::Unavailable => (14, 503, "UNAVAILABLE"),
            ErrorKind::Internal => (13, 500, "INTERNAL"),
        }
    }

    /// The gRPC status code, as a number of `google.rpc.Code`.
    pub const fn grpc_code(self) -> i32 {
        self.row().0
    }

    /// The HTTP status code.
    pub const fn http_status(self) -> u16 {
        self.row().1
    }

    /// The kind's name in UPPER_SNAKE, as logs, metrics and records show it.
    pub const fn name(self) -> &'static str {
        self.row().2
    }
}

/// An error that knows how an edge shall answer it. Its `Display` is safe to show to a caller.
pub trait Fault: std::error::Error {
    /// The kind, by which the status is chosen.
    fn kind(&self) -> ErrorKind;

    /// A stable UPPER_SNAKE word for `google.rpc.ErrorInfo.reason`.
    fn reason(&self) -> &'static str {
        self.kind().name()
    }

    /// The field of the request that is at fault, for `google.rpc.BadRequest`.
    fn field(&self) -> Option<String> {
        None
    }

    /// How long the caller had better wait, for `google.rpc.RetryInfo` and `Retry-After`.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// The number of the request in the record, where the failure has its rows there; for `x-audit-id`.
    fn audit_id(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_codes_are_grpc_codes() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            assert!((1..=16).contains(&kind.grpc_code()), "{}", kind.name());
            assert!((400..=599).contains(&kind.http_status()), "{}", kind.name());
        }
    }
}
