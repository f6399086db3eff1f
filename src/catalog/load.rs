//! Reads, starts and tests one version.
//!
//! bundle → memory → engines → signature → goldens → batcher. What fails on the way is said with
//! the file and the reason.
//! This file must never touch what is being served.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::version::ServedTensors;
use super::{Catalog, IMAGE_SUFFIX, LoadError, LoadedVersion};
use crate::batcher::{BatchLimits, BatchShape, Batcher, BatcherOptions};
use crate::bundle::{BARE_MODEL, Batching, Bundle, GOLDENS, MANIFEST, Task};
use crate::domain::{ModelName, ModelVersion, Tensor, TensorSpec, checked_elements};
use crate::engine::{
    Engine, EngineError, EngineFactory, OnnxModel, OnnxOptions, OutputSet, Signature, run_tensors,
};

/// Reads, starts and tests one version.
///
/// # Errors
/// What is wrong with it.
pub fn version(
    catalog: &Catalog,
    name: &ModelName,
    version: ModelVersion,
) -> Result<LoadedVersion, LoadError> {
    if name.as_str().ends_with(IMAGE_SUFFIX) {
        return Err(LoadError::ReservedName);
    }
    let folder = catalog.0.settings.directory.join(name.as_str()).join(version.to_string());
    let bundle = Bundle::open(&folder, name, version)?;
    let manifest = bundle.manifest.as_ref();
    let model_file = manifest.map_or(BARE_MODEL, |manifest| manifest.model.file.as_str());
    let model_path = folder.join(model_file);
    let declared_in = if manifest.is_some() { folder.join(MANIFEST) } else { model_path.clone() };
    let engine = |error| LoadError::Engine { path: model_path.clone(), error };
    let signature = |problem| LoadError::Signature { path: declared_in.clone(), problem };

    let batching = manifest.map_or_else(Batching::default, |manifest| manifest.batching);
    let threads = Threads::choose(catalog, &batching);
    let deterministic = catalog.0.settings.deterministic;
    let providers = catalog.0.settings.providers.clone();
    let wanted: Vec<_> = providers.iter().map(|provider| provider.name.name()).collect();
    let options = OnnxOptions { providers, intra_threads: threads.intra, deterministic };
    // Each engine has its own weights; the file's bytes are kept to make an engine anew.
    let copies = u64::try_from(threads.instances).unwrap_or(u64::MAX).saturating_add(1);
    let bytes = u64::try_from(bundle.model.len()).unwrap_or(u64::MAX).saturating_mul(copies);
    let memory = catalog.0.memory.reserve(bytes)?;
    let runtime = Arc::clone(&catalog.0.parts.runtime);
    let model = OnnxModel::new(runtime, Arc::clone(&bundle.model), options);

    let factory: EngineFactory = Arc::new(move || model.load());
    let mut engines = Vec::with_capacity(threads.instances);
    for _ in 0..threads.instances {
        engines.push((factory)().map_err(engine)?);
    }
    let graph = engines.first().map(|engine| engine.signature().clone()).unwrap_or_default();
    let served = ServedTensors::of(&bundle, &graph).map_err(signature)?;
    let mut warmed = None;
    for warming in &mut engines {
        self_test(&bundle, &served, &mut **warming, &folder)?;
        warmed = warm_up(&graph, &mut **warming).map_err(engine)?;
    }
    let max_batch = if deterministic { 1 } else { batching.max_batch };
    let options = BatcherOptions {
        limits: BatchLimits {
            max_batch,
            max_run: Duration::from_millis(batching.max_run_ms),
            queue_rows: catalog.0.settings.queue_rows,
            queue_bytes: catalog.0.settings.queue_bytes,
        },
        threads_per_run: threads.intra,
        shape: served.batch,
    };
    let parts = &catalog.0.parts;
    let metrics = parts.metrics.model(name.as_str(), &version.to_string());
    let thread_name = format!("{name}/{version}");
    let clock = Arc::clone(&parts.clock);
    let permits = &parts.permits;
    // A segmentation is run for other models' recipes and has no label to answer.
    let answers_images =
        manifest.is_some_and(|m| m.preprocess.is_some() && m.task != Task::Segmentation);
    let runs_on = engines.first().map(|engine| engine.provider());
    for missing in wanted.iter().take_while(|wanted| Some(**wanted) != runs_on) {
        metrics.provider_fallback(missing);
    }
    let batcher =
        Batcher::start(&thread_name, engines, &factory, options, permits, clock, metrics.clone())
            .map_err(engine)?;
    if let Some(took) = warmed {
        batcher.expect(served.batch.run_rows(1), took);
    }
    Ok(LoadedVersion {
        name: name.clone(),
        version,
        digest: bundle.digest,
        labels: manifest.map(|m| m.labels.as_slice()).unwrap_or_default().into(),
        manifest: bundle.manifest,
        inputs: served.inputs,
        outputs: served.outputs,
        public: served.public,
        max_batch: match served.batch {
            BatchShape::Free => batching.max_batch,
            BatchShape::Fixed(rows) => rows,
            BatchShape::None => 0,
        },
        image_metrics: answers_images
            .then(|| parts.metrics.model(&format!("{name}{IMAGE_SUFFIX}"), &version.to_string())),
        metrics,
        instances: threads.instances,
        batcher,
        memory,
    })
}

/// Runs one row of zeros, so that the first caller does not pay for what the runtime does once, and a second
/// time to see what it takes. A model whose rows have no fixed size is not warmed up.
fn warm_up(graph: &Signature, engine: &mut dyn Engine) -> Result<Option<Duration>, EngineError> {
    let zeros = |spec: &TensorSpec| {
        let mut shape = spec.shape.clone();
        shape.iter_mut().take(1).for_each(|dim| *dim = if *dim < 0 { 1 } else { *dim });
        let (shape, elements) = checked_elements(&shape).ok()?;
        let bytes = elements.checked_mul(spec.datatype.size()?)?;
        Tensor::new(spec.datatype, shape, vec![0; bytes].into()).ok()
    };
    let Some(inputs) = graph.inputs.iter().map(zeros).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let all = (0..graph.outputs.len()).fold(OutputSet::default(), |set, index| set.with(index));
    run_tensors(engine, &inputs, all)?;
    let begun = Instant::now();
    run_tensors(engine, &inputs, all)?;
    Ok(Some(begun.elapsed()))
}

/// Answers the goldens on an engine that will serve; its first runs are the warm-up too.
fn self_test(
    bundle: &Bundle,
    served: &ServedTensors,
    engine: &mut dyn Engine,
    folder: &Path,
) -> Result<(), LoadError> {
    let Some(goldens) = &bundle.goldens else { return Ok(()) };
    goldens
        .check(|inputs, names| {
            let wanted = outputs_named(served, names)?;
            let inputs = inputs_in_order(served, inputs)?;
            let outputs =
                run_tensors(engine, &inputs, wanted).map_err(|error| error.to_string())?;
            in_order_of(names, served, wanted, outputs)
        })
        .map_err(|error| LoadError::Golden { path: folder.join(GOLDENS), error })
}

fn inputs_in_order(
    served: &ServedTensors,
    mut inputs: Vec<(String, Tensor)>,
) -> Result<Vec<Tensor>, String> {
    served
        .inputs
        .iter()
        .map(|spec| {
            let place = inputs.iter().position(|(name, _)| *name == spec.name);
            let place = place.ok_or_else(|| format!("there is no input '{}'", spec.name))?;
            Ok(inputs.swap_remove(place).1)
        })
        .collect()
}

fn outputs_named(served: &ServedTensors, names: &[&str]) -> Result<OutputSet, String> {
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    distinct.into_iter().try_fold(OutputSet::default(), |set, name| {
        let place = served.outputs.iter().position(|spec| spec.name == name);
        place
            .map(|index| set.with(index))
            .ok_or_else(|| format!("the model has no output '{name}'"))
    })
}

fn in_order_of(
    names: &[&str],
    served: &ServedTensors,
    wanted: OutputSet,
    outputs: Vec<Tensor>,
) -> Result<Vec<Tensor>, String> {
    let have: Vec<&str> = wanted
        .indices()
        .filter_map(|index| served.outputs.get(index))
        .map(|spec| spec.name.as_str())
        .collect();
    names
        .iter()
        .map(|name| {
            let place = have.iter().position(|have| have == name);
            let output = place.and_then(|place| outputs.get(place)).cloned();
            output.ok_or_else(|| format!("the run gave no output '{name}'"))
        })
        .collect()
}

/// Engines of a version and threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Threads {
    instances: usize,
    intra: usize,
}

impl Threads {
    /// The configuration's numbers, else the bundle's, else chosen from the cores.
    fn choose(catalog: &Catalog, batching: &Batching) -> Self {
        let settings = &catalog.0.settings;
        let first = |configured, declared| if configured > 0 { configured } else { declared };
        let instances = first(settings.instances, batching.instances);
        let intra = first(settings.intra_threads, batching.intra_threads);
        Self::from_cores(catalog.0.parts.permits.total(), instances, intra)
    }

    /// Fills in what is 0. Each engine holds its own copy of the weights, so that many cores become
    /// more threads a run before they become more than four engines.
    fn from_cores(cores: usize, instances: usize, intra: usize) -> Self {
        const MOST_ENGINES: usize = 4;
        let cores = cores.max(1);
        match (instances, intra) {
            (0, 0) => {
                let instances = cores.min(MOST_ENGINES);
                Self { instances, intra: cores / instances }
            }
            (0, intra) => Self { instances: (cores / intra).clamp(1, MOST_ENGINES), intra },
            (instances, 0) => Self { instances, intra: (cores / instances).max(1) },
            (instances, intra) => Self { instances, intra },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_fit_the_cores_unless_configured() {
        for cores in 1..=64 {
            let Threads { instances, intra } = Threads::from_cores(cores, 0, 0);
            assert!((1..=4).contains(&instances) && intra >= 1 && instances * intra <= cores);
        }
        let threads = |cores, instances, intra| {
            let threads = Threads::from_cores(cores, instances, intra);
            (threads.instances, threads.intra)
        };
        assert_eq!(threads(8, 0, 0), (4, 2));
        assert_eq!(threads(8, 0, 4), (2, 4));
        assert_eq!(threads(8, 1, 0), (1, 8));
        assert_eq!(threads(2, 0, 16), (1, 16));
        assert_eq!(threads(2, 8, 3), (8, 3));
    }
}
