//! What a file may cost, decided from its header before anything is allocated for its pixels.
//!
//! This file must never look at pixels: only at numbers that a header claims.

use serde::{Deserialize, Serialize};

use super::decode::Header;
use super::error::DecodeError;

/// Bounds on one file. A file beyond any of them is refused before its pixels are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeLimits {
    /// Bytes of the file. 64 MiB by default.
    pub max_bytes: u64,
    /// Pixels of one frame. 64 million by default: a mammogram has up to 24 million.
    pub max_pixels: u64,
    /// Pixels across and down. 20,000 by default.
    pub max_side: u32,
    /// Frames that a file may claim; only one of them is decoded. 4,096 by default.
    pub max_frames: u32,
    /// Bytes of one frame once decoded: pixels × channels × bytes a sample. 256 MiB by default: a
    /// mammogram of 24 million pixels has 48 million bytes.
    pub max_frame_bytes: u64,
    /// Decoded bytes of one frame for each byte of the file. 2,000 by default: deflate reaches
    /// 1,032 at most, so that only a file that cannot hold what it claims is beyond it.
    pub max_ratio: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_pixels: 64_000_000,
            max_side: 20_000,
            max_frames: 4_096,
            max_frame_bytes: 256 << 20,
            max_ratio: 2_000,
        }
    }
}

/// What a header claims about one frame and the file around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub width: u32,
    pub height: u32,
    pub frames: u32,
    /// Bytes that one decoded frame takes.
    pub frame_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl DecodeLimits {
    /// Refuses a file of `bytes` bytes if it is empty or too long.
    pub(crate) fn check_length(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        within("max_bytes", "bytes", bytes.len() as u64, self.max_bytes)
    }

    /// Refuses a still image if its header claims more than a limit allows.
    pub(crate) fn check_still(&self, header: &Header, bytes: &[u8]) -> Result<(), DecodeError> {
        self.check_claim(Claim {
            width: header.width,
            height: header.height,
            frames: 1,
            frame_bytes: header.estimated_bytes,
            file_bytes: bytes.len() as u64,
        })
    }

    /// Refuses what the header claims if it is beyond a limit.
    pub(crate) fn check_claim(&self, claim: Claim) -> Result<(), DecodeError> {
        let Claim { width, height, frames, frame_bytes, file_bytes } = claim;
        within("max_side", "pixels across", width.into(), self.max_side.into())?;
        within("max_side", "pixels down", height.into(), self.max_side.into())?;
        let pixels = u64::from(width) * u64::from(height);
        within("max_pixels", "pixels", pixels, self.max_pixels)?;
        within("max_frames", "frames", frames.into(), self.max_frames.into())?;
        within("max_frame_bytes", "decoded bytes", frame_bytes, self.max_frame_bytes)?;
        // Headers alone take some bytes, so that an icon never trips over this.
        let held = file_bytes.max(1_024);
        within("max_ratio", "decoded bytes a byte of the file", frame_bytes / held, self.max_ratio)
    }
}

fn within(
    limit: &'static str,
    unit: &'static str,
    found: u64,
    allowed: u64,
) -> Result<(), DecodeError> {
    if found > allowed {
        return Err(DecodeError::Limit { limit, unit, found, allowed });
    }
    Ok(())
}
