//! The log: events on standard error, for a person or for a program.
//!
//! Logging never waits and never fails: see [`Log`].

mod fields;
mod lines;

use std::fs::File;
use std::io::{self, IsTerminal, Write, stderr};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

use crate::config::{self, LogFormat};
use crate::escape;
use fields::Fields;
use lines::Lines;

/// The variable whose directives (`debug`, `postern::release=trace`) override `log.level`.
pub const VARIABLE: &str = "POSTERN_LOG";
/// How long the last lines may take when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug)]
pub enum StartError {
    /// The directives cannot be read.
    Directives(ParseError),
    /// There is no thread or no descriptor to write with.
    Output(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directives(error) => write!(f, "{VARIABLE}: {error}"),
            Self::Output(error) => write!(f, "the log: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The lines on their way to standard error. When that is full or gone, or its reader stands still,
/// lines are lost, which the log tells as soon as it can; the server goes on.
///
/// Dropping it waits for the last lines, for a second at most.
#[derive(Debug)]
pub struct Log(Lines);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

/// Starts to log as `settings` say; `directives` is the text of [`VARIABLE`], if it is set. Panics
/// are logged as well.
///
/// # Errors
/// What [`StartError`] says.
///
/// # Panics
/// When the process already logs.
pub fn start(settings: &config::Log, directives: Option<&str>) -> Result<Log, StartError> {
    let level = settings.level.as_str();
    let filter = EnvFilter::builder().parse(directives.unwrap_or(level));
    let filter = filter.map_err(StartError::Directives)?;
    let terminal = stderr().is_terminal();
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let lines = stderr()
        .as_fd()
        // A handle of its own: `Stderr` has a lock, which a write that stands still would hold.
        .try_clone_to_owned()
        .and_then(|stderr| Lines::start(File::from(stderr), tell))
        .map_err(StartError::Output)?;
    let log = builder(Output { lines: lines.clone(), json: !text }).with_env_filter(filter);
    if text {
        log.with_ansi(terminal).fmt_fields(Fields).init();
    } else {
        log.json().flatten_event(true).with_current_span(false).init();
    }
    panic::set_hook(Box::new(log_panic));
    Ok(Log(lines))
}

fn tell(lost: u64) {
    tracing::warn!(lost, "lines of the log were lost: they could not be written");
}

/// The default hook would write to standard error itself, and wait where that stands still.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("a value that is no text");
    let at = panic.location().map(ToString::to_string);
    tracing::error!(at, reason, "a task panicked: this is a bug in postern");
}

fn builder(output: Output) -> SubscriberBuilder<DefaultFields, Format, LevelFilter, Output> {
    // Its own errors would go to standard error directly.
    tracing_subscriber::fmt().with_writer(output).log_internal_errors(false)
}

/// Where the formatter puts each event: one line in one write.
#[derive(Debug, Clone)]
struct Output {
    lines: Lines,
    json: bool,
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match str::from_utf8(line) {
            Ok(text) if self.json => self.lines.push(escape::json(text).as_bytes()),
            _ => self.lines.push(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
