//! Elements of every type there and back, and what is refused. This file must never need a server.

use proptest::prelude::*;

use super::*;

fn read_flat(text: &str, datatype: DataType, n: usize) -> Result<Vec<u8>, String> {
    to_bytes(text, datatype, &[n], TextForm::Plain)
}

fn written(datatype: DataType, bytes: &[u8], form: TextForm) -> String {
    serde_json::to_string(&Elements { datatype, bytes, form }).unwrap()
}

/// Whether a bit pattern of this type is a number that JSON has.
fn is_finite(datatype: DataType, bytes: &[u8]) -> bool {
    match datatype {
        DataType::Fp16 => f16::from_le_bytes([bytes[0], bytes[1]]).is_finite(),
        DataType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).is_finite(),
        DataType::Fp32 => f32::from_le_bytes(bytes.try_into().unwrap()).is_finite(),
        DataType::Fp64 => f64::from_le_bytes(bytes.try_into().unwrap()).is_finite(),
        DataType::Bool => bytes[0] < 2,
        _ => true,
    }
}

proptest! {
    #[test]
    fn every_bit_of_every_number_survives_the_text(seed in any::<[u8; 64]>()) {
        for datatype in DataType::ALL {
            let Some(size) = datatype.size() else { continue };
            let bytes: Vec<u8> =
                seed.chunks(size).filter(|bytes| is_finite(datatype, bytes)).flatten().copied().collect();
            let text = written(datatype, &bytes, TextForm::Plain);
            let back = read_flat(&text, datatype, bytes.len() / size);
            prop_assert_eq!(back, Ok(bytes), "{}: {}", datatype, text);
        }
    }

    #[test]
    fn texts_and_bytes_survive_the_text(elements in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut bytes = Vec::new();
        elements.iter().for_each(|element| put_bytes(element, &mut bytes).unwrap());
        let text = written(DataType::Bytes, &bytes, TextForm::Base64);
        let back = to_bytes(&text, DataType::Bytes, &[elements.len()], TextForm::Base64);
        prop_assert_eq!(back.as_ref(), Ok(&bytes));
        let read: Vec<&[u8]> = Strings::new(&bytes).map_while(Result::ok).collect();
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn a_text_of_any_kind_is_answered_not_obeyed(text in ".{0,60}", n in 0_usize..9) {
        for datatype in DataType::ALL {
            if let Ok(bytes) = read_flat(&text, datatype, n) {
                let size = datatype.size().unwrap_or(0);
                prop_assert_eq!(bytes.len(), if size > 0 { n * size } else { bytes.len() });
            }
        }
    }
}

#[test]
fn a_number_is_rounded_once() {
    // Halfway between two neighbours of FP32 and a little above: by way of FP64 it would round down.
    let text = "[1.00000005960464477540]";
    let bytes = read_flat(text, DataType::Fp32, 1).unwrap();
    assert_eq!(bytes, 1.000_000_1_f32.to_le_bytes());
    // Python's repr of an FP32's value in FP64.
    let bytes = read_flat("[0.10000000149011612]", DataType::Fp32, 1).unwrap();
    assert_eq!(bytes, 0.1_f32.to_le_bytes());
}

#[test]
fn arrays_are_flat_or_nested_as_the_shape_is() {
    let read = |text| to_bytes(text, DataType::Uint8, &[2, 3], TextForm::Plain);
    let all = Ok(vec![1, 2, 3, 4, 5, 6]);
    assert_eq!(read("[1,2,3,4,5,6]"), all);
    assert_eq!(read(" [ [1,2,3] ,\n[4,5,6]]"), all);
    for (bad, word) in [
        ("[[1,2],[3,4],[5,6]]", "2 elements came, the shape says 3"),
        ("[[1,2,3]]", "1 arrays came, the shape says 2"),
        ("[[1,2,3],4,5,6]", "invalid type: integer `4`"),
        ("[1,2,3,[4,5,6]]", "invalid type: sequence"),
        ("[[[1,2,3],[4,5,6]]]", "nested 3 deep"),
        ("{}", "not an array"),
    ] {
        let error = read(bad).unwrap_err();
        assert!(error.contains(word), "{bad}: {error}");
    }
    let scalar = to_bytes("[7]", DataType::Int64, &[], TextForm::Plain).unwrap();
    assert_eq!(scalar, 7_i64.to_le_bytes());
    let empty = to_bytes("[[],[]]", DataType::Int64, &[2, 0], TextForm::Plain);
    assert_eq!(empty, Ok(Vec::new()));
}

#[test]
fn what_a_type_cannot_hold_is_refused() {
    for (datatype, text) in [
        (DataType::Uint8, "[256]"),
        (DataType::Uint8, "[-1]"),
        (DataType::Int8, "[128]"),
        (DataType::Int32, "[1.5]"),
        (DataType::Int64, "[9223372036854775808]"),
        (DataType::Uint64, "[18446744073709551616]"),
        (DataType::Fp16, "[65520]"),
        (DataType::Bf16, "[3.4e38]"),
        (DataType::Fp32, "[1e39]"),
        (DataType::Fp64, "[1e309]"),
        (DataType::Fp64, "[\"1\"]"),
        (DataType::Bool, "[1]"),
        (DataType::Bytes, "[1]"),
    ] {
        assert!(read_flat(text, datatype, 1).is_err(), "{datatype} {text}");
    }
    let coded = to_bytes("[\"a\"]", DataType::Bytes, &[1], TextForm::Base64);
    assert!(coded.unwrap_err().contains("not base64"));
    let null = read_flat("[null]", DataType::Fp32, 1).unwrap_err();
    assert!(null.contains("JSON has no NaN"), "{null}");
}

#[test]
fn what_json_has_not_is_null() {
    let bytes: Vec<u8> =
        [f32::NAN, 0.5, f32::NEG_INFINITY].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(written(DataType::Fp32, &bytes, TextForm::Plain), "[null,0.5,null]");
    let half = f16::NAN.to_le_bytes();
    assert_eq!(written(DataType::Fp16, &half, TextForm::Plain), "[null]");
}
