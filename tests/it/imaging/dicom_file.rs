//! Small DICOM files made byte by byte, so that a test can break any one of them.

/// Explicit VR little endian.
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// An element in explicit VR little endian.
pub fn element(group: u16, number: u16, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if matches!(vr, "UI" | "OB" | "OW") { 0 } else { b' ' });
    }
    let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.extend(vr.as_bytes());
    if matches!(vr, "OB" | "OW" | "SQ" | "UN" | "UT") {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

/// An unsigned short.
pub fn us(group: u16, number: u16, value: u16) -> Vec<u8> {
    element(group, number, "US", &value.to_le_bytes())
}

/// A text of `vr`.
pub fn text(group: u16, number: u16, vr: &str, value: &str) -> Vec<u8> {
    element(group, number, vr, value.as_bytes())
}

/// A Part 10 file of `syntax` around data elements.
pub fn file(syntax: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    let meta = [
        element(2, 1, "OB", &[0, 1]),
        text(2, 2, "UI", "1.2.840.10008.5.1.4.1.1.1"),
        text(2, 3, "UI", "1.2.3"),
        text(2, 0x10, "UI", syntax),
    ]
    .concat();
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    bytes.extend(element(2, 0, "UL", &(meta.len() as u32).to_le_bytes()));
    bytes.extend(meta);
    bytes.extend(elements.concat());
    bytes
}

/// The Image Pixel module of a grey 8-bit image.
pub fn gray8(rows: u16, columns: u16) -> Vec<Vec<u8>> {
    vec![
        us(0x28, 2, 1),
        text(0x28, 4, "CS", "MONOCHROME2"),
        us(0x28, 0x10, rows),
        us(0x28, 0x11, columns),
        us(0x28, 0x100, 8),
        us(0x28, 0x101, 8),
        us(0x28, 0x102, 7),
        us(0x28, 0x103, 0),
    ]
}

/// A grey 8-bit image with `header` elements before its module and these pixels.
pub fn image(header: Vec<Vec<u8>>, rows: u16, columns: u16, pixels: &[u8]) -> Vec<u8> {
    let mut elements = header;
    elements.extend(gray8(rows, columns));
    elements.push(element(0x7fe0, 0x10, "OB", pixels));
    file(EXPLICIT, &elements)
}

/// Encapsulated pixel data: an empty offset table and these fragments.
pub fn fragments(fragments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff];
    let item = |value: &[u8]| {
        let mut item = vec![0xfe, 0xff, 0x00, 0xe0];
        item.extend((value.len() as u32).to_le_bytes());
        item.extend(value);
        item
    };
    bytes.extend(item(&[]));
    bytes.extend(fragments.iter().flat_map(|fragment| item(fragment)));
    bytes.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    bytes
}
