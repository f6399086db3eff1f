//! The bare model: one session for each core, run in a loop on the same bytes.
//!
//! This file must never do anything between two runs.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hilum::domain::TensorSpec;
use hilum::engine::{Engine, OnnxModel, OnnxOptions, OutputSet, TensorView, library};

use crate::{Failure, cpu, servers};

/// The model, loaded once for each core.
pub struct Model {
    sessions: Vec<Box<dyn Engine>>,
}

impl Model {
    /// Loads it with one thread for each session, as the service does on so many cores.
    pub fn load(cores: usize) -> Result<Self, Failure> {
        let folder = servers::models().join(servers::MODEL);
        let file = folder.join(servers::champion(&folder)?).join("model.onnx");
        let options = OnnxOptions { providers: Vec::new(), intra_threads: 1, deterministic: false };
        let model = OnnxModel::new(library::load(None)?, std::fs::read(file)?.into(), options);
        let sessions = (0..cores).map(|_| model.load()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { sessions })
    }

    /// Rows over all cores, with `batch` rows a run.
    pub fn rows(&mut self, batch: usize, length: Duration) -> Result<Rows, Failure> {
        let before = cpu::seconds(std::process::id())?;
        let together = Barrier::new(self.sessions.len());
        let rates = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .sessions
                .iter_mut()
                .map(|session| {
                    let together = &together;
                    scope.spawn(move || -> Result<(f64, f64), Failure> {
                        let mut runs = Runs::new(&**session, batch)?;
                        together.wait();
                        let begun = Instant::now();
                        let mut count = 0_u64;
                        while begun.elapsed() < length {
                            runs.run(&mut **session)?;
                            count += 1;
                        }
                        let rows = count as f64 * batch as f64;
                        Ok((rows, rows / begun.elapsed().as_secs_f64()))
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a run panicked".into())))
                .collect::<Result<Vec<_>, Failure>>()
        })?;
        let cpu_seconds = cpu::seconds(std::process::id())? - before;
        Ok(Rows {
            per_second: rates.iter().map(|(_, rate)| rate).sum(),
            per_cpu_second: rates.iter().map(|(rows, _)| rows).sum::<f64>() / cpu_seconds,
        })
    }

    /// The median time of a run of one row on one core, in µs.
    pub fn one_row(&mut self, length: Duration) -> Result<f64, Failure> {
        let session = self.sessions.first_mut().ok_or("there is no session")?;
        let mut runs = Runs::new(&**session, 1)?;
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < length {
            let at = Instant::now();
            runs.run(&mut **session)?;
            times.push(at.elapsed().as_secs_f64() * 1e6);
        }
        Ok(crate::table::median(&mut times))
    }
}

/// What the loop came to.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Rows a second.
    pub per_second: f64,
    /// Rows for a second of CPU time.
    pub per_cpu_second: f64,
}

/// The inputs of one run, kept.
struct Runs {
    inputs: Vec<(TensorSpec, Vec<usize>, Vec<f32>)>,
    outputs: OutputSet,
}

impl Runs {
    fn new(session: &dyn Engine, batch: usize) -> Result<Self, Failure> {
        let mut random = fastrand::Rng::with_seed(1);
        let signature = session.signature();
        let inputs = signature.inputs.iter().map(|spec| {
            let mut shape: Vec<usize> =
                spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
            if let Some(first) = shape.first_mut() {
                *first = batch;
            }
            let elements = (0..shape.iter().product()).map(|_| random.f32()).collect();
            (spec.clone(), shape, elements)
        });
        let outputs = (0..signature.outputs.len()).fold(OutputSet::default(), OutputSet::with);
        Ok(Self { inputs: inputs.collect(), outputs })
    }

    fn run(&mut self, session: &mut dyn Engine) -> Result<(), Failure> {
        let views: Vec<TensorView<'_>> = self
            .inputs
            .iter()
            .map(|(spec, shape, elements)| TensorView {
                datatype: spec.datatype,
                shape,
                data: bytemuck::cast_slice(elements),
            })
            .collect();
        std::hint::black_box(session.run(&views, self.outputs)?);
        Ok(())
    }
}
