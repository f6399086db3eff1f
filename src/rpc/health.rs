//! `grpc.health.v1.Health`: "" is the server, a model's name is its champion.
//!
//! `Watch` sends the state and then each change of it.
//! This file must never say SERVING of a model whose champion has not answered its goldens.

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::catalog::{Catalog, CatalogError};
use crate::domain::VersionSelector;
use crate::lifecycle::{Readiness, Shutdown};

/// Services that stand for the whole server.
const SERVER: [&str; 4] =
    ["", "inference.GRPCInferenceService", "hilum.v1.Probe", "hilum.v1.Vision"];

/// The service.
#[derive(Debug, Clone)]
pub struct Health {
    readiness: Readiness,
    catalog: Catalog,
    shutdown: Shutdown,
}

impl Health {
    /// The service over the latch and the models; watchers end when `shutdown` closes.
    pub fn new(readiness: Readiness, catalog: Catalog, shutdown: Shutdown) -> Self {
        Self { readiness, catalog, shutdown }
    }

    /// The state of a service, `None` when there is no such service.
    fn state(&self, service: &str) -> Option<ServingStatus> {
        let serving = |yes| if yes { ServingStatus::Serving } else { ServingStatus::NotServing };
        if SERVER.contains(&service) {
            return Some(serving(self.readiness.is_ready()));
        }
        let name = service.parse().ok()?;
        match self.catalog.resolve_form(&name, VersionSelector::Champion) {
            Err(CatalogError::UnknownModel { .. }) => None,
            found => Some(serving(found.is_ok() && !self.readiness.is_draining())),
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// What a watcher remembers between two messages.
struct Watcher {
    health: Health,
    service: String,
    sent: Option<ServingStatus>,
    ready: watch::Receiver<bool>,
    models: watch::Receiver<u64>,
}

impl Watcher {
    /// The next state that differs from the one sent before; `None` when the server ends.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let state = self.health.state(&self.service).unwrap_or(ServingStatus::ServiceUnknown);
            if self.sent != Some(state) {
                self.sent = Some(state);
                return Some((Ok(response(state)), self));
            }
            let changed = tokio::select! {
                changed = self.ready.changed() => changed,
                changed = self.models.changed() => changed,
                () = self.health.shutdown.closed() => return None,
            };
            changed.ok()?;
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.state(&service) {
            Some(state) => Ok(Response::new(response(state))),
            None => {
                let shown: String = service.chars().take(64).flat_map(char::escape_debug).collect();
                Err(Status::not_found(format!("no service or model '{shown}'")))
            }
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher {
            health: self.clone(),
            service: request.into_inner().service,
            sent: None,
            ready: self.readiness.watch(),
            models: self.catalog.changes(),
        };
        Ok(Response::new(stream::unfold(watcher, Watcher::next).boxed()))
    }
}
