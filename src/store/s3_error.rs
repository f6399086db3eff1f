//! Errors of the SDK in our words: what happened, where, and whether it may pass.
//!
//! The SDK's own texts are dumps of its types; what counts is in the causes behind them.
//! This file must never show a credential.

use std::error::Error;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::StoreError;
use super::s3_settings::S3Settings;

/// An error of a call about `key`, as it is shown.
pub(super) fn told<E>(settings: &S3Settings, key: String, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let code = error.code().unwrap_or_default();
    let status = status(error);
    let reason = match (error, status) {
        (SdkError::ServiceError(_), Some(status)) => {
            format!("{status} {code}: {}", error.message().unwrap_or("no message"))
        }
        _ => causes(settings, error),
    };
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => match status {
            Some(401 | 403) => StoreError::Denied { key, reason },
            Some(408 | 409 | 425 | 429 | 500..=599) | None => {
                StoreError::Unavailable { key, reason }
            }
            // The body broke on its way; what arrived did not have the digest that was sent.
            Some(400) if matches!(code, "BadDigest" | "RequestTimeout" | "IncompleteBody") => {
                StoreError::Unavailable { key, reason }
            }
            Some(_) => StoreError::Refused { key, reason },
        },
        SdkError::DispatchFailure(failure) if !failure.is_io() && !failure.is_timeout() => {
            // The chain found no credentials, or an address that is none.
            StoreError::Denied { key, reason }
        }
        SdkError::ConstructionFailure(_) => StoreError::Refused { key, reason },
        _ => StoreError::Unavailable { key, reason },
    }
}

/// The status of the answer, if one came.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// What lies behind an error, the cause of causes last, and where it happened.
pub(super) fn causes(settings: &S3Settings, error: &(dyn Error + 'static)) -> String {
    let place = settings.endpoint.clone().unwrap_or_else(|| {
        format!(
            "Amazon S3{}",
            settings.region.as_ref().map_or_else(String::new, |it| format!(" in {it}"))
        )
    });
    let mut texts: Vec<String> = Vec::new();
    let mut refused = false;
    let mut next = Some(error);
    while let Some(cause) = next {
        next = cause.source();
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        refused |= kind == Some(io::ErrorKind::ConnectionRefused);
        // One line, whatever the cause makes of it.
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        // A cause is often quoted by what it brought about.
        texts.retain(|before| !before.contains(&text));
        if !matches!(text.as_str(), "dispatch failure" | "io error" | "other" | "service error") {
            texts.push(text);
        }
    }
    let all = texts.join(": ");
    if all.contains("credential") {
        format!("no credentials found: {all}")
    } else if refused {
        format!("connection refused to {place}")
    } else {
        format!("{all} ({place})")
    }
}
