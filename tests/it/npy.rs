//! `.npy` files that NumPy wrote (`tests/npy/make.py`), and bytes that it did not.

use bytes::Bytes;
use hilum::npy;
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::root;

/// The elements as `expected.json` has them.
fn elements(tensor: &hilum::domain::Tensor) -> Vec<Value> {
    hilum::predict::elements(tensor.datatype, &tensor.data)
}

/// Numbers are equal as numbers: 1 and 1.0 are.
fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found == expected || (found - expected).abs() < 1e-7,
        _ => found == expected,
    }
}

#[test]
fn reads_what_numpy_writes_and_refuses_what_no_model_takes() {
    let folder = root().join("tests/npy");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() > 30);
    for (file, expected) in &expected {
        let read = npy::read(&folder.join(file), 1 << 20);
        if expected.is_null() {
            let error = read.unwrap_err().to_string();
            assert!(error.contains(file.as_str()), "{error}");
            continue;
        }
        let tensor = read.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(expected["datatype"], tensor.datatype.name(), "{file}");
        assert_eq!(expected["shape"], serde_json::json!(tensor.shape), "{file}");
        let (found, wanted) = (elements(&tensor), expected["data"].as_array().unwrap());
        assert_eq!(found.len(), wanted.len(), "{file}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(same(found, wanted), "{file}: {found} is not {wanted}");
        }
    }
}

#[test]
fn a_file_that_is_cut_too_large_or_missing_is_named() {
    let file = root().join("tests/npy/fortran.npy");
    let whole = std::fs::read(&file).unwrap();
    for length in 0..whole.len() {
        assert!(npy::parse(Bytes::copy_from_slice(&whole[..length])).is_err(), "{length}");
    }
    let error = npy::read(&file, whole.len() - 1).unwrap_err().to_string();
    assert!(error.contains("fortran.npy") && error.contains("larger than"), "{error}");
    let error = npy::read(&root().join("none.npy"), 1).unwrap_err().to_string();
    assert!(error.contains("none.npy"), "{error}");
    let image = npy::parse(Bytes::from_static(b"\x89PNG")).unwrap_err();
    assert!(image.contains("not a .npy file"), "{image}");
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(version in 0_u8..4, header in "[{}'(), :a-zA-Z0-9<>|]{0,80}", data: Vec<u8>) {
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        match version {
            1 => file.extend((header.len() as u16).to_le_bytes()),
            _ => file.extend((header.len() as u32).to_le_bytes()),
        }
        file.extend(header.as_bytes());
        file.extend(data);
        let _ = npy::parse(file.into());
    }

    #[test]
    fn any_shape_in_either_order_has_the_elements_in_place(
        shape in proptest::collection::vec(0_usize..5, 0..4), fortran: bool,
    ) {
        let count: usize = shape.iter().product();
        // Element (i, j, k) of value i*10^2 + j*10 + k, stored in the order asked for.
        let mut values = vec![0_i32; count];
        for (at, value) in values.iter_mut().enumerate() {
            let mut rest = at;
            let mut index = vec![0; shape.len()];
            let axes: Vec<usize> =
                if fortran { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
            for axis in axes {
                index[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            *value = index.iter().fold(0, |all, i| all * 10 + *i as i32);
        }
        let dims: Vec<String> = shape.iter().map(|dim| format!("{dim},")).collect();
        let order = if fortran { "True" } else { "False" };
        let header =
            format!("{{'descr': '<i4', 'fortran_order': {order}, 'shape': ({}), }}\n", dims.concat());
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        let tensor = npy::parse(file.into()).unwrap();
        prop_assert_eq!(&tensor.shape, &shape);
        let found: Vec<i32> =
            tensor.data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        for (at, value) in found.iter().enumerate() {
            let mut rest = at;
            let mut expected = 0;
            let mut scale = 1;
            for axis in (0..shape.len()).rev() {
                expected += (rest % shape[axis]) as i32 * scale;
                scale *= 10;
                rest /= shape[axis];
            }
            prop_assert_eq!(*value, expected);
        }
    }
}
