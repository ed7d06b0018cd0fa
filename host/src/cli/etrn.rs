//! `postern etrn`: asks a holder for the mail that it holds.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{CommandError, Format, Verdict};
use crate::config::{Config, DomainName, Endpoint, Protocol};
use crate::deliver::{Answer, Open, Tcp};
use crate::net::tls_client::Tls;
use postern_spool::clock::Clock;

/// How long each address of the holder may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct EtrnCommand {
    /// The holder: a host name, an IPv4 address or an [IPv6 address], with :PORT unless that is 25
    #[arg(value_parser = parse_holder)]
    host: Endpoint,
    /// What to release: a domain or host name, @DOMAIN for all under it, or #QUEUE
    node: String,
    /// The name to greet with; the machine's own unless it is given
    #[arg(long, value_name = "NAME")]
    hostname: Option<DomainName>,
    #[command(flatten)]
    format: Format,
}

fn parse_holder(text: &str) -> Result<Endpoint, String> {
    let host = text.parse().or_else(|_| format!("{text}:25").parse());
    let host: Endpoint = host.map_err(|_| "expected HOST, HOST:PORT or [IPv6]:PORT".to_owned())?;
    match host.protocol {
        Protocol::Smtp => Ok(host),
        Protocol::Lmtp => Err("LMTP has no ETRN".to_owned()),
    }
}

impl EtrnCommand {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<Verdict, CommandError> {
        let asked = self.ask().await;
        let answer =
            asked.map_err(|reason| CommandError::run(format!("{}: {reason}", self.host)))?;
        if self.format.json {
            writeln!(out, "{}", json!({ "code": answer.code(), "text": answer.text() }))?;
        } else {
            writeln!(out, "{answer}")?;
        }
        Ok(if answer.is_done() { Verdict::Well } else { Verdict::Problem })
    }

    /// An ETRN goes to the host of this name, never to its MX.
    async fn ask(&self) -> Result<Answer, String> {
        let hostname = self.hostname.clone().unwrap_or_else(|| Config::default().hostname());
        let (tls, clock) = (Tls::opportunistic(), Clock::system());
        let open = Open {
            hostname: hostname.as_str(),
            connector: &Tcp::system(),
            tls: &tls,
            clock: &clock,
            own: None,
            connect_timeout: CONNECT_TIMEOUT,
            mail_behind: false,
            step: None,
            relay: None,
        };
        let mut holder = open.connect(&self.host).await.map_err(|error| error.to_string())?;
        let answer = holder.etrn(self.node.as_bytes()).await?;
        holder.quit().await;
        Ok(answer)
    }
}
