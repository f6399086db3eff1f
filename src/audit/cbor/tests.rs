//! Rows there and back, against cbor2 (`tests/audit/reference.json`) and by themselves.
//!
//! This file must never expect bytes that the program itself made.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::record::NO_HASH;

fn reference() -> Value {
    serde_json::from_str(include_str!("../../../tests/audit/reference.json")).unwrap()
}

/// A column as JSON tells it, out of a row that was read.
fn shown(row: &Row, column: &str) -> Value {
    let bytes = row.to_cbor();
    let mut decoder = Decoder::new(&bytes);
    decoder.array().unwrap();
    for name in COLUMNS {
        let value = plain(&mut decoder);
        if name == column {
            return value;
        }
    }
    unreachable!()
}

fn plain(d: &mut Decoder<'_>) -> Value {
    match d.datatype().unwrap() {
        Type::Null => d.null().map(|()| Value::Null).unwrap(),
        Type::String => d.str().unwrap().into(),
        Type::Bytes => serde_json::json!({ "hex": hex::encode(d.bytes().unwrap()) }),
        Type::Array => {
            let n = d.array().unwrap().unwrap();
            (0..n).map(|_| plain(d)).collect::<Vec<_>>().into()
        }
        Type::F16 | Type::F32 | Type::F64 => {
            serde_json::json!({ "float": d.f64().unwrap().to_bits() })
        }
        _ => d.i64().unwrap().into(),
    }
}

/// Python's `float.hex()`.
fn from_hex_float(text: &str) -> f64 {
    match text {
        "nan" => return f64::NAN,
        "inf" => return f64::INFINITY,
        "-inf" => return f64::NEG_INFINITY,
        _ => {}
    }
    let (sign, rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let (mantissa, exponent) = rest.strip_prefix("0x").unwrap().split_once('p').unwrap();
    let (whole, part) = mantissa.split_once('.').unwrap();
    let digits = u64::from_str_radix(&format!("{whole}{part}"), 16).unwrap() as f64;
    let exponent: i32 = exponent.parse::<i32>().unwrap() - 4 * part.len() as i32;
    // In two steps, since the smallest numbers would vanish on the way.
    sign * (digits * 2_f64.powi(exponent / 2)) * 2_f64.powi(exponent - exponent / 2)
}

fn bits(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("float") => {
            let float = from_hex_float(map["float"].as_str().unwrap());
            serde_json::json!({ "float": float.to_bits() })
        }
        Value::Array(values) => values.iter().map(bits).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[test]
fn rows_of_another_implementation_are_read_and_written_the_same() {
    let reference = reference();
    let rows = reference["rows"].as_array().unwrap();
    assert!(rows.len() >= 5);
    let mut previous = NO_HASH;
    for expected in rows {
        let bytes = hex::decode(expected["cbor"].as_str().unwrap()).unwrap();
        let row = Row::from_cbor(&bytes).unwrap();
        assert_eq!(hex::encode(row.to_cbor()), expected["cbor"].as_str().unwrap());
        assert_eq!(row.hash().to_string(), expected["hash"].as_str().unwrap());
        assert_eq!(row.link.prev_hash, previous);
        previous = row.hash();
        let columns = expected["columns"].as_object().unwrap();
        assert_eq!(columns.keys().collect::<Vec<_>>().len(), COLUMNS.len());
        for (column, value) in columns {
            assert_eq!(shown(&row, column), bits(value), "{column}");
        }
    }
    let full = Row::from_cbor(&hex::decode(rows[1]["cbor"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(full.record.route, Some(Route::Champion));
    assert_eq!(full.record.statistics.unwrap().bits, 12);
    assert_eq!(full.record.embedding.len(), 8);
}

#[test]
fn merkle_roots_are_those_of_another_implementation() {
    let reference = reference();
    let leaves: Vec<Digest> = (0..13_u8).map(|n| Digest::of(&[n])).collect();
    for (n, root) in reference["roots"].as_array().unwrap().iter().enumerate() {
        let tree: crate::audit::MerkleTree = leaves[..n].iter().collect();
        assert_eq!(tree.root().to_string(), root.as_str().unwrap(), "{n} leaves");
    }
}

#[test]
fn what_is_no_row_is_told_by_its_column() {
    let reference = reference();
    let good = hex::decode(reference["rows"][1]["cbor"].as_str().unwrap()).unwrap();
    for end in 0..good.len() {
        assert!(Row::from_cbor(&good[..end]).is_err(), "{end}");
    }
    let long = [good.as_slice(), &[0]].concat();
    assert_eq!(Row::from_cbor(&long).unwrap_err().problem, "1 bytes too many");
    let at = good.windows(8).position(|w| w == b"champion").unwrap();
    let mut other = good.clone();
    other[at] = b'C';
    assert_eq!(Row::from_cbor(&other).unwrap_err().column, "route");
    // A list that claims more than there is costs nothing.
    let mut claims = good[..2].to_vec();
    claims.extend([0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(Row::from_cbor(&claims).unwrap_err().column, "audit_id");
}

proptest! {
    #[test]
    fn a_number_takes_the_shortest_form_and_reads_back(bits in any::<u64>(), narrow in any::<u32>(), half in any::<u16>()) {
        for value in [f64::from_bits(bits), f64::from(f32::from_bits(narrow)), f16::from_bits(half).to_f64()] {
            let mut bytes = Vec::new();
            float(&mut Encoder::new(&mut bytes), value).unwrap();
            let back = Decoder::new(&bytes).f64().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || (value.is_nan() && bytes == [0xf9, 0x7e, 0]));
            let fits_half = f16::from_f64(value).to_f64() == value || value.is_nan();
            let fits_single = f64::from(value as f32) == value;
            let shortest = if fits_half { 3 } else if fits_single { 5 } else { 9 };
            prop_assert_eq!(bytes.len(), shortest);
        }
    }

    #[test]
    fn damage_is_an_error_or_another_row_and_never_a_panic(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let reference = reference();
        let mut bytes = hex::decode(reference["rows"][2]["cbor"].as_str().unwrap()).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(row) = Row::from_cbor(&bytes) {
            let _ = row.to_cbor();
        }
    }
}
