//! Rows as a table for others: CSV or one Parquet file.
//!
//! Rows go in one by one; a file comes out, under its name once it is whole.
//! This file must never change what a row says.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use serde_json::Value;

use super::parquet_write::ParquetFile;
use super::record::{COLUMNS, Row};
use super::show::to_json;

/// The form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values (RFC 4180) with a line of names; lists are JSON arrays, digests hexadecimal
    /// digits, times RFC 3339, what is not there is empty.
    Csv,
    /// Parquet, with the columns of the files in the store.
    Parquet,
}

/// A table that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ExportError {
    path: PathBuf,
    problem: String,
}

/// A table in the making.
pub struct Export {
    path: PathBuf,
    draft: tempfile::NamedTempFile,
    to: To,
    rows: u64,
}

enum To {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Parquet(Box<ParquetFile<BufWriter<File>>>),
}

impl Export {
    /// Begins a table at `path`; what is there stays until the table is whole.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(path: &Path, format: ExportFormat) -> Result<Self, ExportError> {
        let failed = |problem: String| ExportError { path: path.to_owned(), problem };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let draft = tempfile::Builder::new()
            .prefix(".export-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(|error| failed(error.to_string()))?;
        let file = draft.reopen().map_err(|error| failed(error.to_string()))?;
        let file = BufWriter::new(file);
        let to = match format {
            ExportFormat::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                writer.write_record(COLUMNS).map_err(|error| failed(error.to_string()))?;
                To::Csv(Box::new(writer))
            }
            ExportFormat::Parquet => {
                let file = ParquetFile::begin(file, None);
                To::Parquet(Box::new(file.map_err(|error| failed(error.to_string()))?))
            }
        };
        Ok(Self { path: path.to_owned(), draft, to, rows: 0 })
    }

    fn failed(&self, problem: &dyn std::fmt::Display) -> ExportError {
        ExportError { path: self.path.clone(), problem: problem.to_string() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn push(&mut self, row: &Row) -> Result<(), ExportError> {
        self.rows += 1;
        match &mut self.to {
            To::Csv(writer) => {
                let values = to_json(row);
                let cells = COLUMNS.iter().map(|name| match &values[*name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                writer.write_record(cells).map_err(|error| self.failed(&error))
            }
            To::Parquet(file) => file.push(row).map_err(|error: ParquetError| self.failed(&error)),
        }
    }

    /// Ends the table, which has its name then; how many rows it has.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(self) -> Result<u64, ExportError> {
        let failed = |problem: String| ExportError { path: self.path.clone(), problem };
        let file = match self.to {
            To::Csv(writer) => writer.into_inner().map_err(|error| failed(error.to_string()))?,
            To::Parquet(file) => file.finish().map_err(|error| failed(error.to_string()))?,
        };
        let file = file.into_inner().map_err(|error| failed(error.to_string()))?;
        file.sync_all().map_err(|error| failed(error.to_string()))?;
        self.draft.persist(&self.path).map_err(|error| failed(error.to_string()))?;
        Ok(self.rows)
    }
}
