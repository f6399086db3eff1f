//! A whole measurement: connect, make the messages, put the load on, report.
//!
//! This file must never know how a protocol works: each is a `Transport`.

use std::path::PathBuf;
use std::sync::Arc;

use super::{
    BenchError, GrpcTransport, InputSource, Live, Plan, Report, RestTransport, Subject, Transport,
    html, messages, run, show,
};

/// The protocol that the load is sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The Open Inference Protocol over gRPC.
    Grpc,
    /// The same over REST, with binary tensor data.
    Rest,
}

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The load.
    pub plan: Plan,
    /// The protocol.
    pub protocol: Protocol,
    /// The server, as `host:port`.
    pub address: String,
    /// The model.
    pub model: String,
    /// The version; empty means the champion.
    pub version: String,
    /// Connections, over which the callers are spread; REST has one for each request in flight.
    pub connections: usize,
    /// What is sent.
    pub source: InputSource,
    /// Where to write a report with charts.
    pub page: Option<PathBuf>,
    /// Whether to say nothing until the end.
    pub quiet: bool,
}

impl Job {
    /// Measures. [`Live::stop`] ends it early, with what was measured until then.
    ///
    /// # Errors
    /// [`BenchError`]; an answer with another status than OK is a result, not an error.
    pub async fn measure(&self, live: Arc<Live>) -> Result<Report, BenchError> {
        let Job { address, connections, plan, .. } = self;
        let report = match self.protocol {
            Protocol::Grpc => {
                let transport = GrpcTransport::connect(address, *connections, plan.timeout).await?;
                self.with(transport, live).await?
            }
            Protocol::Rest => {
                let transport = RestTransport::connect(address, plan.timeout).await?;
                self.with(transport, live).await?
            }
        };
        if let Some(path) = &self.page {
            std::fs::write(path, html(&report))
                .map_err(|problem| BenchError::Report { path: path.clone(), problem })?;
        }
        Ok(report)
    }

    async fn with<T: Transport>(
        &self,
        transport: T,
        live: Arc<Live>,
    ) -> Result<Report, BenchError> {
        let Job { plan, model, version, .. } = self;
        let messages = messages(&transport, model, version, plan.rows, &self.source).await?;
        let subject = Subject {
            transport: transport.name().to_owned(),
            address: self.address.clone(),
            model: model.clone(),
            version: version.clone(),
            connections: (self.protocol == Protocol::Grpc).then_some(self.connections),
        };
        let load = run(plan.clone(), Arc::new(transport), messages, Arc::clone(&live));
        let summary = tokio::select! {
            summary = load => summary?,
            () = show(plan, &live, self.quiet) => {
                return Err(BenchError::Generator("the progress ended by itself".to_owned()));
            }
        };
        Ok(Report::new(plan, subject, summary, live.stopped()))
    }
}
