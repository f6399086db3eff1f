//! `hilum audit show` and `export`: rows of the record, out of the store and the spool.
//!
//! This file must never write into either.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use super::audit::{missing, missing_store, open_store, runtime};
use super::audit_wanted::{Source, Wanted};
use super::{Output, exit, failed};
use crate::audit::{
    CoverError, Export, ExportError, ExportFormat, ReadError, Row, TABLE_HEAD, each_row, line,
    to_json,
};

/// Show rows of the record: those of the store, then those still in the spool, the oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    wanted: Wanted,
    /// How to print the rows; JSON is one object a line
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Write rows of the record into a file, as CSV or Parquet by its ending.
#[derive(Debug, clap::Args)]
pub(super) struct ExportCommand {
    /// The file, .csv or .parquet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
}

/// Hands rows to `each` until it has enough; else the exit code, told.
pub(super) fn rows(
    source: &Source,
    spool_only: bool,
    each: &mut dyn FnMut(Row) -> ControlFlow<()>,
) -> Result<(), ExitCode> {
    let Source { config, spool, filter, .. } = source;
    if let Some(said) = missing("audit.spool_dir", spool) {
        // Who reads the store alone has no spool; who names one means it.
        if spool_only || source.names_spool || missing_store(config).is_some() {
            return Err(failed(exit::FAILED, &said));
        }
        eprintln!("hilum: {said}; what is not shipped is not shown");
    }
    runtime()?.block_on(async {
        let store = if spool_only { None } else { Some(open_store(config).await?) };
        let done = each_row(store.as_deref(), spool, filter, each).await;
        done.map_err(|error| {
            let is_store =
                matches!(error, ReadError::Store(_) | ReadError::Cover(CoverError::Store(_)));
            let hint =
                if is_store { "; --spool-only reads what is still in the spool" } else { "" };
            failed(exit::FAILED, &format!("{error}{hint}"))
        })
    })
}

impl Show {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let source = self.wanted.source()?;
        let (mut found, limit, output) = (0_usize, self.wanted.limit, self.output);
        let mut printed = Ok(());
        let mut out = io::stdout().lock();
        let mut each = |row: Row| {
            if found >= limit {
                return ControlFlow::Break(());
            }
            printed = match (output, found) {
                (Output::Text, 0) => writeln!(out, "{TABLE_HEAD}\n{}", line(&row)),
                (Output::Text, _) => writeln!(out, "{}", line(&row)),
                (Output::Json, _) => writeln!(out, "{}", to_json(&row)),
            };
            found += 1;
            if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        rows(&source, self.wanted.spool_only, &mut each)?;
        match printed {
            // Who reads has enough, as `head` does.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(failed(exit::FAILED, &error));
            }
            _ => {}
        }
        if found == 0 && self.output == Output::Text {
            eprintln!("hilum: no row of the record is so");
        }
        let lost = found == 0 && self.wanted.must_find();
        Ok(ExitCode::from(if lost { exit::CHECK } else { exit::DONE }))
    }
}

impl ExportCommand {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let ending = self.file.extension().and_then(|ending| ending.to_str());
        let format = match ending {
            Some("csv") => ExportFormat::Csv,
            Some("parquet") => ExportFormat::Parquet,
            _ => {
                let said = format!("{}: .csv or .parquet is expected", self.file.display());
                return Err(failed(exit::USAGE, &said));
            }
        };
        let told = |error: ExportError| failed(exit::FAILED, &error);
        let source = self.wanted.source()?;
        let mut export = Export::create(&self.file, format).map_err(told)?;
        let (mut left, mut written) = (self.wanted.limit, Ok(()));
        let mut each = |row: Row| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            written = export.push(&row);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        rows(&source, self.wanted.spool_only, &mut each)?;
        written.map_err(told)?;
        let count = export.finish().map_err(told)?;
        println!("{count} rows in {}", self.file.display());
        let lost = count == 0 && self.wanted.must_find();
        Ok(ExitCode::from(if lost { exit::CHECK } else { exit::DONE }))
    }
}
