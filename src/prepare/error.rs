//! Why a folder cannot be prepared.
//!
//! A message names the option, the list and its line; it must never name an image file.

use crate::imaging::recipe::RecipeError;

/// A preparation that did not begin or did not end.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The recipe makes no sense.
    #[error("the recipe: {0}")]
    Recipe(RecipeError),
    /// There is nothing to write.
    #[error(
        "the recipe has no quantise8 step, so that there is no image to write; add one, or give --max-size"
    )]
    NotQuantised,
    /// Folds need a training and a validation part.
    #[error("--folds {0}: at least 2 are needed")]
    Folds(usize),
    /// The recipe crops by a model that is not there.
    #[error("the recipe crops to the lung field, and no segmentation model was given")]
    NoSegmentation,
    /// A list of the layout is not there.
    #[error("the layout {layout} needs {list} in the source folder")]
    ListMissing {
        /// The layout's name.
        layout: &'static str,
        /// The list's file name.
        list: &'static str,
    },
    /// A list cannot be read.
    #[error("{list} line {line}: {problem}")]
    List {
        /// The list's file name.
        list: &'static str,
        /// The line, from 1.
        line: u64,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The classes do not fit the layout.
    #[error(
        "--classes names {0}; two or more different ones are needed, exactly two where a list says 0 and 1"
    )]
    Classes(usize),
    /// Every image was left out or failed.
    #[error("no image could be prepared ({0}); the lists in the destination are left as they are")]
    NothingPrepared(String),
    /// Another run writes into the destination.
    #[error("another run is at work in the destination; wait for it, or name another folder")]
    Busy,
    /// What was written would be read again.
    #[error(
        "one of SRC and DST lies in the other, so that prepared images would be taken for originals; \
         name a DST beside SRC"
    )]
    Nested,
    /// The source is no folder.
    #[error("the source is no folder that can be read")]
    Source,
    /// The source holds nothing that the layout knows.
    #[error("the source holds no image with a label ({0})")]
    Nothing(&'static str),
    /// The destination was begun with other settings.
    #[error(
        "the destination was begun with another recipe, intended use, key, size or other limits; take \
         another folder, or delete this one"
    )]
    OtherSettings,
    /// The destination cannot be written or read.
    #[error("the destination's {what}: {source}")]
    Destination {
        /// Which file of ours.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads cannot be started.
    #[error("worker threads: {0}")]
    Threads(String),
}

impl PrepareError {
    /// Whether the command line is at fault rather than what it names.
    pub const fn is_usage(&self) -> bool {
        use PrepareError::{Classes, Folds, Nested, NoSegmentation, NotQuantised, Recipe, Source};
        matches!(
            self,
            Recipe(_) | NotQuantised | Folds(_) | NoSegmentation | Classes(_) | Nested | Source
        )
    }

    pub(super) fn destination(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Destination { what, source }
    }
}
