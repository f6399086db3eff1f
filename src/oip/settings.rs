//! `LogSettings` and `TraceSetting`: what can be changed while the service runs, and what there is.
//!
//! The log's threshold is changed for the whole process; everything else is said as it is, may be
//! "set" to what it is already, and is refused by name otherwise. All of a message is checked before
//! anything of it is done.
//! This file must never accept a setting that it does not carry out.

use std::collections::HashMap;

use super::admin::{self, NotLocal};
use super::{LookupError, loaded, shown};
use crate::catalog::Catalog;
use crate::domain::{ErrorKind, Fault};
use crate::proto::inference::log_settings_request::setting_value::ParameterChoice as Given;
use crate::proto::inference::log_settings_response::SettingValue as LogValue;
use crate::proto::inference::log_settings_response::setting_value::ParameterChoice as Said;
use crate::proto::inference::trace_setting_response::SettingValue as TraceValue;
use crate::proto::inference::{
    LogSettingsRequest, LogSettingsResponse, TraceSettingRequest, TraceSettingResponse,
};
use crate::telemetry::Traces;
use crate::telemetry::logs::{self, LogLevel};

/// Lines carry times of this standard.
const LOG_FORMAT: &str = "ISO8601";

/// A setting that is not changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such setting.
    #[error("there is no setting '{name}'; there are {known}")]
    Unknown {
        /// What was asked for, cut and printable.
        name: String,
        /// What there is.
        known: String,
    },
    /// A value of another type.
    #[error("setting '{name}': {expected} is expected")]
    Type {
        /// The setting.
        name: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// It cannot be changed while the service runs.
    #[error("setting '{name}' is {current} and cannot be changed while the service runs: {why}")]
    Fixed {
        /// The setting.
        name: &'static str,
        /// What it is.
        current: String,
        /// What changes it.
        why: &'static str,
    },
    /// Settings that contradict each other.
    #[error(
        "setting '{off}' cannot be off while '{on}' is on: the log has one threshold, errors first; \
         switch both"
    )]
    Order {
        /// What is wanted off.
        off: &'static str,
        /// What is on.
        on: &'static str,
    },
    /// The caller is on another machine.
    #[error(transparent)]
    NotLocal(#[from] NotLocal),
    /// This process has no logs of its own.
    #[error(
        "this process has not set up the service's logs, so that their level cannot be changed"
    )]
    NoLogs,
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] LookupError),
}

impl Fault for SettingsError {
    fn kind(&self) -> ErrorKind {
        match self {
            SettingsError::Fixed { .. } | SettingsError::NoLogs => ErrorKind::FailedPrecondition,
            SettingsError::NotLocal(error) => error.kind(),
            SettingsError::Model(error) => error.kind(),
            _ => ErrorKind::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            SettingsError::Fixed { .. } => "SETTING_FIXED",
            SettingsError::NoLogs => "NO_LOGS",
            SettingsError::NotLocal(error) => error.reason(),
            SettingsError::Model(error) => error.reason(),
            _ => "INVALID_SETTING",
        }
    }
}

/// The switches of Triton's log settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Switches {
    error: bool,
    warning: bool,
    info: bool,
    verbose: u32,
}

impl From<LogLevel> for Switches {
    fn from(level: LogLevel) -> Self {
        Self {
            error: level >= LogLevel::Error,
            warning: level >= LogLevel::Warn,
            info: level >= LogLevel::Info,
            verbose: match level {
                LogLevel::Trace => 2,
                LogLevel::Debug => 1,
                _ => 0,
            },
        }
    }
}

impl Switches {
    /// The threshold that these switches mean.
    fn level(self) -> Result<LogLevel, SettingsError> {
        let order = [
            ("log_error", self.error),
            ("log_warning", self.warning),
            ("log_info", self.info),
            ("log_verbose_level", self.verbose > 0),
        ];
        for pair in order.windows(2) {
            if let [(off, false), (on, true)] = pair {
                return Err(SettingsError::Order { off, on });
            }
        }
        Ok(match (self.error, self.warning, self.info, self.verbose) {
            (_, _, _, 2..) => LogLevel::Trace,
            (_, _, _, 1) => LogLevel::Debug,
            (_, _, true, _) => LogLevel::Info,
            (_, true, _, _) => LogLevel::Warn,
            (true, _, _, _) => LogLevel::Error,
            _ => LogLevel::Off,
        })
    }
}

/// Changes the log's threshold if the message asks for it and the caller is on this machine; says
/// what there is to any caller.
///
/// # Errors
/// [`SettingsError`]; nothing was changed then.
pub fn log_settings(
    request: &LogSettingsRequest,
    is_local: bool,
) -> Result<LogSettingsResponse, SettingsError> {
    if !request.settings.is_empty() {
        admin::admit(is_local, "log settings are changed")?;
    }
    let control = logs::control().ok_or(SettingsError::NoLogs)?;
    let mut switches = Switches::from(control.level());
    for (name, value) in &request.settings {
        change(&mut switches, name, value.parameter_choice.as_ref())?;
    }
    if !request.settings.is_empty() {
        let level = switches.level()?;
        if level != control.level() {
            control.set_level(level);
        }
    }
    Ok(said(Switches::from(control.level())))
}

/// One setting of a message; a setting without a value stays as it is.
fn change(switches: &mut Switches, name: &str, value: Option<&Given>) -> Result<(), SettingsError> {
    let switch = |on: &mut bool, name: &'static str| match value {
        None => Ok(()),
        Some(Given::BoolParam(wanted)) => {
            *on = *wanted;
            Ok(())
        }
        Some(_) => Err(SettingsError::Type { name, expected: "a boolean" }),
    };
    let fixed = |name: &'static str, current: &str, why: &'static str| match value {
        None => Ok(()),
        Some(Given::StringParam(text)) if text == current => Ok(()),
        Some(Given::StringParam(_)) => {
            Err(SettingsError::Fixed { name, current: format!("'{current}'"), why })
        }
        Some(_) => Err(SettingsError::Type { name, expected: "a string" }),
    };
    match name {
        "log_error" => switch(&mut switches.error, "log_error"),
        "log_warning" => switch(&mut switches.warning, "log_warning"),
        "log_info" => switch(&mut switches.info, "log_info"),
        "log_verbose_level" => match value {
            None => Ok(()),
            Some(Given::Uint32Param(level)) => {
                switches.verbose = *level;
                Ok(())
            }
            Some(_) => {
                Err(SettingsError::Type { name: "log_verbose_level", expected: "a whole number" })
            }
        },
        "log_file" => fixed("log_file", "", "logs go to standard error"),
        "log_format" => fixed("log_format", LOG_FORMAT, "telemetry.log_format sets how lines look"),
        unknown => Err(SettingsError::Unknown {
            name: shown(unknown),
            known: "log_error, log_warning, log_info, log_verbose_level, log_file, log_format"
                .to_owned(),
        }),
    }
}

fn said(switches: Switches) -> LogSettingsResponse {
    let value = |choice| LogValue { parameter_choice: Some(choice) };
    let settings = [
        ("log_error", Said::BoolParam(switches.error)),
        ("log_warning", Said::BoolParam(switches.warning)),
        ("log_info", Said::BoolParam(switches.info)),
        ("log_verbose_level", Said::Uint32Param(switches.verbose)),
        ("log_file", Said::StringParam(String::new())),
        ("log_format", Said::StringParam(LOG_FORMAT.to_owned())),
    ];
    let settings = settings.into_iter().map(|(name, choice)| (name.to_owned(), value(choice)));
    LogSettingsResponse { settings: settings.collect() }
}

/// Says what is traced, of a model if one is named: all models are traced alike.
///
/// # Errors
/// [`SettingsError::Fixed`] for a setting that differs from what there is: the configuration's
/// `telemetry.otlp_endpoint` and `telemetry.trace_ratio` set it at start.
pub fn trace_settings(
    catalog: &Catalog,
    traces: &Traces,
    request: &TraceSettingRequest,
) -> Result<TraceSettingResponse, SettingsError> {
    if !request.model_name.is_empty() {
        loaded(catalog, &request.model_name, "")?;
    }
    let there = trace_facts(traces);
    for (name, value) in &request.settings {
        let Some((name, current)) = there.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
            return Err(SettingsError::Unknown { name: shown(name), known: known.join(", ") });
        };
        // Without a value a setting falls back to what the service was started with.
        if !value.value.is_empty() && value.value != [current.as_str()] {
            return Err(SettingsError::Fixed {
                name,
                current: format!("'{current}'"),
                why: "telemetry.otlp_endpoint and telemetry.trace_ratio set it at start",
            });
        }
    }
    let settings: HashMap<String, TraceValue> = there
        .into_iter()
        .map(|(name, value)| (name.to_owned(), TraceValue { value: vec![value] }))
        .collect();
    Ok(TraceSettingResponse { settings })
}

/// Triton's names of what OpenTelemetry does here: one of every `trace_rate` requests that bring no
/// decision of their own.
fn trace_facts(traces: &Traces) -> [(&'static str, String); 5] {
    let ratio = traces.ratio().unwrap_or(0.0);
    let (level, rate) = match ratio > 0.0 {
        true => ("TIMESTAMPS", (1.0 / ratio).round() as u64),
        false => ("OFF", 0),
    };
    [
        ("trace_level", level.to_owned()),
        ("trace_rate", rate.to_string()),
        ("trace_count", "-1".to_owned()),
        ("log_frequency", "0".to_owned()),
        ("trace_mode", "opentelemetry".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_the_switches_that_mean_it() {
        for level in LogLevel::ALL {
            assert_eq!(Switches::from(level).level().unwrap(), level);
        }
        let odd = Switches { error: true, warning: false, info: true, verbose: 0 };
        let text = odd.level().unwrap_err().to_string();
        assert!(text.contains("'log_warning'") && text.contains("'log_info'"), "{text}");
    }
}
