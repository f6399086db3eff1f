//! `hilum serve`: the service.
//!
//! Configuration, logs, listeners, application, signals, exit code.
//! This file must never start anything before the whole configuration is checked.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::flags::ConfigFlags;
use super::{exit, failed};
use crate::app::{Addresses, App, Listeners};
use crate::config::{Config, Overrides};
use crate::telemetry::logs;

const EXAMPLES: &str = "Examples:
  hilum serve
  hilum serve --config hilum.toml --models /srv/models
  HILUM__SERVER__GRPC_ADDRESS=127.0.0.1:9001 hilum serve";

/// Serve the models of a folder over gRPC and HTTP.
///
/// The first SIGTERM or SIGINT begins an orderly end, a second one cuts its grace short.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    config: ConfigFlags,
    /// Address of the HTTP listener: REST and gRPC-Web [server.http_address]
    #[arg(long, value_name = "ADDRESS")]
    http_address: Option<SocketAddr>,
    /// Address of the gRPC listener [server.grpc_address]
    #[arg(long, value_name = "ADDRESS")]
    grpc_address: Option<SocketAddr>,
    /// Address of the listener for metrics and probes [server.metrics_address]
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<SocketAddr>,
}

impl Serve {
    /// Serves until a signal comes.
    pub fn run(self) -> ExitCode {
        let overrides = Overrides {
            http_address: self.http_address,
            grpc_address: self.grpc_address,
            metrics_address: self.metrics_address,
            ..Overrides::default()
        };
        let config = match self.config.load(overrides) {
            Ok(config) => config,
            Err(code) => return code,
        };
        if let Err(error) = logs::install(config.telemetry.log_format, &config.telemetry.log_filter)
        {
            return failed(exit::USAGE, &error);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return failed(exit::FAILED, &error),
        };
        let code = runtime.block_on(serve(&config));
        // A run that outlasted the bound must not hold the exit up.
        runtime.shutdown_background();
        code
    }
}

async fn serve(config: &Config) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return failed(exit::FAILED, &error),
        };
    let built = match Listeners::bind(config).await {
        Ok(listeners) => App::build(config, listeners),
        Err(error) => Err(error),
    };
    let app = match built {
        Ok(app) => app,
        Err(error) => return failed(exit::FAILED, &error),
    };
    match app.addresses() {
        Ok(Addresses { http, grpc, metrics }) => {
            tracing::info!(%http, %grpc, %metrics, "listening");
        }
        Err(error) => return failed(exit::FAILED, &error),
    }
    let (sender, receiver) = tokio::sync::watch::channel(0_u32);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_modify(|count| *count += 1);
        }
    });
    // Counted by calls: a signal that came before the first of them is not lost.
    let mut calls = 0;
    app.run_until(|| {
        let mut receiver = receiver.clone();
        let seen = calls;
        calls += 1;
        async move {
            let _ = receiver.wait_for(|count| *count > seen).await;
        }
    })
    .await;
    ExitCode::from(exit::DONE)
}
