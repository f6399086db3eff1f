//! A network's class activation map, on the network's input and on the image that was sent.
//!
//! The map comes as a coarse grid over the network's input; [`Geometry`] says which part of the
//! image that input shows, so that crop and resize are undone. Between the centres of the grid's
//! cells it is interpolated linearly; beyond the outermost centres it keeps their value; what the
//! network did not see has no relevance.
//! This file must never stretch a map that is zero: it stays zero and says so.

use super::geometry::Geometry;

/// Relevance over a network's input, 0 to 1, relative to the map's own largest value.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    width: usize,
    height: usize,
    values: Vec<f32>,
    is_zero: bool,
}

impl Heatmap {
    /// The map of `width` × `height` values, row by row. What is below 0 or not finite counts as 0.
    /// `None` unless the values fill the grid.
    pub fn new(width: usize, height: usize, values: &[f32]) -> Option<Self> {
        if width == 0 || height == 0 || values.len() != width.checked_mul(height)? {
            return None;
        }
        let kept = |value: &f32| if value.is_finite() { value.max(0.0) } else { 0.0 };
        let peak = values.iter().map(kept).fold(0.0, f32::max);
        let is_zero = peak <= 0.0;
        let values = match is_zero {
            true => vec![0.0; values.len()],
            false => values.iter().map(|value| kept(value) / peak).collect(),
        };
        Some(Self { width, height, values, is_zero })
    }

    /// Whether no part of the image speaks for the class.
    pub fn is_zero(&self) -> bool {
        self.is_zero
    }

    /// (width, height) of the grid as the network gave it.
    pub fn grid(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The map at the network's input size of (width, height) pixels, row by row.
    pub fn over_network(&self, (width, height): (u32, u32)) -> Vec<f32> {
        let whole = Geometry::new((width, height), 1.0);
        self.over_input(&whole, (width, height))
    }

    /// The map over the image that was sent, drawn at (width, height) pixels, row by row: 0 where
    /// the network did not look.
    pub fn over_input(&self, geometry: &Geometry, (width, height): (u32, u32)) -> Vec<f32> {
        let place = |at: u32, full: u32, input: u32| {
            (f64::from(at) + 0.5) * f64::from(input) / f64::from(full)
        };
        let (out_width, out_height) = (f64::from(geometry.output.0), f64::from(geometry.output.1));
        let columns: Vec<Option<Between>> = (0..width)
            .map(|x| geometry.to_output((place(x, width, geometry.input.0), 0.0)).0 / out_width)
            .map(|share| Between::of(share, self.width))
            .collect();
        let mut map = Vec::with_capacity(width as usize * height as usize);
        for y in 0..height {
            let share =
                geometry.to_output((0.0, place(y, height, geometry.input.1))).1 / out_height;
            let Some(row) = Between::of(share, self.height) else {
                map.resize(map.len() + width as usize, 0.0);
                continue;
            };
            let upper = &self.values[row.low * self.width..][..self.width];
            let lower = &self.values[row.high * self.width..][..self.width];
            map.extend(columns.iter().map(|column| {
                let Some(column) = column else { return 0.0 };
                row.mix(column.mix_of(upper), column.mix_of(lower))
            }));
        }
        map
    }
}

/// Two neighbouring cells and how far it is from the first to the second.
#[derive(Debug, Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    part: f32,
}

impl Between {
    /// Where `share`, 0 to 1 of the whole side, lies among `cells` cells; `None` outside.
    fn of(share: f64, cells: usize) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        let last = cells - 1;
        let at = (share * cells as f64 - 0.5).clamp(0.0, last as f64);
        let low = (at.floor() as usize).min(last);
        Some(Self { low, high: (low + 1).min(last), part: (at - low as f64) as f32 })
    }

    fn mix(self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.part
    }

    fn mix_of(self, cells: &[f32]) -> f32 {
        self.mix(cells[self.low], cells[self.high])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::preprocess::{RunOptions, run};
    use crate::imaging::recipe::Recipe;
    use crate::imaging::{Decoded, Format, Raster};

    #[test]
    fn a_zero_map_stays_zero_and_nothing_else_does() {
        let zero = Heatmap::new(2, 1, &[0.0, -3.0]).unwrap();
        assert!(zero.is_zero());
        assert_eq!(zero.over_network((4, 2)), [0.0; 8]);
        let faint = Heatmap::new(2, 1, &[1e-20, f32::NAN]).unwrap();
        assert!(!faint.is_zero());
        assert_eq!(faint.over_network((2, 1)), [1.0, 0.0]);
        assert!(Heatmap::new(2, 2, &[1.0; 3]).is_none());
        assert!(Heatmap::new(0, 2, &[]).is_none());
    }

    #[test]
    fn values_stand_at_the_centres_of_their_cells() {
        // torch.nn.functional.interpolate([0, 1], size=4, mode="linear", align_corners=False)
        let map = Heatmap::new(2, 1, &[0.0, 1.0]).unwrap();
        assert_eq!(map.over_network((4, 1)), [0.0, 0.25, 0.75, 1.0]);
    }

    /// A grey image with a bright square, and the centre of that square.
    fn planted(size: (u32, u32), left: u32, top: u32, side: u32) -> (Decoded, (f64, f64)) {
        let mut samples = vec![0; (size.0 * size.1) as usize];
        for y in top..top + side {
            let start = (y * size.0 + left) as usize;
            samples[start..start + side as usize].fill(255);
        }
        let raster = Raster::from_u8(size, 1, samples).unwrap();
        let centre = |at: u32| f64::from(at) + f64::from(side) / 2.0;
        (Decoded::plain(Format::Png, raster, 8), (centre(left), centre(top)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// The heat of a map that is the prepared image itself, pooled as a network pools it, lies
        /// on the square in the picture that was sent, whatever was cropped and resized.
        #[test]
        fn a_planted_square_is_found_where_it_was_planted(
            width in 120_u32..400, height in 120_u32..400, crop in any::<bool>(),
            x in 0.0_f64..1.0, y in 0.0_f64..1.0, drawn in 60_u32..300,
        ) {
            let steps = match crop {
                true => r#"{ op = "crop", region = { kind = "center_square" } },"#,
                false => "",
            };
            let recipe: Recipe = toml::from_str(&format!(
                r#"step = [{{ op = "decode", color = "gray" }}, {steps}
                {{ op = "resize", width = 64, height = 64, filter = "bilinear_antialias" }}]"#
            )).unwrap();
            // The square lies within what is kept, two cells of the grid from its edge.
            let kept = if crop { (width.min(height), width.min(height)) } else { (width, height) };
            let side = kept.0.min(kept.1) / 4;
            let place = |at: f64, kept: u32, full: u32| {
                let margin = kept / 4;
                (full - kept) / 2 + margin + (at * f64::from(kept - 2 * margin - side)) as u32
            };
            let (left, top) = (place(x, kept.0, width), place(y, kept.1, height));
            let (image, centre) = planted((width, height), left, top, side);
            let row = run(&recipe, &image, &RunOptions::default()).unwrap();
            let pooled: Vec<f32> = (0..64).map(|cell| {
                let (cx, cy) = (cell % 8 * 8, cell / 8 * 8);
                (0..64).map(|p| row.tensor[(cy + p / 8) * 64 + cx + p % 8]).sum::<f32>() / 64.0
            }).collect();
            let map = Heatmap::new(8, 8, &pooled).unwrap();
            let size = (drawn, (drawn * height / width).max(1));
            let found = map.over_input(&row.geometry, size);
            let (mut mass, mut sum) = (0.0, (0.0, 0.0));
            for (at, value) in found.iter().enumerate() {
                let value = f64::from(*value);
                let scale = |at: usize, full: u32, drawn: u32| {
                    (at as f64 + 0.5) * f64::from(full) / f64::from(drawn)
                };
                mass += value;
                sum.0 += value * scale(at % drawn as usize, width, size.0);
                sum.1 += value * scale(at / drawn as usize, height, size.1);
            }
            // A cell of the grid, in pixels of the picture; half a cell off would be a bug.
            let cell = (f64::from(kept.0) / 8.0, f64::from(kept.1) / 8.0);
            prop_assert!((sum.0 / mass - centre.0).abs() < 0.2 * cell.0, "{:?} {:?}", sum.0 / mass, centre);
            prop_assert!((sum.1 / mass - centre.1).abs() < 0.2 * cell.1, "{:?} {:?}", sum.1 / mass, centre);
        }
    }

    #[test]
    fn what_the_network_did_not_see_has_no_relevance() {
        let geometry = Geometry::new((40, 20), 1.0);
        let square = geometry.center_square();
        let geometry = geometry.cropped(square).resized((8, 8));
        let map = Heatmap::new(2, 2, &[1.0; 4]).unwrap().over_input(&geometry, (40, 20));
        for (at, value) in map.iter().enumerate() {
            let inside = (10..30).contains(&(at % 40));
            assert_eq!(*value, if inside { 1.0 } else { 0.0 }, "column {}", at % 40);
        }
    }
}
