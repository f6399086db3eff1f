//! Signatures of manifests: Ed25519 (RFC 8032).
//!
//! The key comes from a file (PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it).
//! This file must never show a secret key.

use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// A key that signs manifests.
#[derive(Clone)]
pub struct ManifestKey(SigningKey);

/// A key or a signature that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key's file cannot be read.
    #[error("audit.signing_key_file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file holds no key.
    #[error(
        "audit.signing_key_file {}: an Ed25519 key in PEM is expected; make one by `openssl genpkey \
         -algorithm ed25519 -out FILE`",
        .0.display()
    )]
    NoKey(PathBuf),
    /// The signature is missing, or its key.
    #[error("signature and signing_key belong together")]
    Half,
    /// The signature or its key is in capitals.
    #[error("signature and signing_key are not in lower-case hexadecimal digits")]
    UpperCase,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Wrong,
}

impl std::fmt::Debug for ManifestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManifestKey({})", hex::encode(self.public()))
    }
}

impl ManifestKey {
    /// The key in `file`.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds none.
    pub fn read(file: &Path) -> Result<Self, SigningError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| SigningError::File { path: file.to_owned(), error })?;
        let key = SigningKey::from_pkcs8_pem(&text);
        key.map(Self).map_err(|_| SigningError::NoKey(file.to_owned()))
    }

    /// The key of a seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature of `bytes`, in hexadecimal digits.
    pub(super) fn sign(&self, bytes: &[u8]) -> String {
        hex::encode(self.0.sign(bytes).to_bytes())
    }
}

/// Checks a signature; fine where there is neither key nor signature.
pub(super) fn verify(
    key: Option<&str>,
    signature: Option<&str>,
    bytes: &[u8],
) -> Result<(), SigningError> {
    let (key, signature) = match (key, signature) {
        (None, None) => return Ok(()),
        (Some(key), Some(signature)) => (key, signature),
        _ => return Err(SigningError::Half),
    };
    // One spelling each: what is signed has one form, and so has its signature.
    if [key, signature].iter().any(|text| text.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return Err(SigningError::UpperCase);
    }
    let mut public = [0; 32];
    hex::decode_to_slice(key, &mut public).map_err(|_| SigningError::Wrong)?;
    let mut signed = [0; 64];
    hex::decode_to_slice(signature, &mut signed).map_err(|_| SigningError::Wrong)?;
    let key = VerifyingKey::from_bytes(&public).map_err(|_| SigningError::Wrong)?;
    key.verify_strict(bytes, &Signature::from_bytes(&signed)).map_err(|_| SigningError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, TEST 2.
    #[test]
    fn signs_as_the_standard_does() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let mut bytes = [0; 32];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        let key = ManifestKey::from_seed(bytes);
        assert_eq!(hex::encode(key.public()), public);
        assert_eq!(key.sign(&[0x72]), signature);
        verify(Some(public), Some(signature), &[0x72]).unwrap();
        assert!(verify(Some(public), Some(signature), &[0x73]).is_err());
        let capitals = signature.to_uppercase();
        let refused = verify(Some(public), Some(&capitals), &[0x72]).unwrap_err();
        assert!(matches!(refused, SigningError::UpperCase), "{refused}");
        assert!(verify(Some(&public.to_uppercase()), Some(signature), &[0x72]).is_err());
    }
}
