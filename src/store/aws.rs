//! Who we are to Amazon Web Services, and how its services are reached: once, for every client.
//!
//! Credentials and region come from the standard chain: environment, shared files, web identity
//! (service accounts of Kubernetes), the container's role (tasks of ECS), the instance's role.
//! This file must never read or hold a credential itself.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::s3_settings::S3Timing;

/// What every client shares. `region` and `endpoint` win over the chain where they are given.
pub(super) async fn configuration(
    region: Option<&str>,
    endpoint: Option<&str>,
    timing: &S3Timing,
) -> SdkConfig {
    // The SDK's own default would bring a second implementation of cryptography to build.
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let retry = RetryConfig::standard()
        .with_max_attempts(timing.attempts.get())
        .with_initial_backoff(timing.backoff)
        .with_max_backoff(timing.backoff.saturating_mul(64).min(Duration::from_secs(20)));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timing.connect)
        .operation_attempt_timeout(timing.attempt)
        .operation_timeout(timing.whole)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retry)
        .timeout_config(timeouts);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}
