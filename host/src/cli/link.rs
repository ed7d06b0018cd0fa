//! `postern link`: the link by which mail comes.

use std::io::Write;
use std::path::Path;

use axum::http::Method;
use clap::Subcommand;

use super::queue::{answered, request};
use super::status::link_rows;
use super::table::table;
use super::{CommandError, Format, Verdict};

#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Raise it now, whatever the schedule says; it goes down again when it is idle
    Up(Format),
    /// Lower it now, whoever raised it, and whoever uses it
    Down(Format),
    /// Whether it is up, who raised it, and when the schedule opens or ends
    Status(Format),
}

impl LinkCommand {
    pub(super) async fn run(
        &self,
        socket: &Path,
        out: &mut impl Write,
    ) -> Result<Verdict, CommandError> {
        let (method, path, format) = match self {
            Self::Up(format) => (Method::POST, "/link/up", format),
            Self::Down(format) => (Method::POST, "/link/down", format),
            Self::Status(format) => (Method::GET, "/link", format),
        };
        let answer = request(socket, method, path).await?;
        answered(&answer, *format, out, |link| table(&link_rows(&link)))?;
        Ok(Verdict::Well)
    }
}
