//! Whether a JPEG stream holds all the coded data that its frame header promises.
//!
//! Decoders fill up what is missing, so that a picture whose middle was lost looks whole with a plain
//! lower part. This walks the Huffman codes of ISO/IEC 10918-1 (F.2.2, G.1.2, H.1.2) and counts; no
//! sample is made. Of progressive frames the scans are counted too, since each that is missing costs
//! sharpness alone.
//! This file must never be what decodes a picture, and never refuse a kind of stream that it cannot
//! count.

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    /// All of it is there.
    Whole,
    /// It ends before the frame does.
    Broken,
    /// It cannot be counted: arithmetic coding, a hierarchical frame, or a header that is not understood.
    Unknown,
}

/// A row for each component of the frame header (B.2.2).
struct Component {
    id: u8,
    across: usize,
    down: usize,
    /// By coefficient of the zigzag order: the lowest bit that scans have brought, 255 for none.
    low: [u8; 64],
}

struct Frame {
    kind: u8,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

/// Codes by the next 16 bits: length and value; a length of 0 is no code.
type Table = Vec<(u8, u8)>;

/// Refuses a picture of which coded data are missing. The codes are counted only where its last block
/// repeats one before it, as blocks do that a decoder has filled up; `samples` are rows of `width` pixels of `pixel` samples.
///
/// # Errors
/// What is wrong, in words for the caller.
pub(super) fn check_whole(
    bytes: &[u8],
    samples: &[u8],
    width: usize,
    pixel: usize,
) -> Result<(), &'static str> {
    let row = samples.get(samples.len().saturating_sub(width * pixel)..).unwrap_or_default();
    // What is missing reads as zeros, which make one block after the other alike.
    let visible = (width.saturating_sub(1) % 8 + 1) * pixel;
    let last = row.get(row.len().saturating_sub(visible)..).unwrap_or_default();
    let is_repeated = |blocks: usize| {
        let from = row.len().checked_sub(visible + blocks * 8 * pixel);
        from.and_then(|from| row.get(from..from + visible)).is_none_or(|before| before == last)
    };
    match completeness(bytes, is_repeated(1) || is_repeated(2)) {
        Completeness::Broken => Err("its coded data end before its last block; a part is missing"),
        Completeness::Whole | Completeness::Unknown => Ok(()),
    }
}

/// Counts what is there. `deep` walks the codes, else only markers and scan headers are read.
fn completeness(bytes: &[u8], deep: bool) -> Completeness {
    walk(bytes, deep).unwrap_or(Completeness::Unknown)
}

/// `None` where the stream is not understood.
fn walk(bytes: &[u8], deep: bool) -> Option<Completeness> {
    let (mut at, mut interval) = (2_usize, 0_usize);
    let mut frame: Option<Frame> = None;
    let mut tables: [Table; 8] = Default::default();
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let kind = *bytes.get(at + 1)?;
        if kind == 0xff {
            at += 1;
            continue;
        }
        if kind == 0xd9 {
            return Some(frame?.seen_all());
        }
        if matches!(kind, 0x01 | 0xd0..=0xd8) {
            at += 2;
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
        let segment = bytes.get(at + 4..at + 2 + length)?;
        at += 2 + length;
        match kind {
            0xc0..=0xc3 => frame = Some(Frame::read(kind, segment)?),
            0xc4 => read_tables(segment, &mut tables)?,
            0xc5..=0xcf => return None,
            0xdd => {
                interval = usize::from(u16::from_be_bytes([*segment.first()?, *segment.get(1)?]))
            }
            0xda => {
                let frame = frame.as_mut()?;
                let scan = Scan::read(segment, frame)?;
                let mut bits = Bits { bytes, at, held: 0, count: 0 };
                if deep && !scan.is_refined() {
                    let done = scan.count(frame, &tables, interval, &mut bits)?;
                    if !done {
                        return Some(Completeness::Broken);
                    }
                }
                at = next_marker(bytes, bits.at)?;
            }
            _ => {}
        }
    }
}

impl Frame {
    fn read(kind: u8, segment: &[u8]) -> Option<Self> {
        let &[_, h1, h2, w1, w2, count, ref rest @ ..] = segment else { return None };
        let components = rest
            .as_chunks::<3>()
            .0
            .iter()
            .map(|&[id, sampling, _]| Component {
                id,
                across: usize::from(sampling >> 4),
                down: usize::from(sampling & 15),
                low: [255; 64],
            })
            .collect::<Vec<_>>();
        let sizes =
            components.iter().all(|c| (1..=4).contains(&c.across) && (1..=4).contains(&c.down));
        let (height, width) = (u16::from_be_bytes([h1, h2]), u16::from_be_bytes([w1, w2]));
        // A height of 0 is told later, by a DNL segment.
        let known = sizes && components.len() == usize::from(count) && width > 0 && height > 0;
        known.then(|| Frame { kind, width: width.into(), height: height.into(), components })
    }

    /// Whether the scans brought every component, and of progressive ones each bit of each coefficient.
    fn seen_all(&self) -> Completeness {
        let last = if self.kind == 0xc2 { 64 } else { 1 };
        let whole = self.components.iter().all(|c| c.low[..last].iter().all(|&low| low == 0));
        if whole { Completeness::Whole } else { Completeness::Broken }
    }
}

/// The scan header (B.2.3).
struct Scan {
    /// Place in the frame, table for DC or differences, table for AC.
    parts: Vec<(usize, usize, usize)>,
    first: u8,
    high: u8,
}

impl Scan {
    fn read(segment: &[u8], frame: &mut Frame) -> Option<Self> {
        let count = usize::from(*segment.first()?);
        let &[first, last, approximation] = segment.get(1 + 2 * count..)?.first_chunk::<3>()?;
        let (high, low) = (approximation >> 4, approximation & 15);
        let mut parts = Vec::with_capacity(count);
        for pair in segment.get(1..1 + 2 * count)?.as_chunks::<2>().0 {
            let place = frame.components.iter().position(|component| component.id == pair[0])?;
            parts.push((place, usize::from(pair[1] >> 4) & 3, 4 + (usize::from(pair[1]) & 3)));
            let range = match frame.kind {
                0xc2 => usize::from(first)..usize::from(last).min(63) + 1,
                // Of lossless frames these bytes say the predictor and the point transform.
                _ => 0..1,
            };
            let low = if frame.kind == 0xc2 { low } else { 0 };
            frame.components.get_mut(place)?.low.get_mut(range)?.fill(low);
        }
        Some(Self { parts, first, high })
    }

    /// Whether its codes depend on what earlier scans have brought, or skip over runs of blocks.
    fn is_refined(&self) -> bool {
        self.high > 0
    }

    /// Whether the codes of all its units are there; `None` for a table that is missing.
    fn count(
        &self,
        frame: &Frame,
        tables: &[Table; 8],
        interval: usize,
        bits: &mut Bits<'_>,
    ) -> Option<bool> {
        let progressive = frame.kind == 0xc2;
        if progressive && self.first > 0 {
            return Some(true);
        }
        let unit = if frame.kind == 0xc3 { 1 } else { 8 };
        let most = |side: fn(&Component) -> usize| frame.components.iter().map(side).max();
        let (across, down) = (most(|c| c.across)?, most(|c| c.down)?);
        let (units, blocks): (usize, Vec<_>) = match self.parts.as_slice() {
            // Alone in its scan a component is not padded to whole MCUs (A.2.2).
            [only] => {
                let part = frame.components.get(only.0)?;
                let columns = (frame.width * part.across).div_ceil(across).div_ceil(unit);
                let rows = (frame.height * part.down).div_ceil(down).div_ceil(unit);
                (columns * rows, vec![*only])
            }
            several => {
                let columns = frame.width.div_ceil(across * unit);
                let rows = frame.height.div_ceil(down * unit);
                let blocks = several.iter().flat_map(|part| {
                    let component = frame.components.get(part.0);
                    let copies = component.map_or(0, |c| c.across * c.down);
                    std::iter::repeat_n(*part, copies)
                });
                (columns * rows, blocks.collect())
            }
        };
        let needs = |at: usize| tables.get(at).is_some_and(|table| !table.is_empty());
        let ac = unit == 8 && !progressive;
        if !blocks.iter().all(|&(_, dc, at)| needs(dc) && (!ac || needs(at))) {
            return None;
        }
        for done in 0..units {
            if interval > 0 && done > 0 && done % interval == 0 && !bits.restart() {
                return Some(false);
            }
            for &(_, dc, at) in &blocks {
                let coefficients = if ac { Some(&tables[at]) } else { None };
                if bits.block(&tables[dc], coefficients).is_none() {
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}

/// Huffman tables (B.2.4.2, C.2): DC ones at 0 to 3, AC ones at 4 to 7.
fn read_tables(mut segment: &[u8], tables: &mut [Table; 8]) -> Option<()> {
    while let [id, rest @ ..] = segment {
        let (lengths, rest) = rest.split_first_chunk::<16>()?;
        let count = lengths.iter().map(|&n| usize::from(n)).sum::<usize>();
        let (values, rest) = rest.split_at_checked(count)?;
        let mut table = vec![(0, 0); 1 << 16];
        let (mut code, mut values) = (0_usize, values.iter());
        for (length, &n) in (1_u8..).zip(lengths) {
            for _ in 0..n {
                let step = 1 << (16 - length);
                table.get_mut(code..code + step)?.fill((length, *values.next()?));
                code += step;
            }
        }
        *tables.get_mut(usize::from(id >> 4 & 1) * 4 + usize::from(id & 3))? = table;
        segment = rest;
    }
    Some(())
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

/// Entropy-coded bits up to the next marker, stuffed zeros left out.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 1;
                    0xff
                }
                (Some(0xff), _) | (None, _) => return,
                (Some(&byte), _) => byte,
            };
            self.at += 1;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        self.fill();
        self.count = self.count.checked_sub(bits.into())?;
        Some(())
    }

    fn symbol(&mut self, table: &Table) -> Option<u8> {
        self.fill();
        let window = match self.count {
            16.. => self.held >> (self.count - 16),
            few => self.held << (16 - few),
        };
        let &(length, value) = table.get(usize::from(window as u16))?;
        if length == 0 {
            return None;
        }
        self.count = self.count.checked_sub(length.into())?;
        Some(value)
    }

    /// A data unit: a difference, and the other coefficients where `ac` has their codes.
    fn block(&mut self, dc: &Table, ac: Option<&Table>) -> Option<()> {
        match self.symbol(dc)? {
            // Of 16 bits nothing follows: lossless frames alone have it (H.1.2.2).
            16 => {}
            bits => self.skip(bits)?,
        }
        let Some(ac) = ac else { return Some(()) };
        let mut at = 1;
        while at < 64 {
            let value = self.symbol(ac)?;
            match (value >> 4, value & 15) {
                (15, 0) => at += 16,
                (_, 0) => return Some(()),
                (zeros, bits) => {
                    self.skip(bits)?;
                    at += u32::from(zeros) + 1;
                }
            }
        }
        Some(())
    }

    /// Passes a restart marker; false where none stands.
    fn restart(&mut self) -> bool {
        (self.held, self.count) = (0, 0);
        while self.bytes.get(self.at) == Some(&0xff) && self.bytes.get(self.at + 1) == Some(&0xff) {
            self.at += 1;
        }
        let here = matches!(self.bytes.get(self.at..self.at + 2), Some([0xff, 0xd0..=0xd7]));
        self.at += 2;
        here
    }
}
