//! What the disk alone takes: a record is appended to a file and synced.
//!
//! This file must never write anywhere but under the build's own folder for temporary files.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::table::median;

/// About what a record takes in the spool.
const RECORD: usize = 512;

/// The median time of an append with its fdatasync, in µs.
pub fn fdatasync(length: Duration) -> Result<f64, Failure> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("fdatasync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < length {
        let at = Instant::now();
        file.write_all(&[7; RECORD])?;
        file.sync_data()?;
        took.push(at.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(&path)?;
    Ok(median(&mut took))
}
