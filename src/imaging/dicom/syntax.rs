//! Transfer syntaxes: which are decoded, by what, and the name of those that are not.
//!
//! This file must never guess: a UID that is not listed is refused by its name.

use dicom_dictionary_std::uids;
use dicom_object::mem::InMemDicomObject;
use dicom_transfer_syntax_registry::{
    TransferSyntax, TransferSyntaxIndex, TransferSyntaxRegistry, entries,
};

use super::super::DecodeError;

/// How the pixel data lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As samples, in the file or in fragments.
    Native,
    /// PS3.5 Annex G.
    Rle,
    /// Each frame deflated by itself (PS3.5 A.4.13).
    DeflatedFrame,
    /// ISO/IEC 10918-1: baseline, extended at 8 and 12 bits, lossless.
    Jpeg,
    /// ISO/IEC 14495-1.
    JpegLs,
    /// ISO/IEC 15444-1.
    Jpeg2000,
}

/// A transfer syntax that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    pub encoding: Encoding,
    pub deflated: bool,
    pub big_endian: bool,
    implicit: bool,
}

impl Syntax {
    /// The syntax of `uid`.
    ///
    /// # Errors
    /// [`DecodeError::TransferSyntax`] with its name in PS3.6.
    pub(super) fn of(uid: &str) -> Result<Self, DecodeError> {
        let explicit =
            |encoding| Self { encoding, deflated: false, big_endian: false, implicit: false };
        match uid {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => {
                Ok(Self { implicit: true, ..explicit(Encoding::Native) })
            }
            uids::EXPLICIT_VR_LITTLE_ENDIAN
            | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => {
                Ok(explicit(Encoding::Native))
            }
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
                Ok(Self { deflated: true, ..explicit(Encoding::Native) })
            }
            // Explicit VR Big Endian, retired from PS3.5 and alive in archives.
            "1.2.840.10008.1.2.2" => Ok(Self { big_endian: true, ..explicit(Encoding::Native) }),
            uids::RLE_LOSSLESS => Ok(explicit(Encoding::Rle)),
            // Deflated Image Frame Compression, younger than the dictionary.
            "1.2.840.10008.1.2.8.1" => Ok(explicit(Encoding::DeflatedFrame)),
            uids::JPEG_BASELINE8_BIT
            | uids::JPEG_EXTENDED12_BIT
            | uids::JPEG_LOSSLESS
            | uids::JPEG_LOSSLESS_SV1 => Ok(explicit(Encoding::Jpeg)),
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Ok(explicit(Encoding::JpegLs)),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Ok(explicit(Encoding::Jpeg2000)),
            _ => {
                let known = TransferSyntaxRegistry.get(uid);
                let name = known.map_or("not in PS3.6", |syntax| syntax.name()).to_owned();
                Err(DecodeError::TransferSyntax { uid: printable(uid, known.is_some()), name })
            }
        }
    }

    /// How DICOM-rs reads the data elements (once inflated).
    pub(super) fn dataset(self) -> TransferSyntax {
        if self.implicit {
            entries::IMPLICIT_VR_LITTLE_ENDIAN.erased()
        } else if self.big_endian {
            entries::EXPLICIT_VR_BIG_ENDIAN.erased()
        } else {
            entries::EXPLICIT_VR_LITTLE_ENDIAN.erased()
        }
    }

    /// Bytes of the header of an element with an OB or OW value.
    pub(super) fn pixel_header_bytes(self) -> usize {
        if self.implicit { 8 } else { 12 }
    }

    /// The UID under which data elements are written again: nothing is deflated.
    pub(super) fn written_uid(self, uid: &str) -> &str {
        if self.deflated { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uid }
    }

    /// Reads data elements that are known to be bounded.
    pub(super) fn read(self, bytes: &[u8]) -> Result<InMemDicomObject, DecodeError> {
        InMemDicomObject::read_dataset_with_ts(bytes, &self.dataset())
            .map_err(|error| super::damaged(format!("its data elements cannot be read ({error})")))
    }
}

/// A UID as a message may have it.
fn printable(uid: &str, is_known: bool) -> String {
    match uid {
        "" => "none".to_owned(),
        // What no list knows may be anything, a date of birth too.
        _ if !is_known => "not shown".to_owned(),
        known => known.to_owned(),
    }
}
