//! The listeners: bound before anything is built, so that a taken port is the first thing told.
//!
//! This file must never serve; it only binds and says where.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::AppError;
use crate::config::Config;

/// Bound listeners.
#[derive(Debug)]
pub struct Listeners {
    /// REST and gRPC-Web.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
    /// Metrics and probes.
    pub metrics: TcpListener,
}

/// Where the listeners listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// REST and gRPC-Web.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Metrics and probes.
    pub metrics: SocketAddr,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// [`AppError::Bind`] with the key at fault.
    pub async fn bind(config: &Config) -> Result<Self, AppError> {
        let server = &config.server;
        let http = bind("server.http_address", server.http_address).await?;
        let grpc = bind("server.grpc_address", server.grpc_address).await?;
        let metrics = bind("server.metrics_address", server.metrics_address).await?;
        Ok(Self { http, grpc, metrics })
    }

    /// The addresses, as bound.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let (http, grpc) = (self.http.local_addr()?, self.grpc.local_addr()?);
        Ok(Addresses { http, grpc, metrics: self.metrics.local_addr()? })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Bind { key, address, error })
}
