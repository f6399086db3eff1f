//! Finds and loads ONNX Runtime's shared library, once a process.
//!
//! Search order: the configured path, `ORT_DYLIB_PATH`, beside the binary, `.onnxruntime/` in the
//! working folder and above the binary, the system's loader.
//! This file must never fall back from a path that was named: what was asked for is used or refused.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;

/// The release whose C interface this build speaks; older libraries are refused.
pub const MIN_VERSION: &str = "1.31";

/// The folder into which `make onnxruntime` puts the library.
pub const FOLDER: &str = ".onnxruntime";

const NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.dylib"];

const MEND: &str = "run `make onnxruntime` to fetch it, or name another by --onnxruntime or \
                    ORT_DYLIB_PATH";

/// ONNX Runtime, loaded.
#[derive(Debug)]
pub struct Runtime {
    pub(super) environment: Environment,
    /// The file, or the name that the system's loader resolved.
    pub path: PathBuf,
}

impl Runtime {
    /// The library's own description of its build.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

/// A library that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// A path was named and there is nothing.
    #[error("ONNX Runtime: {named_by} names {path}, where there is no file; {MEND}", path = path.display())]
    Missing {
        /// Who named it.
        named_by: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// No place has it.
    #[error("ONNX Runtime's shared library was not found (looked at {looked}); {MEND}")]
    NotFound {
        /// The places.
        looked: String,
    },
    /// It is there and cannot be used.
    #[error("ONNX Runtime: {path} cannot be used: {problem}; version {MIN_VERSION} or newer for this machine is needed: {MEND}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

/// Loads the library, or returns the one that this process has already.
///
/// # Errors
/// A message that says what was looked for and the command that mends it.
pub fn load(configured: Option<&Path>) -> Result<Arc<Runtime>, LibraryError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = loaded.as_ref() {
        return Ok(Arc::clone(runtime));
    }
    let places = Places {
        configured: configured.map(Path::to_owned),
        variable: env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()).map(PathBuf::from),
        binary: env::current_exe().ok(),
        working: env::current_dir().ok(),
    };
    let runtime = Arc::new(open(&places)?);
    tracing::info!(path = %runtime.path.display(), build = runtime.build_info(), "ONNX Runtime loaded");
    *loaded = Some(Arc::clone(&runtime));
    Ok(runtime)
}

/// Where to look.
#[derive(Debug, Default)]
struct Places {
    configured: Option<PathBuf>,
    variable: Option<PathBuf>,
    binary: Option<PathBuf>,
    working: Option<PathBuf>,
}

impl Places {
    /// The first file of the search order; `None` leaves it to the system's loader.
    fn find(&self) -> Result<Option<PathBuf>, LibraryError> {
        let named = [("engine.onnxruntime", &self.configured), ("ORT_DYLIB_PATH", &self.variable)];
        for (named_by, path) in named {
            if let Some(path) = path {
                if path.is_file() {
                    return Ok(Some(path.clone()));
                }
                return Err(LibraryError::Missing { named_by, path: path.clone() });
            }
        }
        Ok(self.folders().iter().find_map(|folder| library_in(folder)))
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let beside = self.binary.as_deref().and_then(Path::parent);
        folders.extend(beside.map(Path::to_owned));
        folders.extend(self.working.as_ref().map(|folder| folder.join(FOLDER)));
        // A build stands in target/<profile>/ of the checkout that has the folder.
        folders
            .extend(beside.into_iter().flat_map(|b| b.ancestors().take(4)).map(|f| f.join(FOLDER)));
        folders
    }
}

/// The library in a folder: by its plain name, or the newest by a versioned one.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    plain.or_else(|| {
        let mut versioned: Vec<PathBuf> = std::fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("libonnxruntime.so.") && path.is_file()
            })
            .collect();
        versioned.sort();
        versioned.pop()
    })
}

fn open(places: &Places) -> Result<Runtime, LibraryError> {
    if let Some(path) = places.find()? {
        return open_file(&path).map_err(|problem| LibraryError::Unusable { path, problem });
    }
    for name in NAMES {
        // The system's loader finds it by name or there is none; the reason adds nothing.
        if let Ok(runtime) = open_file(Path::new(name)) {
            return Ok(runtime);
        }
    }
    let folders: Vec<String> =
        places.folders().iter().map(|folder| folder.display().to_string()).collect();
    let looked = format!("ORT_DYLIB_PATH, {}, the system's libraries", folders.join(", "));
    Err(LibraryError::NotFound { looked })
}

fn open_file(path: &Path) -> Result<Runtime, String> {
    let environment = ort::init_from(path)
        .map_err(|error| error.to_string())?
        .with_name("hilum")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Runtime { environment, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_the_documented_order() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "library").unwrap();
            path
        };
        let mut places = Places {
            binary: Some(root.path().join("target/debug/hilum")),
            working: Some(root.path().join("work")),
            ..Places::default()
        };
        assert_eq!(places.find().unwrap(), None);
        for path in [
            ".onnxruntime/libonnxruntime.so.1.32.0",
            "work/.onnxruntime/libonnxruntime.so.1.32.0",
            "target/debug/libonnxruntime.so",
        ] {
            let path = file(path);
            assert_eq!(places.find().unwrap(), Some(path));
        }
        places.variable = Some(file("variable.so"));
        assert_eq!(places.find().unwrap(), places.variable);
        places.configured = Some(root.path().join("configured.so"));
        let error = places.find().unwrap_err().to_string();
        assert!(error.contains("configured.so") && error.contains("make onnxruntime"), "{error}");
        file("configured.so");
        assert_eq!(places.find().unwrap(), places.configured);
    }
}
