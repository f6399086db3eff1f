//! Pseudonyms: what takes an identifier's place, the same for the same key and no other way back.
//!
//! HMAC-SHA-256 (RFC 2104) over length-prefixed fields, so that no two lists of fields collide.
//! This file must never print a key, nor make a pseudonym without one.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret of 32 bytes or more. Whoever has it and a list of identifiers can link pseudonyms to
/// them; whoever lacks it cannot.
#[derive(Clone)]
pub struct PseudonymKey(Hmac<Sha256>);

/// A key that is too short to keep anything secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pseudonym key has {0} bytes; at least 32 random bytes are needed")]
pub struct KeyTooShort(usize);

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(…)")
    }
}

impl PseudonymKey {
    /// A key of `secret`'s bytes.
    ///
    /// # Errors
    /// [`KeyTooShort`] below 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyTooShort> {
        let short = || KeyTooShort(secret.len());
        if secret.len() < 32 {
            return Err(short());
        }
        Ok(Self(Hmac::new_from_slice(secret).map_err(|_| short())?))
    }

    /// The 32 bytes for `value` in `domain`, such as `patient`: equal values in two domains have
    /// unrelated pseudonyms.
    pub fn digest(&self, domain: &str, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for field in [domain.as_bytes(), value] {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }

    /// The first 128 bits of [`PseudonymKey::digest`], as 32 hexadecimal digits.
    pub fn text(&self, domain: &str, value: &[u8]) -> String {
        hex::encode(&self.digest(domain, value)[..16])
    }

    /// A DICOM UID below 2.25 (PS3.5 B.2): a version 8 UUID (RFC 9562) as a decimal number.
    pub fn uid(&self, uid: &str) -> String {
        let digest = self.digest("uid", uid.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        format!("2.25.{}", uuid::Builder::from_custom_bytes(bytes).into_uuid().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_key_domain_and_value_and_nothing_else() {
        let key = PseudonymKey::new(&[7; 32]).unwrap();
        let text = key.text("patient", b"4711");
        assert_eq!(text, PseudonymKey::new(&[7; 32]).unwrap().text("patient", b"4711"));
        assert_ne!(text, key.text("patient", b"4712"));
        assert_ne!(text, key.text("study", b"4711"));
        assert_ne!(text, PseudonymKey::new(&[8; 32]).unwrap().text("patient", b"4711"));
        assert!(PseudonymKey::new(b"short").is_err());
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn a_uid_is_valid_and_at_most_64_characters() {
        let uid = PseudonymKey::new(&[1; 32]).unwrap().uid("1.2.3.4");
        assert!(uid.len() <= 64 && uid.starts_with("2.25."), "{uid}");
        assert!(uid[5..].bytes().all(|b| b.is_ascii_digit()) && !uid[5..].starts_with('0'));
    }
}
