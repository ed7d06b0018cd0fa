//! `postern recipients`: who hosts that are asked take mail for.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Method;
use clap::Subcommand;

use super::queue::{answered, read, request};
use super::table::{foreign, span, table};
use super::{CommandError, Format, Verdict};
use crate::api::{Forgotten, KnownRecipient, Recipients};
use crate::config::DomainName;

#[derive(Debug, Subcommand)]
pub(super) enum RecipientsCommand {
    /// List what hosts said of their recipients; with --json, one object a line
    List {
        /// Of this domain only
        domain: Option<DomainName>,
        #[command(flatten)]
        format: Format,
    },
    /// Forget what was said of an address, or of all of a domain's: the host is asked again
    Forget {
        /// An address, or a client domain
        target: String,
        #[command(flatten)]
        format: Format,
    },
}

impl RecipientsCommand {
    pub(super) async fn run(
        &self,
        socket: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        match self {
            Self::List { domain, format } => list(socket, domain.as_ref(), *format, out).await?,
            Self::Forget { target, format } => {
                let key = if target.contains('@') { "address" } else { "domain" };
                let path = format!("/recipients?{key}={}", encoded(target));
                let answer = request(socket, Method::DELETE, &path).await?;
                answered(&answer, *format, out, |Forgotten { forgotten }| {
                    format!("{forgotten} address(es) forgotten\n")
                })?;
            }
        }
        Ok(Verdict::Well)
    }
}

async fn list(
    socket: &Path,
    domain: Option<&DomainName>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let domain = domain.map(|domain| format!("domain={domain}&")).unwrap_or_default();
    let mut after = String::new();
    let mut rows = vec![["ADDRESS".to_owned(), "EXISTS".to_owned(), "SAID".to_owned()]];
    loop {
        let path = format!("/recipients?{domain}{after}");
        let page: Recipients = read(&request(socket, Method::GET, &path).await?)?;
        for recipient in page.recipients {
            match format.json {
                true => writeln!(out, "{}", serde_json::json!(recipient))?,
                false => rows.push(row(&recipient)),
            }
        }
        match page.next {
            Some(next) => after = format!("after={}&", encoded(&next)),
            None => break,
        }
    }
    match (format.json, rows.len()) {
        (true, _) => {}
        (false, 1) => writeln!(out, "nothing was said of any recipient yet")?,
        (false, _) => out.write_all(table(&rows).as_bytes())?,
    }
    Ok(())
}

fn row(recipient: &KnownRecipient) -> [String; 3] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let ago = span(now.saturating_sub(recipient.said_unix_seconds));
    let exists = if recipient.exists { "yes" } else { "no" };
    [foreign(&recipient.address), exists.to_owned(), format!("{ago} ago")]
}

/// `text` as a value in a query (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                encoded.push(octet.into());
            }
            _ => write!(encoded, "%{octet:02X}").expect("writing to a String does not fail"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn an_address_is_one_value_of_a_query() {
        assert_eq!(encoded("info@client.example"), "info@client.example");
        assert_eq!(encoded("a+b&c=d\u{fc} %@x"), "a%2Bb%26c%3Dd%C3%BC%20%25@x");
    }
}
