//! Merkle tree roots over row hashes, as RFC 9162 (section 2.1.1) has them.
//!
//! A leaf is `SHA-256(0x00 ‖ row hash)`, a node `SHA-256(0x01 ‖ left ‖ right)`; the left subtree holds
//! the largest power of two of leaves that is smaller than their number. The root of nothing is
//! `SHA-256("")`.
//! This file must never keep the leaves: a tree of any size takes a hash for each of its levels.

use sha2::{Digest as _, Sha256};

use crate::domain::Digest;

/// A tree that grows by a leaf at a time. Cheap to clone: what came before stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MerkleTree {
    /// Roots of the perfect subtrees from the left, each with the logarithm of its leaves; strictly
    /// falling, as the ones of a binary number.
    perfect: Vec<(u32, Digest)>,
    leaves: u64,
}

impl MerkleTree {
    /// Adds the leaf for a row's hash.
    pub fn push(&mut self, row_hash: &Digest) {
        let (mut level, mut root) = (0, hash(0, &[row_hash.as_bytes()]));
        while let Some((_, left)) = self.perfect.pop_if(|(size, _)| *size == level) {
            root = hash(1, &[left.as_bytes(), root.as_bytes()]);
            level += 1;
        }
        self.perfect.push((level, root));
        self.leaves += 1;
    }

    /// How many leaves there are.
    pub const fn len(&self) -> u64 {
        self.leaves
    }

    /// Whether there is no leaf.
    pub const fn is_empty(&self) -> bool {
        self.leaves == 0
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let roots = self.perfect.iter().rev().map(|(_, root)| *root);
        let joined = roots.reduce(|right, left| hash(1, &[left.as_bytes(), right.as_bytes()]));
        joined.unwrap_or_else(|| Digest::of(b""))
    }
}

impl<'a> FromIterator<&'a Digest> for MerkleTree {
    fn from_iter<I: IntoIterator<Item = &'a Digest>>(hashes: I) -> Self {
        let mut tree = Self::default();
        hashes.into_iter().for_each(|hash| tree.push(hash));
        tree
    }
}

fn hash(prefix: u8, parts: &[&[u8; 32]]) -> Digest {
    let mut hasher = Sha256::new().chain_update([prefix]);
    for part in parts {
        hasher.update(part);
    }
    Digest::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9162, section 2.1.1, word by word.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => hash(0, &[leaf.as_bytes()]),
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(k);
                hash(1, &[by_definition(left).as_bytes(), by_definition(right).as_bytes()])
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition(leaves in prop::collection::vec(any::<[u8; 32]>(), 0..200)) {
            let leaves: Vec<Digest> = leaves.into_iter().map(Digest::from_bytes).collect();
            let tree: MerkleTree = leaves.iter().collect();
            prop_assert_eq!(tree.root(), by_definition(&leaves));
            prop_assert_eq!(tree.len(), leaves.len() as u64);
            prop_assert!(tree.perfect.len() <= 8);
        }
    }
}
