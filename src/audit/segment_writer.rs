//! Writes a segment: header, rows, seal.
//!
//! Rows are written behind what is durable and count once they are synced; what could not be written
//! or synced is cut off again before anything else is written.
//! This file must never call a row durable before `fdatasync` has returned.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::frame::{FrameKind, write_frame};
use super::segment::{Seal, SegmentHeader};
use super::spool::{open_name, sealed_name};

/// A segment that is being written.
#[derive(Debug)]
pub struct SegmentWriter {
    file: File,
    path: PathBuf,
    header: SegmentHeader,
    /// Bytes up to which all is durable.
    durable: u64,
    /// Whether something may stand behind them.
    dirty: bool,
}

impl SegmentWriter {
    /// Begins a segment in `folder`; its header is durable when this returns.
    ///
    /// # Errors
    /// What the operating system says; nothing is left behind then, if that can be.
    pub fn create(folder: &Path, header: SegmentHeader) -> io::Result<Self> {
        let path = folder.join(open_name(header.first));
        let made = || {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).open(&path)?;
            let mut bytes = Vec::new();
            write_frame(&mut bytes, FrameKind::Header, |bytes| header.write(bytes));
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            sync_folder(folder)?;
            Ok((file, bytes.len() as u64))
        };
        match made() {
            Ok((file, durable)) => Ok(Self { file, path, header, durable, dirty: false }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Goes on with the segment at `path`, of which the first `durable` bytes are good.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn resume(path: &Path, header: SegmentHeader, durable: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, path: path.to_owned(), header, durable, dirty: true })
    }

    /// What the segment says of itself.
    pub const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are durable.
    pub const fn durable_bytes(&self) -> u64 {
        self.durable
    }

    /// Writes `frames` and, if `sync`, makes them durable before it returns.
    ///
    /// # Errors
    /// What the operating system says; then none of them counts, and what may stand of them is cut off
    /// before the next.
    pub fn append(&mut self, frames: &[u8], sync: bool) -> io::Result<()> {
        self.cut()?;
        self.dirty = true;
        self.file.write_all_at(frames, self.durable)?;
        if sync {
            self.file.sync_data()?;
        }
        self.durable += frames.len() as u64;
        self.dirty = false;
        Ok(())
    }

    /// Makes durable what was appended without.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Cuts off what an append left behind that failed. After a failed `fdatasync` the kernel has
    /// forgotten which pages were not written: they are dropped with the cut and written anew.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn cut(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.durable)?;
            self.file.sync_all()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Whether the file is still the one that the path names, so that what is written can be found.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn is_there(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the segment; it has its final name when this returns.
    ///
    /// # Errors
    /// What the operating system says; the segment can be written on or sealed again then.
    pub fn seal(&mut self, seal: &Seal) -> io::Result<PathBuf> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, FrameKind::Seal, |bytes| seal.write(bytes));
        self.cut()?;
        let before = self.durable;
        self.append(&bytes, true)?;
        let named = self.name_sealed(seal);
        if named.is_err() {
            self.durable = before;
            self.dirty = true;
        }
        named
    }

    fn name_sealed(&self, seal: &Seal) -> io::Result<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let sealed = folder.join(sealed_name(self.header.first, seal.last));
        fs::rename(&self.path, &sealed)?;
        // Should the name be lost in a crash, the rows and the seal are still there under the old one,
        // and recovery names the file again.
        let _ = sync_folder(folder);
        Ok(sealed)
    }
}

/// Makes names in `folder` durable.
///
/// # Errors
/// What the operating system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
