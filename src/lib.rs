//! Hilum: a gRPC model server for image-classifying CNNs.
//!
//! The rooms below stand in the order of their floors (see ARCHITECTURE.md): a room may use the
//! rooms before it and must never use one after it.

#![forbid(unsafe_code)]

pub mod domain;

pub mod lifecycle;

pub mod telemetry;

pub mod imaging;

pub mod npy;

pub mod shared_memory;

pub mod store;

pub mod engine;

pub mod batcher;

pub mod bundle;

pub mod registry;

pub mod audit;

pub mod catalog;

pub mod pipeline;

pub mod prepare;

pub mod proto;

pub mod oip;

pub mod vision;

pub mod rpc;

pub mod http;

pub mod config;

pub mod app;

pub mod client;

pub mod predict;

pub mod bench;

pub mod commands;
