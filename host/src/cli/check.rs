//! `postern check`.

mod dns;

use std::io::Write;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{CommandError, Format, Verdict, wait_for};
use crate::accounts;
use crate::config::{Config, NameServer, Problem, Recipients, Tls, Way};
use crate::deliver::{check_maildir, check_relay};
use crate::fetch;
use crate::net::resolver::Resolver;
use crate::net::tls_server;
use crate::policy::Files;
use crate::wakeup;

#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// Compare the MX records of each domain with the configuration, too; 1 where they are not
    /// right, or not to be had
    #[arg(long)]
    dns: bool,
    /// The name server that is asked; absent: those of [resolver]
    #[arg(long, requires = "dns", value_name = "ADDRESS[:PORT]")]
    server: Option<NameServer>,
    #[command(flatten)]
    format: Format,
}

impl CheckCommand {
    /// Says everything that is wrong with `file`, or risky in it.
    pub(super) fn run(&self, file: &Path, out: &mut impl Write) -> Result<Verdict, CommandError> {
        let config = match read(file) {
            Ok(config) => config,
            Err(errors) if self.format.json => {
                writeln!(out, "{}", json!({ "errors": errors, "warnings": [] }))?;
                return Ok(Verdict::Misconfigured);
            }
            Err(errors) => return Err(CommandError::Config(errors)),
        };
        let mut warnings = config.warnings_here(file);
        warnings.extend(unusable_maildirs(&config, file));
        warnings.extend(unusable_logins(&config, file));
        warnings.extend(unfetchable_lists(&config, file));
        warnings.extend(odd_accounts(&config, file));
        let compared = if self.dns { Some(self.compare(&config)?) } else { None };
        let is_well = compared.iter().flatten().all(dns::Compared::is_right);
        if self.format.json {
            let mut answer = json!({ "errors": [], "warnings": warnings });
            if let Some(compared) = compared {
                answer["dns"] = compared.iter().map(dns::Compared::json).collect();
            }
            writeln!(out, "{answer}")?;
        } else {
            for warning in &warnings {
                writeln!(out, "warning: {warning}")?;
            }
            for compared in compared.iter().flatten() {
                writeln!(out, "{compared}")?;
            }
            let held = config.hold.len();
            writeln!(out, "{}: no errors, {held} domain(s) held", file.display())?;
        }
        Ok(if is_well { Verdict::Well } else { Verdict::Problem })
    }

    fn compare(&self, config: &Config) -> Result<Vec<dns::Compared>, CommandError> {
        wait_for(async {
            let servers = self.server.map(|server| vec![server]);
            let servers = servers.unwrap_or_else(|| config.resolver.servers.clone());
            let servers: Vec<_> = servers.into_iter().map(|NameServer(server)| server).collect();
            let resolver = match &servers[..] {
                [] => Resolver::system(),
                servers => Resolver::asking(servers),
            };
            Ok(dns::compare(config, resolver.map_err(CommandError::run)?).await)
        })
    }
}

/// The Maildirs that nothing could be delivered into as whoever asks, who may be somebody else than
/// the server.
fn unusable_maildirs(config: &Config, file: &Path) -> Vec<Problem> {
    let holds = config.hold.iter().filter_map(|(domain, hold)| {
        let path = hold.deliver_to.maildir()?;
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
    let relay = config.relay.as_ref().and_then(|relay| {
        let (key, why) = check_relay(relay).err()?;
        let reason = format!("nothing would be sent: {why}");
        Some(Problem { file: file.to_owned(), line: None, key: format!("relay.{key}"), reason })
    });
    wakeups.chain(relay).collect()
}

/// The lists of recipients that could not be fetched for what is in files of ours.
fn unfetchable_lists(config: &Config, file: &Path) -> Vec<Problem> {
    let holds = config.hold.iter().filter_map(|(domain, hold)| {
        let Recipients::Fetched(source) = &hold.recipients else { return None };
        let why = fetch::check(source).err()?;
        let reason = format!("nothing would be fetched: {why}");
        let key = format!("hold.\"{domain}\".recipients");
        Some(Problem { file: file.to_owned(), line: None, key, reason })
    });
    holds.collect()
}

/// What is wrong with the accounts, and with Dovecot's, where anybody may log in.
fn odd_accounts(config: &Config, file: &Path) -> Vec<Problem> {
    let problem = |key: &str, reason| Problem {
        file: file.to_owned(),
        line: None,
        key: key.to_owned(),
        reason,
    };
    let dovecot = config.submission.as_ref().and_then(|submission| submission.dovecot.as_deref());
    let down = dovecot.and_then(accounts::check_dovecot);
    let down = down.map(|reason| problem("submission.dovecot", reason));
    let is_held = |domain: &_| config.hold.contains_key(domain);
    let wrong = config.asks_accounts().then(|| accounts::check(&config.accounts.file, is_held));
    let wrong = wrong.into_iter().flatten().map(|reason| problem("accounts.file", reason));
    down.into_iter().chain(wrong).collect()
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
