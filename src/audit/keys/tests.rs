//! Keyed hashes against Python's hmac (`tests/audit/reference.json`), and files of keys.
//!
//! This file must never expect a hash that the program itself made.

use bytes::Bytes;

use super::*;
use crate::domain::DataType;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn ring(text: &str) -> Result<KeyRing, String> {
    KeyRing::parse(text)
}

fn key(id: &str, more: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nsecret = \"{SECRET}\"\n{more}\n")
}

#[test]
fn hashes_are_those_of_another_implementation() {
    let text = include_str!("../../../tests/audit/reference.json");
    let reference: serde_json::Value = serde_json::from_str(text).unwrap();
    let expected = |name: &str| reference["keyed"][name].as_str().unwrap().to_owned();
    let salted = format!("{}[[salt]]\nprincipal = \"anonymous\"\nsalt = \"abcd\"", key("k1", ""));
    let (plain, salted) = (ring(&key("k1", "")).unwrap(), ring(&salted).unwrap());
    let key = plain.at(Micros(0));
    assert_eq!(key.file(b"\x89PNG").to_string(), expected("file"));
    assert_eq!(key.study("S-1").to_string(), expected("study"));
    assert_eq!(plain.principal(key, ANONYMOUS).to_string(), expected("principal"));
    assert_eq!(salted.principal(salted.at(Micros(0)), ANONYMOUS).to_string(), expected("salted"));
    let pixels = Bytes::from_iter(0..16_u8);
    let image = Tensor::new(DataType::Fp32, vec![1, 1, 2, 2], pixels).unwrap();
    let number = Tensor::new(DataType::Int64, vec![1], Bytes::from_static(&[0; 8])).unwrap();
    assert_eq!(key.tensors(std::slice::from_ref(&image), true).to_string(), expected("tensor"));
    assert_eq!(key.tensors(&[image, number], true).to_string(), expected("two_tensors"));
}

#[test]
fn a_key_is_used_from_its_week_on_and_retired_ones_stay() {
    let text = [key("old", ""), key("new", "from_week = \"2026-W49\"")].concat();
    let ring = ring(&text).unwrap();
    let used = |time: &str| ring.at(time.parse().unwrap()).id().to_string();
    assert_eq!(used("2026-11-29T23:59:59.999999Z"), "old");
    assert_eq!(used("2026-11-30T00:00:00Z"), "new");
    assert_eq!(used("2031-01-01"), "new");
    assert_eq!(ring.all().len(), 2);
    // A ring whose first key is of the future uses it all the same: there is no other.
    let future = super::KeyRing::parse(&key("k", "from_week = \"2030-W01\"")).unwrap();
    assert_eq!(future.at(Micros(0)).id().as_str(), "k");
}

#[test]
fn a_wrong_file_is_told_without_its_secrets() {
    let twice = [key("a", ""), key("a", "from_week = \"2026-W49\"")].concat();
    let same =
        [key("a", "from_week = \"2026-W49\""), key("b", "from_week = \"2026-W49\"")].concat();
    let salts = "[[salt]]\nprincipal = \"x\"\nsalt = \"00ff\"\n".repeat(2);
    let salted = [key("a", ""), salts].concat();
    let wrong: [(&str, &str); 9] = [
        ("", "line 1 or near it is not [[key]]"),
        (&salted, "principal x has two salts"),
        ("key = []", "no [[key]]"),
        (&twice, "twice"),
        (&same, "later"),
        ("[[key]]\nid = \"a b\"\nsecret = \"00ff\"", "id"),
        ("[[key]]\nid = \"a\"\nsecret = \"00ff\"", "64 hexadecimal"),
        (
            &format!("[[key]]\nid = \"a\"\nsecret = \"{SECRET}\"\nfrom_week = \"2026-W99\""),
            "2026-W99",
        ),
        (&format!("[[key]]\nid = \"a\"\nsekret = \"{SECRET}\""), "or near it"),
    ];
    for (text, expected) in wrong {
        let problem = ring(text).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains("00ff") && !problem.contains("000102"), "{problem}");
    }
    let shown = format!("{:?}", ring(&key("a", "")).unwrap());
    assert!(!shown.contains("000102") && !shown.contains("[0, 1"), "{shown}");
}

#[test]
fn a_file_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/keys.toml");
    let rings: Vec<KeyRing> = std::thread::scope(|scope| {
        let makers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| KeyRing::read_or_make(&path).unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let hashes: Vec<Digest> = rings.iter().map(|ring| ring.all()[0].study("x")).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "all read one key");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}
