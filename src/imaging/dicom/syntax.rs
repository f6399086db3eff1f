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
    pub implicit: bool,
}

impl Syntax {
    /// Implicit VR Little Endian, which the content of a UN is in (PS3.5 6.2.2).
    pub(super) const IMPLICIT: Self =
        Self { encoding: Encoding::Native, deflated: false, big_endian: false, implicit: true };

    /// The syntax of `uid`.
    ///
    /// # Errors
    /// [`DecodeError::TransferSyntax`] with its name in PS3.6.
    pub(super) fn of(uid: &str) -> Result<Self, DecodeError> {
        let explicit =
            |encoding| Self { encoding, deflated: false, big_endian: false, implicit: false };
        match uid {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => Ok(Self::IMPLICIT),
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
                let known = TransferSyntaxRegistry.get(uid).map(|syntax| syntax.name());
                let known = known.or_else(|| retired(uid));
                let name = known.unwrap_or("not in PS3.6").to_owned();
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

/// The name in PS3.6 Table A-1 of a retired transfer syntax that DICOM-rs has no entry for. Its
/// dictionary cuts these names off at the ampersand.
fn retired(uid: &str) -> Option<&'static str> {
    Some(match uid {
        "1.2.840.10008.1.2.4.52" => "JPEG Extended (Process 3 & 5) (Retired)",
        "1.2.840.10008.1.2.4.53" => {
            "JPEG Spectral Selection, Non-Hierarchical (Process 6 & 8) (Retired)"
        }
        "1.2.840.10008.1.2.4.54" => {
            "JPEG Spectral Selection, Non-Hierarchical (Process 7 & 9) (Retired)"
        }
        "1.2.840.10008.1.2.4.55" => {
            "JPEG Full Progression, Non-Hierarchical (Process 10 & 12) (Retired)"
        }
        "1.2.840.10008.1.2.4.56" => {
            "JPEG Full Progression, Non-Hierarchical (Process 11 & 13) (Retired)"
        }
        "1.2.840.10008.1.2.4.58" => "JPEG Lossless, Non-Hierarchical (Process 15) (Retired)",
        "1.2.840.10008.1.2.4.59" => "JPEG Extended, Hierarchical (Process 16 & 18) (Retired)",
        "1.2.840.10008.1.2.4.60" => "JPEG Extended, Hierarchical (Process 17 & 19) (Retired)",
        "1.2.840.10008.1.2.4.61" => {
            "JPEG Spectral Selection, Hierarchical (Process 20 & 22) (Retired)"
        }
        "1.2.840.10008.1.2.4.62" => {
            "JPEG Spectral Selection, Hierarchical (Process 21 & 23) (Retired)"
        }
        "1.2.840.10008.1.2.4.63" => {
            "JPEG Full Progression, Hierarchical (Process 24 & 26) (Retired)"
        }
        "1.2.840.10008.1.2.4.64" => {
            "JPEG Full Progression, Hierarchical (Process 25 & 27) (Retired)"
        }
        "1.2.840.10008.1.2.4.65" => "JPEG Lossless, Hierarchical (Process 28) (Retired)",
        "1.2.840.10008.1.2.4.66" => "JPEG Lossless, Hierarchical (Process 29) (Retired)",
        "1.2.840.10008.1.20" => "Papyrus 3 Implicit VR Little Endian (Retired)",
        "1.2.840.10008.1.2.6.1" => "RFC 2557 MIME encapsulation (Retired)",
        "1.2.840.10008.1.2.6.2" => "XML Encoding (Retired)",
        _ => return None,
    })
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
