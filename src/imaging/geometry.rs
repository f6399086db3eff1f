//! Which part of the input a tensor shows, so that a map over the tensor can be laid over the
//! input again.
//!
//! This file must never round silently: a region is whole pixels, a mapping is f64.

use serde::{Deserialize, Serialize};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Region {
    /// Pixels left of it.
    pub left: u32,
    /// Pixels above it.
    pub top: u32,
    /// Pixels across, at least 1.
    pub width: u32,
    /// Pixels down, at least 1.
    pub height: u32,
}

impl Region {
    /// All of an image of (width, height) pixels.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// How an output relates to the decoded (and upright) input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Geometry {
    /// (width, height) of the decoded input in pixels, after Exif orientation.
    pub input: (u32, u32),
    /// The part of the input that the output shows.
    pub region: Region,
    /// (width, height) of the output in pixels.
    pub output: (u32, u32),
    /// Height of an input pixel over its width; 1 for square pixels.
    pub pixel_aspect: f64,
}

impl Geometry {
    /// The untouched input.
    pub fn new(input: (u32, u32), pixel_aspect: f64) -> Self {
        Self { input, region: Region::whole(input), output: input, pixel_aspect }
    }

    /// Input pixels for each output pixel, across and down.
    pub fn scale(&self) -> (f64, f64) {
        (
            f64::from(self.region.width) / f64::from(self.output.0),
            f64::from(self.region.height) / f64::from(self.output.1),
        )
    }

    /// The point of the input that the point (x, y) of the output shows. Points are continuous:
    /// the centre of the first pixel is (0.5, 0.5).
    pub fn to_input(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (across, down) = self.scale();
        (f64::from(self.region.left) + x * across, f64::from(self.region.top) + y * down)
    }

    /// The point of the output that shows the point (x, y) of the input.
    pub fn to_output(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (across, down) = self.scale();
        ((x - f64::from(self.region.left)) / across, (y - f64::from(self.region.top)) / down)
    }

    /// The largest centred part of the output that is square in the world, in output pixels.
    pub(crate) fn center_square(&self) -> Region {
        // An output pixel's height over its width: the input's, stretched by the resize so far.
        let (across, down) = self.scale();
        let aspect = self.pixel_aspect * down / across;
        let (width, height) = (f64::from(self.output.0), f64::from(self.output.1));
        let side = width.min(height * aspect);
        let size = |length: f64, full: u32| (length.round() as u32).clamp(1, full);
        let (w, h) = (size(side, self.output.0), size(side / aspect, self.output.1));
        Region { left: (self.output.0 - w) / 2, top: (self.output.1 - h) / 2, width: w, height: h }
    }

    /// The part of the output that shows `region` of the input, as far as it is shown at all.
    pub(crate) fn part_showing(&self, region: Region) -> Region {
        let (left, top) = self.to_output((region.left.into(), region.top.into()));
        let (right, bottom) = self.to_output((
            f64::from(region.left) + f64::from(region.width),
            f64::from(region.top) + f64::from(region.height),
        ));
        let (w, h) = self.output;
        let left = (left.floor().max(0.0) as u32).min(w - 1);
        let top = (top.floor().max(0.0) as u32).min(h - 1);
        let right = (right.ceil().max(0.0) as u32).clamp(left + 1, w);
        let bottom = (bottom.ceil().max(0.0) as u32).clamp(top + 1, h);
        Region { left, top, width: right - left, height: bottom - top }
    }

    /// After a crop of the output to `part`, which is in output pixels.
    ///
    /// A crop before a resize keeps whole pixels exactly; one after it is rounded outwards.
    pub(crate) fn cropped(&self, part: Region) -> Self {
        let (left, top) = self.to_input((part.left.into(), part.top.into()));
        let (right, bottom) = self.to_input((
            f64::from(part.left) + f64::from(part.width),
            f64::from(part.top) + f64::from(part.height),
        ));
        let (left, top) = (left.floor() as u32, top.floor() as u32);
        let right = (right.ceil() as u32).min(self.input.0).max(left + 1);
        let bottom = (bottom.ceil() as u32).min(self.input.1).max(top + 1);
        let region = Region { left, top, width: right - left, height: bottom - top };
        Self { region, output: (part.width, part.height), ..*self }
    }

    /// After a resize of the output.
    pub(crate) fn resized(&self, output: (u32, u32)) -> Self {
        Self { output, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_point_goes_to_the_output_and_back(
            w in 1u32..5000, h in 1u32..5000, out in 1u32..512, x in 0.0f64..1.0, y in 0.0f64..1.0,
        ) {
            let geometry = Geometry::new((w, h), 1.0);
            let square = geometry.center_square();
            prop_assert_eq!(square.width, square.height);
            prop_assert_eq!(square.width, w.min(h));
            let geometry = geometry.cropped(square).resized((out, out));
            prop_assert_eq!(geometry.region, square);
            let point = (x * f64::from(out), y * f64::from(out));
            let back = geometry.to_output(geometry.to_input(point));
            prop_assert!((back.0 - point.0).abs() < 1e-6 && (back.1 - point.1).abs() < 1e-6);
        }
    }

    #[test]
    fn a_centre_square_is_square_in_the_world() {
        // Pixels twice as high as wide: 100 × 100 of them are 100 across and 200 down.
        let square = Geometry::new((100, 100), 2.0).center_square();
        assert_eq!(square, Region { left: 0, top: 25, width: 100, height: 50 });
    }
}
