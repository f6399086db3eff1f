//! The imaging room by its public face: golden values, bad input, de-identification.

pub mod bad_input;
mod broken_jpeg;
mod careless;
mod deidentify;
mod dicom;
pub mod dicom_file;
mod formats;
mod lossless_jpeg;
mod memory;
mod prepare;
mod same_pixels;
mod unknown_sequence;

use std::path::PathBuf;

/// The folder with the real data, `HILUM_DATA` or `../shared/data`; `None`, said aloud, where it
/// is absent.
pub fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HILUM_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is not there (set HILUM_DATA)", path.display());
    None
}
