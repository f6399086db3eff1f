//! The box of both lungs, from a mask that a segmentation model made.
//!
//! The mask is handed in; the box is found on its grid and carried to the input's pixels.
//! This file must never crop in silence where a lung was missing: which images lose a lung depends
//! on the disease, so every fallback is a warning.

use super::geometry::{Geometry, Region};
use super::recipe::LungFallback;
use super::{Warning, WarningCode};

/// The output of a lung-field model for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct LungMask {
    /// Values across.
    pub width: u32,
    /// Values down.
    pub height: u32,
    /// Probability of lung, row by row, 0 to 1.
    pub values: Vec<f32>,
    /// How the model's input relates to the decoded image: [`super::preprocess::Prepared`] of the
    /// segmentation model's own recipe has it.
    pub geometry: Geometry,
}

/// A value at or above this is lung.
const THRESHOLD: f32 = 0.5;
/// A component below this share of the mask is no lung: less than a tenth of what a lung takes of
/// a chest radiograph.
const LEAST_SHARE: f64 = 0.015;
/// The smaller lung is at least this share of the larger; below it the second component is noise.
const LEAST_BALANCE: f64 = 0.2;
/// Room around the box, as a share of its own size, so that the pleura stays in view.
const MARGIN: f64 = 0.04;

/// A box on the mask's grid, ends excluded, and how many values it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Component {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    area: usize,
}

/// The part of the decoded image that holds both lungs, and the warning of a fallback.
pub fn locate(mask: &LungMask, fallback: LungFallback) -> (Region, Option<Warning>) {
    let whole = Region::whole(mask.geometry.input);
    let missing = |text: &str| Some(Warning::new(WarningCode::LungFieldNotFound, text));
    let mut lungs = components(mask);
    lungs.sort_by_key(|component| std::cmp::Reverse(component.area));
    let Some(first) = lungs.first().copied() else {
        return (whole, missing("no lung was found; the whole image was used"));
    };
    let second = lungs.get(1).copied();
    let second = second.filter(|c| c.area as f64 >= LEAST_BALANCE * first.area as f64);
    // One component across the middle is both lungs grown together.
    let middle = mask.width as f64 / 2.0;
    let spans = (first.left as f64) < middle * 0.75 && first.right as f64 > middle * 1.25;
    match (second, fallback) {
        (Some(second), _) => (carried(mask, joined(first, second)), None),
        (None, _) if spans => (carried(mask, first), None),
        (None, LungFallback::Whole) => {
            (whole, missing("one lung was not found; the whole image was used"))
        }
        (None, LungFallback::Mirror) => {
            let width = mask.width as usize;
            let mirrored =
                Component { left: width - first.right, right: width - first.left, ..first };
            let warning = Warning::new(
                WarningCode::LungFieldMirrored,
                "one lung was not found; the other one was mirrored to place the crop",
            );
            (carried(mask, joined(first, mirrored)), Some(warning))
        }
    }
}

fn joined(a: Component, b: Component) -> Component {
    Component {
        left: a.left.min(b.left),
        top: a.top.min(b.top),
        right: a.right.max(b.right),
        bottom: a.bottom.max(b.bottom),
        area: a.area + b.area,
    }
}

/// The box with its margin, in whole pixels of the input.
fn carried(mask: &LungMask, found: Component) -> Region {
    let Geometry { input, output, .. } = mask.geometry;
    let to_output = |x: f64, y: f64| {
        (x * f64::from(output.0) / mask.width as f64, y * f64::from(output.1) / mask.height as f64)
    };
    let across = MARGIN * (found.right - found.left) as f64;
    let down = MARGIN * (found.bottom - found.top) as f64;
    let (left, top) =
        mask.geometry.to_input(to_output(found.left as f64 - across, found.top as f64 - down));
    let (right, bottom) =
        mask.geometry.to_input(to_output(found.right as f64 + across, found.bottom as f64 + down));
    let within = |value: f64, full: u32| value.clamp(0.0, f64::from(full));
    let left = (within(left, input.0).floor() as u32).min(input.0 - 1);
    let top = (within(top, input.1).floor() as u32).min(input.1 - 1);
    let right = (within(right, input.0).ceil() as u32).max(left + 1);
    let bottom = (within(bottom, input.1).ceil() as u32).max(top + 1);
    Region { left, top, width: right - left, height: bottom - top }
}

/// The 4-connected components that are large enough for a lung.
fn components(mask: &LungMask) -> Vec<Component> {
    let (width, height) = (mask.width as usize, mask.height as usize);
    let mut open: Vec<bool> = mask.values.iter().map(|&value| value >= THRESHOLD).collect();
    open.resize(width * height, false);
    let least = ((LEAST_SHARE * (width * height) as f64) as usize).max(1);
    let mut found = Vec::new();
    let mut stack = Vec::new();
    for start in 0..open.len() {
        if !std::mem::take(&mut open[start]) {
            continue;
        }
        let mut component = Component { left: width, top: height, right: 0, bottom: 0, area: 0 };
        stack.push(start);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % width, at / width);
            component.left = component.left.min(x);
            component.right = component.right.max(x + 1);
            component.top = component.top.min(y);
            component.bottom = component.bottom.max(y + 1);
            component.area += 1;
            let neighbours = [
                (x > 0).then(|| at - 1),
                (x + 1 < width).then_some(at + 1),
                (y > 0).then(|| at - width),
                (y + 1 < height).then_some(at + width),
            ];
            for next in neighbours.into_iter().flatten() {
                if std::mem::take(&mut open[next]) {
                    stack.push(next);
                }
            }
        }
        if component.area >= least {
            found.push(component);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask of 20 × 20 over an input of 200 × 200, with lungs at the given boxes.
    fn mask(boxes: &[(usize, usize, usize, usize)]) -> LungMask {
        let mut values = vec![0.0; 400];
        for &(left, top, right, bottom) in boxes {
            for y in top..bottom {
                values[y * 20 + left..y * 20 + right].fill(0.9);
            }
        }
        let geometry = Geometry::new((200, 200), 1.0).resized((20, 20));
        LungMask { width: 20, height: 20, values, geometry }
    }

    #[test]
    fn both_lungs_give_their_box() {
        let (region, warning) =
            locate(&mask(&[(3, 4, 8, 16), (12, 4, 17, 16)]), LungFallback::Mirror);
        assert_eq!(warning, None);
        // 30..170 across and 40..160 down, with 4 % of room on every side.
        assert_eq!(region, Region { left: 24, top: 35, width: 152, height: 130 });
    }

    #[test]
    fn one_lung_is_mirrored_or_the_whole_image_is_kept_with_a_warning() {
        let one = mask(&[(3, 4, 8, 16), (15, 9, 16, 10)]);
        let (region, warning) = locate(&one, LungFallback::Mirror);
        assert_eq!(warning.unwrap().code, WarningCode::LungFieldMirrored);
        assert_eq!(region, Region { left: 24, top: 35, width: 152, height: 130 });
        let (region, warning) = locate(&one, LungFallback::Whole);
        assert_eq!(warning.unwrap().code, WarningCode::LungFieldNotFound);
        assert_eq!(region, Region::whole((200, 200)));
        let (region, warning) = locate(&mask(&[]), LungFallback::Mirror);
        assert_eq!(warning.unwrap().code, WarningCode::LungFieldNotFound);
        assert_eq!(region, Region::whole((200, 200)));
    }

    #[test]
    fn a_mask_of_an_odd_length_or_all_lung_stays_within_the_image() {
        let mut all = mask(&[(0, 0, 20, 20)]);
        assert_eq!(locate(&all, LungFallback::Mirror).0, Region::whole((200, 200)));
        all.values.truncate(7);
        let (region, _) = locate(&all, LungFallback::Mirror);
        assert!(region.left + region.width <= 200 && region.top + region.height <= 200);
    }
}
