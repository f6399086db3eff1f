//! What serving costs against what the machine can do: `make bench`.
//!
//! Three things run in turn, several times, each with every core saturated: the bare model in a
//! loop, a tonic server that answers the same bytes without doing anything, and `hilum serve`.
//! The ratios are taken within one repetition and their medians are printed, so that a machine that
//! others use too moves all three alike. These servers do not wait for their record's disk
//! (`durability = "best_effort"`), which the machine's ceiling knows nothing of; what the wait costs is
//! measured by itself, against a server that has it.
//! This program must never measure a part that another process is not part of in service: servers
//! are processes of their own, load comes from this one.

mod bare;
mod cpu;
mod disk;
mod echo;
mod servers;
mod table;

use std::sync::Arc;
use std::time::Duration;

use hilum::bench::{GrpcTransport, InputSource, Length, Live, Load, Plan, messages, run};
use hilum::client::Client;
use hilum::proto::inference::ModelInferRequest;

use servers::Durability;
use table::Table;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: cargo bench --bench serving -- [--repetitions N] [--seconds S]
       [--only PART[,PART]]   (PARTS: rows32, single, batching, latency, record)";

/// What to measure and for how long.
#[derive(Debug, Clone)]
struct Options {
    repetitions: usize,
    length: Duration,
    only: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self { repetitions: 7, length: Duration::from_secs(2), only: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--repetitions" => options.repetitions = value()?.parse()?,
                "--seconds" => options.length = Duration::from_secs_f64(value()?.parse()?),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|argument| argument == "--echo") {
        let port = arguments.nth(1).ok_or("--echo PORT BYTES")?.parse()?;
        let answer = hex::decode(arguments.next().ok_or("--echo PORT BYTES")?)?;
        return echo::serve(port, answer);
    }
    let options = Options::parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options))
}

/// A server and a way to it.
struct Under {
    transport: Arc<GrpcTransport>,
    process: servers::Process,
}

impl Under {
    async fn new(process: servers::Process, connections: usize) -> Result<Self, Failure> {
        let bound = Duration::from_secs(30);
        let transport = GrpcTransport::connect(&process.address(), connections, bound).await?;
        Ok(Self { transport: Arc::new(transport), process })
    }

    /// Puts a closed loop on.
    async fn closed(
        &self,
        options: &Options,
        callers: usize,
        messages: &[ModelInferRequest],
    ) -> Result<Measured, Failure> {
        let plan = |length| Plan {
            load: Load::Closed { callers },
            rows: 1,
            warmup: Duration::ZERO,
            length: Length::Time(length),
            deadline: None,
            timeout: Duration::from_secs(30),
        };
        let put_on = |length| {
            let transport = Arc::clone(&self.transport);
            run(plan(length), transport, messages.to_vec(), Arc::new(Live::default()))
        };
        put_on(options.length / 4).await?;
        let (client, server) = self.cpu()?;
        let summary = put_on(options.length).await?;
        let (client_after, server_after) = self.cpu()?;
        let server = server_after - server;
        let cpu_seconds = client_after - client + server;
        let failed = summary.by_status.keys().find(|status| *status != "OK");
        if let Some(status) = failed {
            return Err(format!("requests ended with {status}").into());
        }
        Ok(Measured {
            per_second: summary.requests_per_second,
            per_cpu_second: summary.requests as f64 / cpu_seconds,
            server_us: 1e6 * server / summary.requests as f64,
            p50_us: summary.latency_ms.p50 * 1e3,
        })
    }

    /// CPU time of client and server, in seconds.
    fn cpu(&self) -> Result<(f64, f64), Failure> {
        Ok((cpu::seconds(std::process::id())?, cpu::seconds(self.process.id())?))
    }
}

/// What a closed loop came to.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Requests a second.
    per_second: f64,
    /// Requests for a second of CPU time, of client and server together.
    per_cpu_second: f64,
    /// CPU time of a request in the server, in µs.
    server_us: f64,
    /// The median latency.
    p50_us: f64,
}

async fn made(under: &Under, rows: usize) -> Result<Vec<ModelInferRequest>, Failure> {
    let source = InputSource::Random { seed: 1 };
    Ok(messages(&*under.transport, servers::MODEL, "", rows, &source).await?)
}

async fn measure(options: &Options) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism()?.get();
    let connections = cores;
    let folder = tempfile::tempdir()?;
    let server = servers::hilum(&folder.path().join("batched"), 32, Durability::BestEffort).await?;
    let batched = Under::new(server, connections).await?;
    let single = made(&batched, 1).await?;
    let many = made(&batched, 32).await?;
    let answer = servers::answer_to(&batched.process.address(), &single).await?;
    let echo = Under::new(servers::echo(&answer).await?, connections).await?;
    let answer = servers::answer_to(&batched.process.address(), &many).await?;
    let echo_many = Under::new(servers::echo(&answer).await?, connections).await?;
    let unbatched = match options.wants("batching") {
        true => {
            let folder = folder.path().join("unbatched");
            let server = servers::hilum(&folder, 1, Durability::BestEffort).await?;
            Some(Under::new(server, connections).await?)
        }
        false => None,
    };
    let durable = match options.wants("record") {
        true => {
            let server =
                servers::hilum(&folder.path().join("durable"), 32, Durability::Spool).await?;
            Some(Under::new(server, connections).await?)
        }
        false => None,
    };
    let mut model = bare::Model::load(cores)?;
    let mut table = Table::default();
    for repetition in 1..=options.repetitions {
        eprintln!("repetition {repetition} of {}", options.repetitions);
        let length = options.length;
        let bare = model.rows(32, length)?;
        table.add("bare loop, batch 32: rows/s", bare.per_second);
        if options.wants("rows32") {
            let callers = 2 * cores;
            let echoed = echo_many.closed(options, callers, &many).await?;
            let served = batched.closed(options, callers, &many).await?;
            let (rows, cpu) = (served.per_second * 32.0, served.per_cpu_second * 32.0);
            table.add(&format!("32-row requests, {callers} callers: rows/s"), rows);
            table.ratio("32-row requests ÷ bare loop", rows / bare.per_second, 0.90);
            table.ratio("32-row requests, by CPU time", cpu / bare.per_cpu_second, 0.90);
            let ceiling = together(echoed.per_second * 32.0, bare.per_second);
            let cpu_ceiling = together(echoed.per_cpu_second * 32.0, bare.per_cpu_second);
            table.plain(
                "echo of 32 rows and bare loop together ÷ bare loop",
                ceiling / bare.per_second,
            );
            table.plain("the same by CPU time", cpu_ceiling / bare.per_cpu_second);
        }
        if options.wants("single") {
            let echo = echo.closed(options, 32, &single).await?;
            let served = batched.closed(options, 32, &single).await?;
            let ceiling = together(echo.per_second, bare.per_second);
            let cpu_ceiling = together(echo.per_cpu_second, bare.per_cpu_second);
            table.add("echoes, 32 callers: 1/s", echo.per_second);
            table.add("ceiling 1/(t_echo + t_row): rows/s", ceiling);
            table.add("single rows, 32 callers: rows/s", served.per_second);
            table.ratio("single rows at 32 callers ÷ ceiling", served.per_second / ceiling, 0.85);
            let cpu = served.per_cpu_second / cpu_ceiling;
            table.ratio("single rows at 32 callers, by CPU time", cpu, 0.85);
            table.add("CPU time of a row, bare: µs", 1e6 / bare.per_cpu_second);
            table.add("CPU time of an echo: µs", 1e6 / echo.per_cpu_second);
            table.add("CPU time of a served row: µs", 1e6 / served.per_cpu_second);
            table.add("of it in the server: µs", served.server_us);
            table.add("CPU time of an echo in its server: µs", echo.server_us);
        }
        if let Some(unbatched) = &unbatched {
            for callers in [1, 2, 4, 8, 32] {
                // In turn the other way round: what the machine does beside it hits both alike.
                let (first, second) = match repetition % 2 {
                    0 => (&batched, unbatched),
                    _ => (unbatched, &batched),
                };
                let first = first.closed(options, callers, &single).await?;
                let second = second.closed(options, callers, &single).await?;
                let (with, alone) = match repetition % 2 {
                    0 => (first, second),
                    _ => (second, first),
                };
                let name = format!("batched ÷ unbatched, {callers} callers");
                table.ratio(&name, with.per_second / alone.per_second, 1.0);
                let cpu = with.per_cpu_second / alone.per_cpu_second;
                table.ratio(&format!("{name}, by CPU time"), cpu, 1.0);
            }
        }
        if options.wants("latency") {
            let row = model.one_row(length)?;
            let echoed = echo.closed(options, 1, &single).await?.p50_us;
            let served = batched.closed(options, 1, &single).await?.p50_us;
            table.add("bare run of one row: p50 µs", row);
            table.add("echo, one caller: p50 µs", echoed);
            table.add("served, one caller: p50 µs", served);
            table.cost("one caller, served − echo − bare run: µs", served - echoed - row, 60.0);
        }
        if let Some(durable) = &durable {
            record(options, (durable, &batched), &single, &many, &mut table).await?;
        }
    }
    table.print();
    Ok(())
}

/// What it costs that an answer leaves only when its record is on the disk.
async fn record(
    options: &Options,
    (durable, best_effort): (&Under, &Under),
    single: &[ModelInferRequest],
    many: &[ModelInferRequest],
    table: &mut Table,
) -> Result<(), Failure> {
    for (name, callers, messages) in
        [("single rows, 256 callers", 256, single), ("32-row requests, 16 callers", 16, many)]
    {
        let without = best_effort.closed(options, callers, messages).await?;
        let with = durable.closed(options, callers, messages).await?;
        let ratio = with.per_second / without.per_second;
        table.ratio(&format!("spool ÷ best_effort, {name}"), ratio, 0.9);
        let cpu = with.per_cpu_second / without.per_cpu_second;
        table.ratio(&format!("spool ÷ best_effort, {name}, by CPU time"), cpu, 0.9);
    }
    let without = best_effort.closed(options, 1, single).await?.p50_us;
    let with = durable.closed(options, 1, single).await?.p50_us;
    table.add("one caller, spool: p50 µs", with);
    table.add("one caller, spool − best_effort: p50 µs", with - without);
    table.add("fdatasync of an appended record: p50 µs", disk::fdatasync(options.length)?);
    Ok(())
}

/// The rate of doing one thing after the other.
fn together(a: f64, b: f64) -> f64 {
    1.0 / (1.0 / a + 1.0 / b)
}

/// A connection that is ready for a model.
async fn ready(address: &str) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let bound = Duration::from_secs(2);
        let serving = match Client::connect(address, bound).await {
            Ok(client) => client.is_serving(servers::MODEL).await.unwrap_or(false),
            Err(_) => false,
        };
        if serving {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(
                format!("{address} does not serve {} within a minute", servers::MODEL).into()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
