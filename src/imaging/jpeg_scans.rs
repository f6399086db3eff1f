//! Whether the scans of a JPEG stream bring every coefficient that its frame header promises.
//!
//! A decoder refuses a scan that ends before its last block. One that is missing as a whole it takes for
//! none that was coded: a component stays plain, and a progressive picture lacks sharpness. This reads
//! markers and scan headers (ISO/IEC 10918-1 B.2.2, B.2.3, G.1.1.1) and no coded data.
//! This file must never refuse a kind of stream that it does not understand.

/// A row for each component of the frame header (B.2.2).
struct Component {
    id: u8,
    /// By coefficient of the zigzag order: the lowest bit that scans have brought, 255 for none.
    low: [u8; 64],
}

struct Frame {
    progressive: bool,
    /// Whether a refinement has come without the scan that it refines.
    gap: bool,
    components: Vec<Component>,
}

/// Refuses a picture of which a scan is missing; says whether its end-of-image marker is there, which of a
/// stream that is not understood is believed.
///
/// # Errors
/// What is wrong, in words for the caller.
pub(super) fn check_scans(bytes: &[u8]) -> Result<bool, &'static str> {
    match walk(bytes) {
        Some((false, _)) => Err("a scan of its coded data is missing"),
        Some((true, ended)) => Ok(ended),
        None => Ok(true),
    }
}

/// Whether all was brought, and whether the end is marked; `None` where the stream is not understood.
fn walk(bytes: &[u8]) -> Option<(bool, bool)> {
    let mut at = 2_usize;
    let mut frame: Option<Frame> = None;
    loop {
        let Some(marker) = next_marker(bytes, at) else {
            // What came is what there is.
            return Some((frame?.is_whole(), false));
        };
        let kind = *bytes.get(marker + 1)?;
        if kind == 0xd9 {
            return Some((frame?.is_whole(), true));
        }
        if matches!(kind, 0x01 | 0xd0..=0xd8) {
            at = marker + 2;
            continue;
        }
        let length = bytes.get(marker + 2..marker + 4)?.first_chunk::<2>()?;
        at = marker + 2 + usize::from(u16::from_be_bytes(*length));
        let segment = bytes.get(marker + 4..at)?;
        match kind {
            0xc0..=0xc2 => frame = Some(Frame::read(kind, segment)?),
            // DHT and DAC share the row of the frame headers; other frames are not understood.
            0xc3 | 0xc5..=0xcb | 0xcd..=0xcf => return None,
            0xda => frame.as_mut()?.scan(segment)?,
            _ => {}
        }
    }
}

impl Frame {
    fn read(kind: u8, segment: &[u8]) -> Option<Self> {
        let &[_, _, _, _, _, count, ref rest @ ..] = segment else { return None };
        let rows = rest.as_chunks::<3>().0.iter();
        let components: Vec<_> = rows.map(|&[id, ..]| Component { id, low: [255; 64] }).collect();
        let known = components.len() == usize::from(count);
        known.then_some(Frame { progressive: kind == 0xc2, gap: false, components })
    }

    /// Takes note of what a scan header (B.2.3) brings.
    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        let count = usize::from(*segment.first()?);
        let &[first, last, approximation] = segment.get(1 + 2 * count..)?.first_chunk::<3>()?;
        let range = usize::from(first)..usize::from(last).min(63) + 1;
        let (range, low) = if self.progressive { (range, approximation & 15) } else { (0..1, 0) };
        for pair in segment.get(1..1 + 2 * count)?.as_chunks::<2>().0 {
            let component = self.components.iter_mut().find(|component| component.id == pair[0])?;
            let bits = component.low.get_mut(range.clone())?;
            // A refinement goes on from the bit that the scan before it has brought.
            let refined = if self.progressive { approximation >> 4 } else { 0 };
            self.gap |= refined > 0 && bits.iter().any(|bit| *bit != refined);
            bits.fill(low);
        }
        Some(())
    }

    /// Whether the scans brought every component, and of progressive ones each bit of each coefficient.
    fn is_whole(&self) -> bool {
        let last = if self.progressive { 64 } else { 1 };
        let mut components = self.components.iter();
        !self.gap && components.all(|component| component.low[..last].iter().all(|&low| low == 0))
    }
}

/// The next marker that does not stand within entropy-coded data.
fn next_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}
