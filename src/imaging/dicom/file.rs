//! From bytes to data elements, bounded before DICOM-rs builds objects from them.
//!
//! A first walk over the headers finds the pixel data and checks that no value is longer than the
//! file, that nesting is shallow and that there are not too many elements; only then are the
//! elements before the pixel data read into an object. Pixel data is never copied.
//! This file must never allocate by a length that a file claims.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::entries;
use flate2::read::DeflateDecoder;

use super::super::{DecodeError, DecodeLimits};
use super::damaged;
use super::syntax::Syntax;
use super::unknown;

/// Sequences within sequences; real objects stay below ten.
pub(super) const MAX_DEPTH: usize = 32;
/// Data elements and items in all: each costs far more memory than its eight bytes in the file.
pub(super) const MAX_ELEMENTS: usize = 400_000;

/// A DICOM file, its pixel data still where it was.
pub(super) struct File<'a> {
    pub syntax: Syntax,
    /// The data elements before the pixel data.
    pub object: InMemDicomObject,
    pub pixel_data: Option<PixelData>,
    /// Media Storage SOP Class UID (0002,0002), where the file meta information has it.
    pub media_sop_class: Option<String>,
    dataset: Cow<'a, [u8]>,
}

/// Where the pixel data lies in the data set.
pub(super) struct PixelData {
    pub vr: VR,
    place: Place,
}

impl PixelData {
    /// Where the pixel data ends, its sequence delimiter included.
    fn end(&self) -> usize {
        match &self.place {
            Place::Native(range) => range.end,
            Place::Encapsulated { offsets, fragments } => {
                fragments.last().unwrap_or(offsets).end + 8
            }
        }
    }
}

enum Place {
    Native(Range<usize>),
    /// The basic offset table and the fragments.
    Encapsulated {
        offsets: Range<usize>,
        fragments: Vec<Range<usize>>,
    },
}

impl<'a> File<'a> {
    pub(super) fn read(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let (meta, syntax, dataset) = open(bytes, limits)?;
        let walk = walk(&dataset, syntax)?;
        let mut object = syntax.read(&dataset[..walk.header_end])?;
        unknown::read_known_sequences(&mut object);
        let media_sop_class = meta.media_sop_class;
        Ok(Self { syntax, object, pixel_data: walk.pixel_data, media_sop_class, dataset })
    }

    /// Samples that lie in the file as they are.
    pub(super) fn native(&self) -> Option<&[u8]> {
        match &self.pixel_data.as_ref()?.place {
            Place::Native(range) => self.dataset.get(range.clone()),
            Place::Encapsulated { .. } => None,
        }
    }

    /// The basic offset table and the fragments.
    pub(super) fn encapsulated(&self) -> Option<(Vec<u32>, Vec<&[u8]>)> {
        let Place::Encapsulated { offsets, fragments } = &self.pixel_data.as_ref()?.place else {
            return None;
        };
        let slice = |range: &Range<usize>| self.dataset.get(range.clone()).unwrap_or_default();
        let words = slice(offsets).as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w));
        Some((words.collect(), fragments.iter().map(slice).collect()))
    }
}

/// All data elements of a file, its pixel data among them.
pub(super) struct WholeFile {
    pub syntax: Syntax,
    /// The transfer syntax's UID.
    pub uid: String,
    pub object: InMemDicomObject,
}

/// Reads every data element, for de-identification.
pub(super) fn whole_dataset(bytes: &[u8], limits: &DecodeLimits) -> Result<WholeFile, DecodeError> {
    let (meta, syntax, dataset) = open(bytes, limits)?;
    // The walk ends at the pixel data; what follows it is bounded the same way.
    let walk = walk(&dataset, syntax)?;
    if let Some(end) = walk.pixel_data.as_ref().map(PixelData::end) {
        self::walk(dataset.get(end..).unwrap_or_default(), syntax)?;
    }
    let mut object = syntax.read(&dataset)?;
    unknown::read_known_sequences(&mut object);
    Ok(WholeFile { syntax, uid: meta.transfer_syntax, object })
}

fn open<'a>(
    bytes: &'a [u8],
    limits: &DecodeLimits,
) -> Result<(Meta, Syntax, Cow<'a, [u8]>), DecodeError> {
    let meta = Meta::read(bytes)?;
    let syntax = Syntax::of(&meta.transfer_syntax)?;
    let rest = bytes.get(meta.end..).unwrap_or_default();
    let dataset = if syntax.deflated {
        Cow::Owned(inflate(rest, bytes.len() as u64, limits)?)
    } else {
        Cow::Borrowed(rest)
    };
    Ok((meta, syntax, unknown::with_defined_lengths(dataset, syntax)))
}

/// What the file meta group (PS3.10, 7.1) says of the rest.
struct Meta {
    transfer_syntax: String,
    media_sop_class: Option<String>,
    end: usize,
}

impl Meta {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let start = 132;
        let body = bytes.get(start..).unwrap_or_default();
        let at = Cell::new(0);
        let broken = || damaged("its file meta information is broken or cut off");
        let source = Counted { inner: Cursor::new(body), at: &at };
        let explicit = entries::EXPLICIT_VR_LITTLE_ENDIAN.erased();
        let mut reader = LazyDataSetReader::new_with_ts(source, &explicit).map_err(|_| broken())?;
        let mut transfer_syntax = None;
        let mut media_sop_class = None;
        let mut next = None;
        loop {
            let here = at.get() as usize;
            // The group ends where another one begins; its own length may lie.
            if next.is_none() && body.get(here..here + 2) != Some(&[2, 0]) {
                break;
            }
            match reader.advance().ok_or_else(broken)?.map_err(|_| broken())? {
                LazyDataToken::ElementHeader(header) => next = Some(header),
                token @ LazyDataToken::LazyValue { .. } => {
                    let header = next.take().ok_or_else(broken)?;
                    let value = at.get() as usize..at.get() as usize + header.len.0 as usize;
                    let value = body.get(value).ok_or_else(broken)?;
                    let uid = || {
                        let text = String::from_utf8_lossy(value);
                        Some(text.trim_end_matches(['\0', ' ']).trim().to_owned())
                    };
                    match header.tag {
                        tags::TRANSFER_SYNTAX_UID => transfer_syntax = uid(),
                        tags::MEDIA_STORAGE_SOP_CLASS_UID => media_sop_class = uid(),
                        _ => {}
                    }
                    token.skip().map_err(|_| broken())?;
                }
                _ => return Err(broken()),
            }
        }
        let transfer_syntax = transfer_syntax
            .ok_or_else(|| damaged("its file meta information names no transfer syntax"))?;
        Ok(Self { transfer_syntax, media_sop_class, end: start + at.get() as usize })
    }
}

/// Inflates a deflated data set (PS3.5 A.5), never beyond what the limits allow.
fn inflate(
    deflated: &[u8],
    file_bytes: u64,
    limits: &DecodeLimits,
) -> Result<Vec<u8>, DecodeError> {
    let allowed = limits
        .max_bytes
        .saturating_mul(4)
        .min(file_bytes.max(1_024).saturating_mul(limits.max_ratio));
    let mut dataset = Vec::new();
    let read = DeflateDecoder::new(deflated).take(allowed + 1).read_to_end(&mut dataset);
    read.map_err(|_| damaged("its deflated data set is broken or cut off"))?;
    if dataset.len() as u64 > allowed {
        return Err(DecodeError::Limit {
            limit: "max_ratio",
            unit: "bytes or more once inflated",
            found: dataset.len() as u64,
            allowed,
        });
    }
    Ok(dataset)
}

pub(super) struct Walk {
    header_end: usize,
    /// Tokens up to there: headers, items, values and delimiters.
    pub elements: usize,
    pixel_data: Option<PixelData>,
}

/// Walks the headers of `dataset` without building anything.
pub(super) fn walk(dataset: &[u8], syntax: Syntax) -> Result<Walk, DecodeError> {
    let at = Cell::new(0);
    let source = Counted { inner: Cursor::new(dataset), at: &at };
    let broken = || damaged("its data elements are broken or cut off");
    let mut reader =
        LazyDataSetReader::new_with_ts(source, &syntax.dataset()).map_err(|_| broken())?;
    let mut depth = 0_usize;
    let mut elements = 0_usize;
    while let Some(token) = reader.advance() {
        elements += 1;
        if elements > MAX_ELEMENTS {
            return Err(damaged(format!("it has more than {MAX_ELEMENTS} data elements")));
        }
        let here = at.get() as usize;
        match token.map_err(|_| broken())? {
            LazyDataToken::PixelSequenceStart if depth == 0 => {
                return encapsulated(reader, dataset, here, elements, syntax);
            }
            LazyDataToken::ElementHeader(header) => {
                let within = dataset.len().saturating_sub(here) as u64;
                if u64::from(header.len.0) > within {
                    return Err(too_long(header.tag, header.len.0, within));
                }
                if depth == 0 && header.tag == tags::PIXEL_DATA {
                    let value = here..here + header.len.0 as usize;
                    let place = Place::Native(value);
                    return Ok(Walk {
                        header_end: here.saturating_sub(syntax.pixel_header_bytes()),
                        elements,
                        pixel_data: Some(PixelData { vr: header.vr, place }),
                    });
                }
            }
            token @ (LazyDataToken::LazyValue { .. } | LazyDataToken::LazyItemValue { .. }) => {
                token.skip().map_err(|_| broken())?;
            }
            LazyDataToken::SequenceStart { .. } => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(damaged(format!("its sequences nest deeper than {MAX_DEPTH}")));
                }
            }
            LazyDataToken::SequenceEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(Walk { header_end: dataset.len(), elements, pixel_data: None })
}

fn too_long(tag: Tag, claimed: u32, left: u64) -> DecodeError {
    let name = if tag == tags::PIXEL_DATA { "the pixel data" } else { "a data element" };
    damaged(format!("{name} {tag} claims {claimed} bytes and {left} are left (cut off?)"))
}

/// The items of encapsulated pixel data (PS3.5 A.4), the first of which is the offset table.
fn encapsulated<S: dicom_parser::StatefulDecode>(
    mut reader: LazyDataSetReader<S>,
    dataset: &[u8],
    start: usize,
    elements: usize,
    syntax: Syntax,
) -> Result<Walk, DecodeError> {
    let cut = || damaged("its pixel data is cut off within a fragment");
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut position = start;
    while let Some(token) = reader.advance() {
        match token.map_err(|_| cut())? {
            LazyDataToken::ItemStart { len } => {
                position += 8;
                let end = position.checked_add(len.0 as usize).ok_or_else(cut)?;
                if end > dataset.len() {
                    return Err(cut());
                }
                items.push(position..end);
                position = end;
                if items.len() > MAX_ELEMENTS {
                    return Err(damaged("its pixel data has too many fragments"));
                }
            }
            token @ LazyDataToken::LazyItemValue { .. } => token.skip().map_err(|_| cut())?,
            LazyDataToken::SequenceEnd => break,
            _ => {}
        }
    }
    let mut items = items.into_iter();
    let offsets = items.next().unwrap_or(position..position);
    Ok(Walk {
        header_end: start.saturating_sub(syntax.pixel_header_bytes()),
        elements,
        pixel_data: Some(PixelData {
            vr: VR::OB,
            place: Place::Encapsulated { offsets, fragments: items.collect() },
        }),
    })
}

/// A source that tells how far it has been read while the parser holds it.
struct Counted<'a> {
    inner: Cursor<&'a [u8]>,
    at: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.at.set(self.inner.position());
        Ok(n)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let position = self.inner.seek(to)?;
        self.at.set(position);
        Ok(position)
    }
}
