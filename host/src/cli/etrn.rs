//! `postern etrn`: asks a holder for the mail that it holds.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Failure, Format, Verdict};
use crate::config::{Config, DeliverTo, DomainName, Protocol};
use crate::deliver::{self, Answer, Connection};
use crate::net::tls_client::Tls;
use postern_spool::clock::Clock;

#[derive(Debug, Args)]
pub(super) struct Command {
    /// The holder: a host name, an IPv4 address or an [IPv6 address], with :PORT unless that is 25
    #[arg(value_parser = parse_holder)]
    host: DeliverTo,
    /// What to release: a domain or host name, @DOMAIN for all under it, or #QUEUE
    node: String,
    /// The name to greet with; the machine's own unless it is given
    #[arg(long, value_name = "NAME")]
    hostname: Option<DomainName>,
    #[command(flatten)]
    format: Format,
}

fn parse_holder(text: &str) -> Result<DeliverTo, String> {
    let host = text.parse().or_else(|_| format!("{text}:25").parse());
    let host: DeliverTo = host.map_err(|_| "expected HOST, HOST:PORT or [IPv6]:PORT".to_owned())?;
    match host.protocol {
        Protocol::Smtp => Ok(host),
        Protocol::Lmtp => Err("LMTP has no ETRN".to_owned()),
    }
}

impl Command {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<Verdict, Failure> {
        let asked = self.ask().await;
        let answer = asked.map_err(|reason| Failure::run(format!("{}: {reason}", self.host)))?;
        if self.format.json {
            writeln!(out, "{}", json!({ "code": answer.code(), "text": answer.text() }))?;
        } else {
            writeln!(out, "{answer}")?;
        }
        Ok(if answer.is_done() { Verdict::Well } else { Verdict::Problem })
    }

    /// An ETRN goes to the host of this name, never to its MX.
    async fn ask(&self) -> Result<Answer, deliver::Failure> {
        let hostname = self.hostname.clone().unwrap_or_else(|| Config::default().hostname());
        let (tls, clock) = (Tls::opportunistic(), Clock::system());
        let mut holder = Connection::open(hostname.as_str(), &self.host, &tls, &clock).await?;
        let answer = holder.etrn(on_the_wire(&self.node).as_bytes()).await?;
        holder.quit().await;
        Ok(answer)
    }
}

/// `node` with an internationalized domain in its xn-- form, which every holder knows.
fn on_the_wire(node: &str) -> String {
    let (mark, name) = match node.strip_prefix('@') {
        Some(name) => ("@", name),
        None => ("", node),
    };
    match name.parse::<DomainName>() {
        Ok(domain) if !name.is_ascii() => format!("{mark}{domain}"),
        _ => node.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internationalized_node_is_asked_for_in_ascii() {
        for (node, expected) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("@Bücher.example", "@xn--bcher-kva.example"),
            ("Client.EXAMPLE", "Client.EXAMPLE"),
            ("#bücher", "#bücher"),
        ] {
            assert_eq!(on_the_wire(node), expected);
        }
    }
}
