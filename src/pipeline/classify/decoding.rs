//! From a file's bytes to a network's input, on the threads of the pool.
//!
//! The header says what decoding claims; the claim is held until the pixels are gone, across the
//! wait for a mask too.
//! This file must never decode on the async runtime.

use std::sync::Arc;

use bytes::Bytes;

use super::PredictError;
use super::answer::ImageTiming;
use super::lungs::Segmentation;
use super::row::Journey;
use crate::imaging::lung_field::LungMask;
use crate::imaging::preprocess::{self, Prepared, RunOptions};
use crate::imaging::recipe::Recipe;
use crate::imaging::{
    DecodeError, DecodeLimits, DecodeOptions, Decoded, Format, ImageQuality, decode, probe,
};
use crate::pipeline::decode_pool::{DecodeAsk, MemoryShare, Started};
use crate::telemetry::{Step, TraceStep};

/// How an image is decoded and prepared, for a thread of the pool.
pub struct How {
    pub recipe: Recipe,
    pub limits: DecodeLimits,
    pub decode: DecodeOptions,
    pub layout: preprocess::Layout,
    pub backdrop: Option<u32>,
}

/// An image that is ready for the network.
pub struct Ready {
    pub prepared: Prepared,
    pub quality: ImageQuality,
    pub format: Format,
}

/// An image that waits for a mask, with the memory that it holds.
struct Halfway {
    decoded: Decoded,
    small: Prepared,
    memory: MemoryShare,
}

/// A file whose header was read.
pub struct Probed {
    bytes: Bytes,
    claim: u64,
}

impl Journey<'_> {
    /// What the file claims by its header.
    pub async fn probe(&self, bytes: Bytes) -> Result<Probed, PredictError> {
        let limits = self.how.limits.clone();
        let file = bytes.clone();
        let header = match Format::sniff(&bytes) {
            // Its data elements are walked, and inflated where they are deflated.
            Ok(Format::Dicom) => tokio::task::spawn_blocking(move || probe(&file, &limits))
                .await
                .map_err(|_| PredictError::Broken("reading a header was cut short".to_owned()))??,
            _ => probe(&file, &limits)?,
        };
        let frame = self.options.frame.filter(|frame| *frame > header.frames);
        if let Some(asked) = frame {
            return Err(DecodeError::Frame { asked, frames: header.frames }.into());
        }
        // What is decoded, and once more as it is shown: a byte or four for each pixel.
        let shown = u64::from(header.width) * u64::from(header.height) * 4;
        Ok(Probed { bytes, claim: header.estimated_bytes.saturating_add(shown) })
    }

    pub fn ask(&self, file_bytes: usize, claim: u64) -> DecodeAsk {
        DecodeAsk { metrics: self.metrics.clone(), file_bytes, claim, deadline: self.deadline }
    }

    /// Decodes and prepares on the pool, in one go.
    pub async fn ready(
        &self,
        file: Probed,
        timing: &mut ImageTiming,
    ) -> Result<Ready, PredictError> {
        let how = Arc::clone(&self.how);
        let ask = self.ask(file.bytes.len(), file.claim);
        let work = move |how: &How| {
            let decoded = how.decoded(&file.bytes)?;
            how.prepared(&decoded, None)
        };
        self.on_the_pool(ask, how, timing, move |how, _memory| work(how)).await
    }

    /// Decodes on the pool, has a mask made, and prepares on the pool.
    pub async fn ready_by(
        &self,
        segmentation: &Segmentation,
        file: Probed,
        timing: &mut ImageTiming,
    ) -> Result<Ready, PredictError> {
        let how = Arc::clone(&self.how);
        let ask = self.ask(file.bytes.len(), file.claim);
        let by = segmentation.clone();
        let halfway = self
            .on_the_pool(ask, how, timing, move |how, memory| {
                let decoded = how.decoded(&file.bytes)?;
                let small = by.prepare(&decoded)?;
                Ok(Halfway { decoded, small, memory })
            })
            .await?;
        let Halfway { decoded, small, memory } = halfway;
        let (mask, answer) = segmentation.mask(small, self.deadline, self.trace.clone()).await?;
        timing.queue += answer.queue;
        timing.infer += answer.compute.input + answer.compute.infer;
        // The memory is held already.
        let (how, ask) = (Arc::clone(&self.how), self.ask(0, 0));
        self.on_the_pool(ask, how, timing, move |how, _nothing| {
            let ready = how.prepared(&decoded, Some(&mask));
            drop((decoded, memory));
            ready
        })
        .await
    }

    async fn on_the_pool<T: Send + 'static>(
        &self,
        ask: DecodeAsk,
        how: Arc<How>,
        timing: &mut ImageTiming,
        work: impl FnOnce(&How, MemoryShare) -> Result<T, PredictError> + Send + 'static,
    ) -> Result<T, PredictError> {
        let clock = Arc::clone(&self.pipeline.clock);
        let work = move |Started { memory, waited }| {
            let begun = clock.now();
            let done = work(&how, memory);
            (done, waited, begun, clock.now())
        };
        let (done, waited, begun, ended) = self.pipeline.pool.run(ask, work).await?;
        let took = ended.saturating_duration_since(begun);
        timing.queue += waited;
        timing.decode += took;
        self.metrics.step(Step::Decode, took);
        self.trace.step(TraceStep::DecodeImage, begun, ended);
        done
    }
}

impl How {
    fn decoded(&self, bytes: &[u8]) -> Result<Decoded, PredictError> {
        Ok(decode(bytes, &self.limits, &self.decode)?)
    }

    fn prepared(&self, decoded: &Decoded, mask: Option<&LungMask>) -> Result<Ready, PredictError> {
        let options = RunOptions {
            layout: self.layout,
            lung_mask: mask,
            keep_quantised: false,
            backdrop: self.backdrop,
        };
        let prepared = preprocess::run(&self.recipe, decoded, &options)?;
        let quality = ImageQuality {
            statistics: prepared.statistics,
            size: prepared.geometry.input,
            color: decoded.color,
        };
        Ok(Ready { prepared, quality, format: decoded.format })
    }
}
