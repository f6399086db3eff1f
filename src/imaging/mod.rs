//! From the file a hospital has to the tensor a network was trained on.
//!
//! Bytes are sniffed and bounded by their header ([`probe`]), decoded to a [`Raster`] within
//! [`DecodeLimits`] ([`decode`]), and taken through the steps of a [`recipe::Recipe`]
//! ([`preprocess::run`]) to an f32 tensor, with statistics, warnings and the geometry kept. On the way
//! back a network's [`Heatmap`] is laid over the image again ([`overlay`]).
//! This room is pure: it must never touch a socket, a file, an async runtime or a model.

mod color;
mod decode;
pub mod dicom;
mod error;
mod fixed_point;
mod format;
mod geometry;
mod heatmap;
mod image_statistics;
mod intensity;
mod jpeg;
mod jpeg_scans;
mod limits;
pub mod lung_field;
mod overlay;
mod png;
pub mod preprocess;
mod pseudonym;
mod quality;
mod raster;
pub mod recipe;
mod resize;
mod tagged;
mod text_likeness;
mod warning;

pub use decode::{DecodeOptions, Decoded, Expectation, Header, decode, probe};
pub use error::DecodeError;
pub use format::Format;
pub use geometry::{Geometry, Region};
pub use heatmap::Heatmap;
pub use image_statistics::ImageStatistics;
pub use limits::DecodeLimits;
pub use overlay::{Caption, overlay};
pub use png::encode_png;
pub use pseudonym::{KeyTooShort, PseudonymKey};
pub use quality::{ImageQuality, QUALITY_STATISTICS, quality_warning};
pub use raster::{Raster, RasterError, Samples};
pub use resize::resize;
pub use text_likeness::{TEXT_LIKENESS_FLAG, text_likeness};
pub use warning::{Warning, WarningCode};
