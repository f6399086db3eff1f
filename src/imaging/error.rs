//! Why a file cannot be decoded, in words that may be shown to whoever sent it.
//!
//! A message must never quote bytes of the file that could identify a patient: it names fields,
//! counts and limits.

use super::Format;
use super::raster::RasterError;
use crate::domain::{ErrorKind, Fault};

/// A file that is not decoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// There is no byte.
    #[error("the file is empty")]
    Empty,
    /// The bytes are of no kind that is read here.
    #[error("the file is {looks_like}; PNG, JPEG and DICOM are read, whatever the file's name")]
    UnknownFormat {
        /// What the first bytes look like.
        looks_like: &'static str,
    },
    /// The file or what its header claims is beyond a limit.
    #[error("the file has {found} {unit}; {allowed} are allowed (limits.image.{limit})")]
    Limit {
        /// The limit's name in [`super::DecodeLimits`].
        limit: &'static str,
        /// What was counted.
        unit: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        allowed: u64,
    },
    /// The file is animated.
    #[error("the PNG is animated ({frames} frames); send one still image")]
    Animated {
        /// Frames that it claims.
        frames: u32,
    },
    /// The file is broken: cut off, inconsistent or not what the format allows.
    #[error("the {format} file is damaged: {problem}")]
    Damaged {
        /// The format.
        format: Format,
        /// What is wrong.
        problem: String,
    },
    /// The file is valid and uses something that is not decoded here.
    #[error("the {format} file uses {what}, which is not decoded")]
    Unsupported {
        /// The format.
        format: Format,
        /// What it uses.
        what: String,
    },
    /// A DICOM file in a transfer syntax that is not decoded.
    #[error("the DICOM transfer syntax '{name}' ({uid}) is not decoded; send it decompressed")]
    TransferSyntax {
        /// The UID of the transfer syntax.
        uid: String,
        /// Its name in PS3.6.
        name: String,
    },
    /// A DICOM object without an image.
    #[error("the DICOM object ({sop_class}) holds no pixel data; send the image itself")]
    NoPixels {
        /// The SOP class's name in PS3.6, or what is known of it.
        sop_class: String,
    },
    /// The frame that was asked for is not there.
    #[error("frame {asked} was asked for; the file has frames 1 to {frames}")]
    Frame {
        /// The frame, from 1.
        asked: u32,
        /// How many there are.
        frames: u32,
    },
}

impl DecodeError {
    pub(crate) fn damaged(format: Format, problem: impl Into<String>) -> Self {
        Self::Damaged { format, problem: problem.into() }
    }

    pub(crate) fn unsupported(format: Format, what: impl Into<String>) -> Self {
        Self::Unsupported { format, what: what.into() }
    }

    pub(crate) fn raster(format: Format) -> impl Fn(RasterError) -> Self {
        move |error| Self::damaged(format, error.to_string())
    }
}

impl Fault for DecodeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Limit { .. } => ErrorKind::TooLarge,
            Self::UnknownFormat { .. }
            | Self::Animated { .. }
            | Self::Unsupported { .. }
            | Self::TransferSyntax { .. } => ErrorKind::UnsupportedMedia,
            Self::Empty | Self::Damaged { .. } | Self::NoPixels { .. } | Self::Frame { .. } => {
                ErrorKind::InvalidArgument
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "IMAGE_EMPTY",
            Self::UnknownFormat { .. } => "IMAGE_FORMAT_UNKNOWN",
            Self::Limit { .. } => "IMAGE_LIMIT_EXCEEDED",
            Self::Animated { .. } => "IMAGE_ANIMATED",
            Self::Damaged { .. } => "IMAGE_DAMAGED",
            Self::Unsupported { .. } => "IMAGE_FEATURE_UNSUPPORTED",
            Self::TransferSyntax { .. } => "DICOM_TRANSFER_SYNTAX_UNSUPPORTED",
            Self::NoPixels { .. } => "DICOM_WITHOUT_PIXELS",
            Self::Frame { .. } => "IMAGE_FRAME_ABSENT",
        }
    }

    fn field(&self) -> Option<String> {
        Some("image".to_owned())
    }
}
