//! The last segment of a dead process: its torn tail is cut off, and it is sealed.
//!
//! This file must never cut off a whole row.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::damage::{Damage, whole_rows_from};
use super::{SpoolError, at, sealed_name};
use crate::audit::record::ChainId;
use crate::audit::segment::{Seal, SegmentError, SegmentReader};
use crate::audit::segment_writer::{SegmentWriter, sync_folder};
use crate::audit::time::Micros;

/// What was cut off a segment is kept under this ending, in case it is wanted.
const CUT: &str = "cut";

/// What was done to what a dead process had left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments that were sealed.
    pub sealed: usize,
    /// Bytes of torn tails that were cut off.
    pub cut_bytes: u64,
    /// Where those of them are kept that were not zeros.
    pub kept: Vec<PathBuf>,
}

/// An error if whole rows stand where a frame does not hold, or behind it.
pub fn refuse_damage(error: SegmentError, chain: ChainId) -> Result<(), SpoolError> {
    match whole_rows_from(&error, chain).map_err(at(&error.path))? {
        Some(behind) => Err(SpoolError::Damaged(Damage { error, behind }.into())),
        None => Ok(()),
    }
}

/// Cuts the torn tail of a segment off and seals it; one without a row is removed.
pub fn recover(
    path: &Path,
    chain: ChainId,
    now: Micros,
    recovery: &mut Recovery,
) -> Result<(), SpoolError> {
    let length = fs::metadata(path).map_err(at(path))?.len();
    let mut reader = match SegmentReader::open(path) {
        Ok(reader) => reader,
        Err(error) if error.fault.is_io() => return Err(error.into()),
        Err(error) => {
            refuse_damage(error, chain)?;
            // Without a header there is no row: it is durable before the first of them.
            keep_tail(path, 0, recovery)?;
            recovery.cut_bytes += length;
            fs::remove_file(path).map_err(at(path))?;
            return Ok(());
        }
    };
    for row in reader.by_ref() {
        match row {
            Ok(_) => {}
            Err(error) if error.fault.is_io() => return Err(error.into()),
            // Here the tail begins.
            Err(error) => {
                refuse_damage(error, chain)?;
                break;
            }
        }
    }
    let good = reader.good_bytes();
    if good < length {
        keep_tail(path, good, recovery)?;
        recovery.cut_bytes += length - good;
    }
    if reader.tree().is_empty() {
        fs::remove_file(path).map_err(at(path))?;
        return Ok(());
    }
    let seal = Seal {
        last: reader.next_seq() - 1,
        rows: reader.tree().len(),
        last_hash: reader.last_hash(),
        merkle_root: reader.tree().root(),
        sealed: now,
        recovered: true,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    if reader.seal().is_some() && good == length {
        // The process died between the seal and the name.
        let sealed = folder.join(sealed_name(reader.header().first, seal.last));
        fs::rename(path, &sealed).map_err(at(path))?;
        sync_folder(folder).map_err(at(folder))?;
    } else {
        let header = reader.header().clone();
        // A seal that is followed by something is written anew.
        let rows_end = reader.rows_end();
        let writer = SegmentWriter::resume(path, header, rows_end).map_err(at(path));
        writer?.seal(&seal).map_err(at(path))?;
    }
    recovery.sealed += 1;
    Ok(())
}

/// Keeps what stands behind the good part of a segment, unless it is zeros: should it be more than what
/// a crash had torn, a person can look at it.
fn keep_tail(path: &Path, good: u64, recovery: &mut Recovery) -> Result<(), SpoolError> {
    let mut file = File::open(path).map_err(at(path))?;
    file.seek(io::SeekFrom::Start(good)).map_err(at(path))?;
    let zeros = BufReader::new(&file).bytes().all(|byte| byte.is_ok_and(|byte| byte == 0));
    if zeros {
        return Ok(());
    }
    let kept = path.with_extension(CUT);
    file.seek(io::SeekFrom::Start(good)).map_err(at(path))?;
    let mut copy = File::create(&kept).map_err(at(&kept))?;
    io::copy(&mut file, &mut copy).map_err(at(&kept))?;
    copy.sync_all().map_err(at(&kept))?;
    recovery.kept.push(kept);
    Ok(())
}
