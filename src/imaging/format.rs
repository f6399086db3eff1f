//! Which of the three formats a file has, by its first bytes and never by its name.
//!
//! This file must never trust more than a signature: whether the file holds together is the
//! decoder's finding.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::DecodeError;

/// A format that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Portable Network Graphics (ISO/IEC 15948).
    Png,
    /// JPEG (ISO/IEC 10918-1), in JFIF, Exif or Adobe's clothes.
    Jpeg,
    /// A DICOM Part 10 file (PS3.10).
    Dicom,
}

impl Format {
    /// The format of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], or [`DecodeError::UnknownFormat`] with what the bytes look like.
    pub fn sniff(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Ok(Format::Png);
        }
        if bytes.starts_with(b"\xff\xd8\xff") {
            return Ok(Format::Jpeg);
        }
        if bytes.get(128..132) == Some(b"DICM") {
            return Ok(Format::Dicom);
        }
        Err(DecodeError::UnknownFormat { looks_like: looks_like(bytes) })
    }

    /// The format's name, in lower case, as records and metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Dicom => "dicom",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Png => "PNG",
            Format::Jpeg => "JPEG",
            Format::Dicom => "DICOM",
        })
    }
}

fn looks_like(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(512)];
    let begins = |signature: &[u8]| head.starts_with(signature);
    let text = head.trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        "an HTML page"
    } else if text.starts_with(b"<") {
        "an XML or HTML text"
    } else if begins(b"GIF8") {
        "a GIF image"
    } else if begins(b"BM") {
        "a BMP image"
    } else if begins(b"II*\0") || begins(b"MM\0*") {
        "a TIFF image"
    } else if begins(b"RIFF") {
        "a RIFF file (WebP or sound)"
    } else if begins(b"%PDF") {
        "a PDF document"
    } else if begins(b"PK\x03\x04") {
        "a ZIP archive"
    } else if begins(b"\x1f\x8b") {
        "a gzip file"
    } else if begins(b"\0\0\0\x0cjP  ") || begins(b"\xff\x4f\xff\x51") {
        "a JPEG 2000 image outside DICOM"
    } else if begins(b"\x89PNG") || begins(b"\xff\xd8") {
        "cut off within the signature of an image"
    } else if head.len() < 132 {
        "too short for an image"
    } else {
        "of no known image format (a DICOM file has 'DICM' at byte 128)"
    }
}
