//! What a model's answer about an image amounts to.
//!
//! This file must never hold a rule: a decision is made where scores are interpreted.

use std::fmt;

/// What is answered about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The positive class, or of several classes the best one, reaches the threshold.
    Positive,
    /// The positive class of a binary model stays below the threshold.
    Negative,
    /// The score lies where the model shall not decide.
    Abstain,
    /// The image is not fit for the model; the warnings say why.
    Rejected,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Decision; 4] =
        [Decision::Positive, Decision::Negative, Decision::Abstain, Decision::Rejected];

    /// The decision as answers and records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Positive => "positive",
            Decision::Negative => "negative",
            Decision::Abstain => "abstain",
            Decision::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
