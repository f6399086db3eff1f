//! One image from its bytes to its answer.
//!
//! decode and prepare → batch → interpret → explain.
//! This file must never wait beyond the request's deadline.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::{ClassScore, Classification, Explanation, ImageTiming, Judged};
use super::decoding::{How, Ready};
use super::lungs::Segmentation;
use super::outputs::{Roles, floats, heatmap};
use super::{ClassifyOptions, ClassifyRequest, Pipeline, PredictError};
use crate::batcher::{BatchAnswer, BatchRequest, Pending, Priority};
use crate::bundle::{Manifest, Task};
use crate::catalog::LoadedVersion;
use crate::domain::{DataType, Decision, Tensor, display_shape};
use crate::imaging::preprocess::{self, Prepared};
use crate::imaging::{Caption, DecodeOptions, Geometry, Raster, overlay};
use crate::pipeline::account::narrow;
use crate::pipeline::decode_pool::Started;
use crate::pipeline::interpret::{Interpretation, RowOutputs, interpret};
use crate::telemetry::{ModelMetrics, Step, TraceContext, TraceStep};

/// The journey of a request's images: what is the same for all of them.
pub struct Journey<'a> {
    pub(super) pipeline: &'a Pipeline,
    version: &'a LoadedVersion,
    manifest: &'a Manifest,
    pub(super) metrics: ModelMetrics,
    roles: Roles,
    pub(super) options: ClassifyOptions,
    segmentation: Option<Segmentation>,
    pub(super) how: Arc<How>,
    pub(super) deadline: Option<Instant>,
    priority: Priority,
    pub(super) trace: TraceContext,
}

impl<'a> Journey<'a> {
    /// What a request asks of a version.
    ///
    /// # Errors
    /// [`PredictError::NoRecipe`], [`PredictError::NoExplanation`], [`PredictError::Option`] or
    /// [`PredictError::Segmentation`].
    pub fn begin(
        pipeline: &'a Pipeline,
        version: &'a LoadedVersion,
        request: &ClassifyRequest,
    ) -> Result<Self, PredictError> {
        let no_recipe =
            || PredictError::NoRecipe { model: version.name.clone(), version: version.version };
        let metrics = version.image_metrics.clone().ok_or_else(no_recipe)?;
        let manifest = version.manifest.as_ref().ok_or_else(no_recipe)?;
        let recipe = manifest.preprocess.clone().ok_or_else(no_recipe)?;
        let options = request.options.clone();
        let mut roles = Roles::of(version, manifest);
        if options.explains() && !roles.explains() {
            let (model, version) = (version.name.clone(), version.version);
            return Err(PredictError::NoExplanation { model, version });
        }
        if !options.explains() {
            roles = roles.without_map();
        }
        if let Some(class) = options.class.as_ref().filter(|c| !manifest.labels.contains(c)) {
            let class: String = class.chars().take(64).flat_map(char::escape_debug).collect();
            let problem = format!("'{class}' is none of {}", manifest.labels.join(", "));
            return Err(PredictError::Option { field: "explain_class".to_owned(), problem });
        }
        let segmentation =
            Segmentation::named_by(&recipe).map(|bundle| Segmentation::resolve(pipeline, bundle));
        let settings = &pipeline.images;
        let gates = manifest.reject.iter().flat_map(|reject| &reject.quality);
        let how = How {
            recipe,
            limits: settings.limits.clone(),
            decode: DecodeOptions {
                frame: options.frame,
                expects: manifest.intended_use.expectation(),
                measure_color: gates.clone().any(|gate| gate.statistic == "color"),
            },
            layout: manifest.model.layout,
            backdrop: options
                .overlay
                .then(|| options.overlay_max_side.unwrap_or(settings.overlay_max_side)),
        };
        Ok(Self {
            pipeline,
            version,
            manifest,
            metrics,
            roles,
            segmentation: segmentation.transpose()?,
            how: Arc::new(how),
            options,
            deadline: request.deadline,
            priority: request.priority,
            trace: request.trace.clone(),
        })
    }

    /// The bundle's word.
    pub fn manifest(&self) -> &Manifest {
        self.manifest
    }

    /// The answer about one file.
    ///
    /// # Errors
    /// What is wrong with it, or why there is no answer now.
    pub async fn of(&self, bytes: Bytes) -> Result<Classification, PredictError> {
        let mut timing = ImageTiming::default();
        let probed = self.probe(bytes).await?;
        let ready = match &self.segmentation {
            None => self.ready(probed, &mut timing).await?,
            Some(segmentation) => self.ready_by(segmentation, probed, &mut timing).await?,
        };
        let Ready { prepared, quality, format } = ready;
        let Prepared {
            tensor: samples, shape, geometry, statistics, mut warnings, backdrop, ..
        } = prepared;
        let network = match self.how.layout {
            preprocess::Layout::Nchw => (shape[2], shape[1]),
            preprocess::Layout::Nhwc => (shape[1], shape[0]),
        };
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let batch = BatchRequest {
            inputs: vec![tensor(self.version, samples, shape)?],
            outputs: self.roles.set(),
            deadline: self.deadline,
            priority: self.priority,
            trace: self.trace.clone(),
            alone: false,
        };
        let answer = within(self.deadline, self.version.batcher().submit(batch)?).await?;
        timing.queue += answer.queue;
        timing.infer += answer.compute.input + answer.compute.infer;
        timing.batch_rows = answer.batch_rows;
        self.metrics.statistics().served(answer.queue, answer.compute);
        self.metrics.statistics().ran(1, answer.compute);

        let begun = self.pipeline.clock.now();
        let outputs = self.roles.row(&answer.outputs);
        let (scores, logits) = (floats(outputs.scores), floats(outputs.logits));
        let ood = floats(outputs.ood).and_then(|values| values.first().copied());
        let row = RowOutputs { scores: scores.as_deref(), logits: logits.as_deref(), ood };
        let found = interpret(self.manifest, &row, &quality);
        timing.interpret = self.stepped(Step::Interpret, TraceStep::Interpret, begun);
        let withheld =
            found.decision == Decision::Rejected && !self.options.include_rejected_scores;
        let class = self.explained(&found);
        let explanation = match (withheld, self.options.explains()) {
            (false, true) => {
                let begun = self.pipeline.clock.now();
                let heatmap = heatmap(outputs.cam, class)
                    .ok_or_else(|| PredictError::Broken("the model gave no map".to_owned()))?;
                timing.explain = self.pipeline.clock.now().saturating_duration_since(begun);
                let explanation = Explanation {
                    class: self.manifest.labels.get(class).cloned().unwrap_or_default(),
                    heatmap,
                    overlay_png: None,
                };
                Some(self.painted(explanation, backdrop, geometry, &mut timing).await?)
            }
            _ => None,
        };
        warnings.splice(0..0, found.rejections.iter().cloned());
        // Once an image, though two statistics may say the same of it.
        let codes: BTreeSet<_> = warnings.iter().map(|warning| warning.code.name()).collect();
        let rejected = found.decision == Decision::Rejected;
        self.metrics.interpreted(self.judged(&found).filter(|_| !rejected), codes.into_iter());
        Ok(Classification {
            decision: found.decision,
            label: (!withheld).then(|| self.manifest.labels.get(found.label).cloned()).flatten(),
            scores: if withheld { Vec::new() } else { self.scores(&found) },
            warnings,
            explanation,
            format,
            size: geometry.input,
            network: (side(network.0), side(network.1)),
            statistics,
            ood: ood.map(f64::from),
            embedding: floats(outputs.embedding).unwrap_or_default(),
            judged: Judged {
                raw: narrow(&found.raw),
                calibrated: narrow(&found.calibrated),
                label: self.manifest.labels.get(found.label).cloned(),
            },
            timing,
        })
    }

    /// The calibrated score that the decision was made on.
    fn judged(&self, found: &Interpretation) -> Option<f64> {
        match self.manifest.task {
            Task::Binary => found.calibrated.last().copied(),
            _ => found.calibrated.get(found.label).copied(),
        }
    }

    /// The place of the class to explain.
    fn explained(&self, found: &Interpretation) -> usize {
        let labels = &self.manifest.labels;
        let asked = self.options.class.as_ref();
        let named = asked.and_then(|class| labels.iter().position(|label| label == class));
        named.unwrap_or(match self.manifest.task {
            Task::Binary => labels.len().saturating_sub(1),
            _ => found.label,
        })
    }

    fn scores(&self, found: &Interpretation) -> Vec<ClassScore> {
        let scores = self.manifest.labels.iter().zip(found.raw.iter().zip(&found.calibrated));
        let mut scores: Vec<ClassScore> = scores
            .map(|(label, (raw, calibrated))| ClassScore {
                label: label.clone(),
                raw: *raw,
                calibrated: *calibrated,
            })
            .collect();
        if let Some(k) = self.options.top_k {
            scores.sort_by(|a, b| b.calibrated.total_cmp(&a.calibrated));
            scores.truncate(k);
        }
        scores
    }

    /// The explanation with its overlay, if that is wanted.
    async fn painted(
        &self,
        mut explanation: Explanation,
        backdrop: Option<Raster>,
        geometry: Geometry,
        timing: &mut ImageTiming,
    ) -> Result<Explanation, PredictError> {
        let Some(backdrop) = backdrop else { return Ok(explanation) };
        let caption = Caption {
            model: format!("{}/{}", self.version.name, self.version.version),
            class: explanation.class.clone(),
            notice: self.manifest.intended_use.notice.clone(),
        };
        // The picture in colour, its map and its file.
        let pixels = u64::from(backdrop.width()) * u64::from(backdrop.height());
        let ask = self.ask(0, pixels.saturating_mul(12));
        let map = explanation.heatmap.clone();
        let clock = Arc::clone(&self.pipeline.clock);
        let work = move |Started { memory, waited }| {
            let begun = clock.now();
            let png = overlay(&backdrop, &geometry, &map, &caption);
            drop(memory);
            (png, waited, begun)
        };
        let (png, waited, begun) = self.pipeline.pool.run(ask, work).await?;
        timing.queue += waited;
        timing.explain += self.stepped(Step::Explain, TraceStep::Explain, begun);
        let png = png.map_err(|error| PredictError::Broken(error.to_string()))?;
        explanation.overlay_png = Some(png.into());
        Ok(explanation)
    }

    fn stepped(&self, step: Step, traced: TraceStep, begun: Instant) -> Duration {
        let ended = self.pipeline.clock.now();
        let took = ended.saturating_duration_since(begun);
        self.metrics.step(step, took);
        self.trace.step(traced, begun, ended);
        took
    }
}

/// A run's answer, as long as it is of use.
///
/// # Errors
/// [`PredictError::DeadlineExceeded`], or as the batcher.
pub async fn within(
    deadline: Option<Instant>,
    pending: Pending,
) -> Result<BatchAnswer, PredictError> {
    Ok(match deadline {
        None => pending.await?,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), pending)
            .await
            .map_err(|_| PredictError::DeadlineExceeded)??,
    })
}

/// One row of a version's only input.
pub fn tensor(
    version: &LoadedVersion,
    samples: Vec<f32>,
    [a, b, c]: [usize; 3],
) -> Result<Tensor, PredictError> {
    struct Samples(Vec<f32>);
    impl AsRef<[u8]> for Samples {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    let shape = vec![1, a, b, c];
    let spec = version.inputs.first();
    if !spec.is_some_and(|spec| spec.datatype == DataType::Fp32 && spec.admits(&shape)) {
        let takes = spec.map_or_else(String::new, |spec| display_shape(&spec.shape));
        let problem = format!(
            "the recipe of {}/{} makes FP32 {}, its model takes {takes}",
            version.name,
            version.version,
            display_shape(&shape)
        );
        return Err(PredictError::Broken(problem));
    }
    Tensor::new(DataType::Fp32, shape, Bytes::from_owner(Samples(samples)))
        .map_err(|error| PredictError::Broken(error.to_string()))
}
