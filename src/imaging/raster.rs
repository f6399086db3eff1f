//! An image in memory: grey or RGB samples, row by row, with the range they nominally cover.
//!
//! Decoders make it, the steps of a recipe turn one into another.
//! A raster must never hold a sample count that differs from width × height × channels.

/// Samples, row by row from the top left, the channels of a pixel side by side.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 8 bits a sample.
    U8(Vec<u8>),
    /// 16 bits a sample.
    U16(Vec<u16>),
    /// Anything else: modality values, stretched or scaled samples.
    F32(Vec<f32>),
}

impl Samples {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        match self {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len(),
            Samples::F32(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A raster that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RasterError {
    /// A side is 0.
    #[error("an image of {width} × {height} pixels has no pixel")]
    Empty {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The samples do not fill the raster.
    #[error(
        "{width} × {height} pixels of {channels} channel(s) need {needed} samples, not {found}"
    )]
    Length {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Channels.
        channels: usize,
        /// Samples that there ought to be.
        needed: u64,
        /// Samples that there are.
        found: u64,
    },
}

/// A grey (one channel) or colour (three channels, or a replicated grey) image.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    width: u32,
    height: u32,
    channels: usize,
    samples: Samples,
    range: (f32, f32),
}

impl Raster {
    /// A raster of `samples` whose black and white nominally lie at `range`.
    ///
    /// # Errors
    /// [`RasterError`] if a side is 0 or the samples are not width × height × channels.
    pub fn new(
        (width, height): (u32, u32),
        channels: usize,
        samples: Samples,
        range: (f32, f32),
    ) -> Result<Self, RasterError> {
        if width == 0 || height == 0 {
            return Err(RasterError::Empty { width, height });
        }
        let needed = u64::from(width) * u64::from(height) * channels as u64;
        if samples.len() as u64 != needed {
            let found = samples.len() as u64;
            return Err(RasterError::Length { width, height, channels, needed, found });
        }
        Ok(Self { width, height, channels, samples, range })
    }

    /// An 8-bit raster, 0 black and 255 white.
    ///
    /// # Errors
    /// As [`Raster::new`].
    pub fn from_u8(size: (u32, u32), channels: usize, v: Vec<u8>) -> Result<Self, RasterError> {
        Self::new(size, channels, Samples::U8(v), (0.0, 255.0))
    }

    /// Other samples for the same pixels, `channels` of them a pixel.
    pub(crate) fn with_samples(
        &self,
        channels: usize,
        samples: Samples,
        range: (f32, f32),
    ) -> Self {
        debug_assert_eq!(samples.len() / channels, self.samples.len() / self.channels);
        Self { channels, samples, range, ..*self }
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// (width, height) in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Samples a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The samples.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The samples, taken out.
    pub fn into_samples(self) -> Samples {
        self.samples
    }

    /// What black and white nominally are; samples may lie outside after a lossy step.
    pub fn range(&self) -> (f32, f32) {
        self.range
    }

    /// Every sample as f32, unchanged in value.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.samples {
            Samples::U8(v) => v.iter().map(|&s| f32::from(s)).collect(),
            Samples::U16(v) => v.iter().map(|&s| f32::from(s)).collect(),
            Samples::F32(v) => v.clone(),
        }
    }

    /// The part that `region` names, copied.
    pub(crate) fn cropped(&self, region: crate::imaging::Region) -> Self {
        let samples = match &self.samples {
            Samples::U8(v) => Samples::U8(self.crop_samples(v, region)),
            Samples::U16(v) => Samples::U16(self.crop_samples(v, region)),
            Samples::F32(v) => Samples::F32(self.crop_samples(v, region)),
        };
        Self { width: region.width, height: region.height, samples, ..*self }
    }

    fn crop_samples<T: Copy>(&self, from: &[T], region: crate::imaging::Region) -> Vec<T> {
        let row = self.width as usize * self.channels;
        let start = region.left as usize * self.channels;
        let length = region.width as usize * self.channels;
        let first = region.top as usize;
        let mut to = Vec::with_capacity(length * region.height as usize);
        for line in from.chunks_exact(row).skip(first).take(region.height as usize) {
            to.extend_from_slice(&line[start..start + length]);
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::Region;

    #[test]
    fn refuses_what_is_no_image_and_crops_what_is() {
        assert!(Raster::from_u8((0, 2), 1, vec![]).is_err());
        let error = Raster::from_u8((2, 2), 3, vec![0; 4]).unwrap_err().to_string();
        assert!(error.contains("need 12 samples, not 4"), "{error}");
        let raster = Raster::from_u8((3, 2), 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let part = raster.cropped(Region { left: 1, top: 1, width: 2, height: 1 });
        assert_eq!(part, Raster::from_u8((2, 1), 1, vec![5, 6]).unwrap());
    }
}
