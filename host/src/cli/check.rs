//! `postern check`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{CommandError, Format, Verdict};
use crate::accounts;
use crate::config::{Config, DeliverTo, Hold, Problem, Tls, Way};
use crate::deliver::check_maildir;
use crate::net::tls_server;
use crate::policy::Files;
use crate::wakeup;

/// Says everything that is wrong with `file`, or risky in it.
pub(super) fn check(
    file: &Path,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let (warnings, held) = match read(file) {
        Ok(config) => {
            let mut warnings = config.warnings_here(file);
            warnings.extend(unusable_maildirs(&config, file));
            warnings.extend(unusable_logins(&config, file));
            warnings.extend(odd_accounts(&config, file));
            (warnings, config.hold.len())
        }
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

/// The Maildirs that nothing could be delivered into as whoever asks, who may be somebody else than
/// the server.
fn unusable_maildirs(config: &Config, file: &Path) -> Vec<Problem> {
    let holds = config.hold.iter().filter_map(|(domain, hold)| {
        let DeliverTo::Maildir(path) = &hold.deliver_to else { return None };
        let why = check_maildir(path, Files::of(hold)).err()?;
        let reason = format!("mail would wait: {why}");
        let key = format!("hold.\"{domain}\".deliver_to");
        Some(Problem { file: file.to_owned(), line: None, key, reason })
    });
    holds.collect()
}

/// The holders that could not be asked by ATRN for what is in files of ours.
fn unusable_logins(config: &Config, file: &Path) -> Vec<Problem> {
    let wakeups = config.wakeup.iter().filter_map(|wakeup| {
        let Way::Atrn(atrn) = &wakeup.way else { return None };
        let (key, why) = wakeup::check(atrn).err()?;
        let reason = format!("{} would not be asked: {why}", wakeup.name());
        Some(Problem { file: file.to_owned(), line: None, key: format!("wakeup.{key}"), reason })
    });
    wakeups.collect()
}

/// What is wrong with the accounts, where anybody may log in.
fn odd_accounts(config: &Config, file: &Path) -> Vec<Problem> {
    if config.atrn.is_none() && !config.hold.values().any(Hold::etrn_authenticated) {
        return Vec::new();
    }
    let is_held = |domain: &_| config.hold.contains_key(domain);
    let wrong = accounts::check(&config.accounts.file, is_held).into_iter();
    let key = "accounts.file".to_owned();
    wrong
        .map(|reason| Problem { file: file.to_owned(), line: None, key: key.clone(), reason })
        .collect()
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
