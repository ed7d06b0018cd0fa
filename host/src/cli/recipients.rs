//! `postern recipients`: who domains take mail for whose host is asked, or which have a list.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Method;
use clap::Subcommand;

use super::queue::{answered, read, request, well};
use super::table::{foreign, span, table};
use super::{CommandError, Format, Verdict};
use crate::api::client::{Answer, send};
use crate::api::{Forgotten, KnownRecipient, LIST_MAX, List, Listed, Recipients};
use crate::config::DomainName;

#[derive(Debug, Subcommand)]
pub(super) enum RecipientsCommand {
    /// List the domains' lists, and what hosts said of their recipients; with --json, one object a
    /// line
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
    /// Give a domain the list of all its addresses, one a line; 1 when it waits to be accepted, as
    /// it lacks half of those before
    Import {
        /// The client domain
        domain: DomainName,
        /// The file; "-": standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Use the list of a domain that waits
    Accept {
        /// The client domain
        domain: DomainName,
        /// Only the list that was shown with this sum
        sum: Option<String>,
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
            Self::Import { domain, file, format } => {
                let (text, path) = (given(file)?, format!("/recipients/import?domain={domain}"));
                let answer = send(socket, Method::POST, &path, text).await;
                return listed(&well(answer.map_err(CommandError::run)?)?, domain, *format, out);
            }
            Self::Accept { domain, sum, format } => {
                let sum = sum.as_ref().map(|sum| format!("&sum={}", encoded(sum)));
                let sum = sum.unwrap_or_default();
                let path = format!("/recipients/accept?domain={domain}{sum}");
                let answer = request(socket, Method::POST, &path).await?;
                return listed(&answer, domain, *format, out);
            }
        }
        Ok(Verdict::Well)
    }
}

/// What is in `file`, or comes by standard input.
fn given(file: &Path) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::new();
    let most = LIST_MAX as u64 + 1;
    let read = match file.to_str() {
        Some("-") => io::stdin().lock().take(most).read_to_end(&mut text),
        _ => File::open(file).and_then(|file| file.take(most).read_to_end(&mut text)),
    };
    let failed = |error| CommandError::run(format!("{}: {error}", file.display()));
    match read.map_err(failed)? {
        length if length > LIST_MAX => {
            Err(CommandError::run(format!("{}: is longer than 32 MiB", file.display())))
        }
        _ => Ok(text),
    }
}

fn listed(
    answer: &Answer,
    domain: &DomainName,
    format: Format,
    out: &mut impl Write,
) -> Result<Verdict, CommandError> {
    let Listed { used, addresses, why } = read(answer)?;
    answered(answer, format, out, |_: Listed| match why {
        None => format!("{domain} has {addresses} address(es)\n"),
        Some(why) => format!(
            "the list of {domain} with {addresses} address(es) waits, as {why}: if that is right, \
            postern recipients accept {domain}\n"
        ),
    })?;
    Ok(if used { Verdict::Well } else { Verdict::Problem })
}

async fn list(
    socket: &Path,
    domain: Option<&DomainName>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let domain = domain.map(|domain| format!("domain={domain}&")).unwrap_or_default();
    let mut after = String::new();
    let mut lists =
        vec![["DOMAIN", "SOURCE", "ADDRESSES", "VANISHED", "CAME", ""].map(str::to_owned)];
    let mut rows = vec![["ADDRESS".to_owned(), "EXISTS".to_owned(), "SAID".to_owned()]];
    loop {
        let path = format!("/recipients?{domain}{after}");
        let page: Recipients = read(&request(socket, Method::GET, &path).await?)?;
        for list in page.lists {
            match format.json {
                true => writeln!(out, "{}", serde_json::json!(list))?,
                false => lists.push(list_row(list)),
            }
        }
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
    match (format.json, lists.len(), rows.len()) {
        (true, ..) => {}
        (false, 1, 1) => writeln!(out, "nothing was said of any recipient yet")?,
        (false, 1, _) => out.write_all(table(&rows).as_bytes())?,
        (false, _, 1) => out.write_all(table(&lists).as_bytes())?,
        (false, ..) => write!(out, "{}\n{}", table(&lists), table(&rows))?,
    }
    Ok(())
}

fn list_row(list: List) -> [String; 6] {
    let addresses = list.addresses.map_or_else(|| "none".to_owned(), |many| many.to_string());
    let came = list.unix_seconds.map_or_else(|| "never".to_owned(), ago);
    let why = list.why.unwrap_or_default();
    let told = match list.waiting {
        Some(addresses) => {
            let sum = list.waiting_sum.unwrap_or_default();
            format!("another of {addresses} ({}) waits, as {}", foreign(&sum), foreign(&why))
        }
        None => foreign(&why),
    };
    [list.domain, list.source, addresses, list.vanished.to_string(), came, told]
}

fn ago(unix_seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    format!("{} ago", span(now.saturating_sub(unix_seconds)))
}

fn row(recipient: &KnownRecipient) -> [String; 3] {
    let exists = if recipient.exists { "yes" } else { "no" };
    [foreign(&recipient.address), exists.to_owned(), ago(recipient.said_unix_seconds)]
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
