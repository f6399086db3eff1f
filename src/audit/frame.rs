//! Frames: what a segment file is made of.
//!
//! A frame is its payload's length (u32, little-endian), the CRC-32C of kind and payload (u32,
//! little-endian), the kind (u8) and the payload. Frames stand one after the other.
//! This file must never believe a length before its bytes are there.

use std::io::{self, Read};

/// Bytes before a payload.
pub const FRAME_OVERHEAD: usize = 9;
/// Bytes of a payload at most: a row takes some hundreds.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// What the segment is: the first frame.
    Header = 1,
    /// A row.
    Row = 2,
    /// The end: what came before, summed up.
    Seal = 3,
}

impl FrameKind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Header),
            2 => Some(Self::Row),
            3 => Some(Self::Seal),
            _ => None,
        }
    }
}

/// Bytes that are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file ends in the middle.
    #[error("the file ends within a frame")]
    Torn,
    /// A length that no frame has.
    #[error("a frame of {0} bytes, at most {MAX_PAYLOAD} are possible")]
    Length(u32),
    /// The checksum does not hold.
    #[error("the CRC-32C does not hold: {found:08x}, {expected:08x} is written")]
    Checksum {
        /// What the bytes give.
        found: u32,
        /// What the frame says.
        expected: u32,
    },
    /// An unknown kind.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
}

/// Appends a frame, whose payload `write` appends.
pub fn write_frame(bytes: &mut Vec<u8>, kind: FrameKind, write: impl FnOnce(&mut Vec<u8>)) {
    let at = bytes.len();
    bytes.extend_from_slice(&[0; FRAME_OVERHEAD - 1]);
    bytes.push(kind as u8);
    write(bytes);
    let length = u32::try_from(bytes.len() - at - FRAME_OVERHEAD).unwrap_or(u32::MAX);
    let checksum = crc32c::crc32c(&bytes[at + 8..]);
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    bytes[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// The next frame of `reader`; its payload replaces what `payload` holds. `None` at the end.
///
/// # Errors
/// [`FrameError`]; a rest that is shorter than a frame is [`FrameError::Torn`].
pub fn read_frame(
    reader: &mut impl Read,
    payload: &mut Vec<u8>,
) -> Result<Option<FrameKind>, FrameError> {
    let mut head = [0; FRAME_OVERHEAD];
    match read_full(reader, &mut head)? {
        0 => return Ok(None),
        FRAME_OVERHEAD => {}
        _ => return Err(FrameError::Torn),
    }
    let [a, b, c, d, e, f, g, h, kind] = head;
    let (length, expected) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_PAYLOAD);
    let size = size.ok_or(FrameError::Length(length))?;
    payload.clear();
    if reader.take(u64::from(length)).read_to_end(payload)? != size {
        return Err(FrameError::Torn);
    }
    let found = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    if found != expected {
        return Err(FrameError::Checksum { found, expected });
    }
    FrameKind::of(kind).map(Some).ok_or(FrameError::Kind(kind))
}

/// Reads until `bytes` is full or the file ends.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < bytes.len() {
        match reader.read(&mut bytes[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
