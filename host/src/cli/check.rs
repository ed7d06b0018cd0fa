//! `postern check`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{CommandError, Format, Verdict};
use crate::config::{Config, Problem, Tls};
use crate::net::tls_server;

/// Says everything that is wrong with `file`, or risky in it.
pub(super) fn check(
    file: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let (warnings, held) = match read(file) {
        Ok(config) => (config.warnings_here(file), config.hold.len()),
        Err(errors) if format.json => {
            writeln!(out, "{}", json!({ "errors": errors, "warnings": [] }))?;
            return Ok(Verdict::Misconfigured);
        }
        Err(errors) => return Err(CommandError::Config(errors)),
    };
    if format.json {
        writeln!(out, "{}", json!({ "errors": [], "warnings": warnings }))?;
        return Ok(Verdict::Well);
    }
    for warning in &warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "{}: no errors, {held} domain(s) held", file.display())?;
    Ok(Verdict::Well)
}

/// Reads `file` and, as the server does at its start, the certificate that it names.
fn read(file: &Path) -> Result<Config, Vec<Problem>> {
    let config = Config::load(file)?;
    if let Some(Tls::Files(files)) = &config.receive.tls {
        tls_server::load(files).map_err(|error| {
            let (file, key) = (file.to_owned(), "receive.tls".to_owned());
            vec![Problem { file, line: None, key, reason: error.to_string() }]
        })?;
    }
    Ok(config)
}
