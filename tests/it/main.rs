//! Integration tests: the real service on port 0, spoken to over gRPC and HTTP, and the rooms that
//! stand alone by their public face.

mod bad_input;
mod batcher;
mod bundles;
mod commands;
mod control;
mod describe;
mod documents;
mod gated;
mod harness;
mod http_client;
mod images;
mod imaging;
mod interleavings;
mod load;
mod model_info;
mod npy;
mod parameters;
mod predict;
mod process;
mod protocol;
mod registry;
mod rest;
mod rest_bad_input;
mod rows;
mod settings;
mod shapes;
mod shared_memory;
mod shutdown;
mod spot;
mod store;
mod streaming;
mod traces;
mod transport;
mod types;
mod web;
