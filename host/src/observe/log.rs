//! The log: events on standard error, for a person or for a program.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// The variable whose directives (`debug`, `postern::release=trace`) override `log.level`.
pub const VARIABLE: &str = "POSTERN_LOG";

/// Starts to log as `settings` say; `directives` is the text of [`VARIABLE`], if it is set.
///
/// # Errors
/// The directives that cannot be read.
///
/// # Panics
/// When the process already logs.
pub fn start(settings: &Log, directives: Option<&str>) -> Result<(), ParseError> {
    let level = settings.level.as_str();
    let filter = EnvFilter::builder().parse(directives.unwrap_or(level))?;
    let text = match settings.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if text {
        log.with_ansi(stderr().is_terminal()).init();
    } else {
        log.json().flatten_event(true).with_current_span(false).init();
    }
    Ok(())
}
