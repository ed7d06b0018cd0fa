//! The `postern` command: what it is told, and what it answers.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use tokio::runtime::Builder;

use crate::config::{self, Config, DomainName, Problem};
use crate::observe::log;
use crate::serve::serve;
use account::AccountCommand;
use appletalk::AppleTalkCommand;
use card::CardCommand;
use check::CheckCommand;
use etrn::EtrnCommand;
use link::LinkCommand;
use queue::QueueCommand;
use recipients::RecipientsCommand;
use spool::SpoolCommand;
use status::WakeupCommand;
use terminal::Plain;

mod account;
mod appletalk;
mod card;
mod check;
mod etrn;
mod link;
mod queue;
mod recipients;
mod spool;
mod status;
mod table;
mod terminal;

/// A back-up mail exchanger: holds mail durably until its hosts come for it.
#[derive(Debug, Parser)]
#[command(name = "postern", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/postern/postern.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done, and all is well
  1  a problem was found, or it could not be done
  2  wrong usage, or a wrong configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Take, hold and release mail, until SIGTERM; SIGHUP reads the configuration again
    Serve,
    /// Check the configuration: every error, and what works but hurts
    Check(CheckCommand),
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The mail that a running server holds
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Who the running server takes mail for, as hosts say (recipients = "ask"), or lists
    #[command(subcommand)]
    Recipients(RecipientsCommand),
    /// The spool as it is on the disk, whether or not a server uses it
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Who may ask for mail by password; a running server sees each change
    #[command(subcommand)]
    Account(AccountCommand),
    /// A device's memory card, or its image in a file
    #[command(subcommand)]
    Card(CardCommand),
    /// Ask a holder by ETRN (RFC 1985) for the mail that it holds; 1 when it will not send it
    Etrn(EtrnCommand),
    /// The link by which the running server's mail comes
    #[command(subcommand)]
    Link(LinkCommand),
    /// Tell a running server that a domain's host is there: its mail is delivered now. For a hook
    /// of RADIUS, pppd or WireGuard
    LinkUp(LinkUp),
    /// The holders that the running server asks for mail: what they said last, and when they are
    /// asked next
    Wakeup(WakeupCommand),
    /// What the running server does: whether it listens, whom it asks for mail, what it holds
    Status(Format),
    /// The AppleTalk cable that a mailer and we are on
    #[command(subcommand)]
    Appletalk(AppleTalkCommand),
    /// Whether all is well with the running server
    Health(Format),
    /// The version
    Version(Format),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a whole configuration file: every key with its purpose and default
    Default,
}

#[derive(Debug, Args)]
struct LinkUp {
    /// The client domain
    domain: DomainName,
    /// Where its host is: for mail that is fetched (deliver_to = "asker"), which goes to port 25
    /// there this once
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    #[command(flatten)]
    format: Format,
}

/// How a command answers.
#[derive(Debug, Clone, Copy, Args)]
struct Format {
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// How a command ended that could be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well = 0,
    Problem = 1,
    Misconfigured = 2,
}

/// Why a command could not be run.
#[derive(Debug)]
enum CommandError {
    /// The configuration is wrong.
    Config(Vec<Problem>),
    /// It was tried, and this happened.
    Run(String),
    /// Whoever reads the answer has gone.
    Output(io::Error),
}

impl CommandError {
    fn run(reason: impl Display) -> Self {
        Self::Run(reason.to_string())
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Run(reason) => write!(f, "postern: {reason}"),
            Self::Output(error) => write!(f, "postern: writing the answer: {error}"),
        }
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run(&mut Plain(io::stdout().lock())) {
        Ok(verdict) => ExitCode::from(verdict as u8),
        // `postern queue list | head` is no failure.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            complain(failure.to_string());
            let misconfigured = matches!(failure, CommandError::Config(_));
            let verdict = if misconfigured { Verdict::Misconfigured } else { Verdict::Problem };
            ExitCode::from(verdict as u8)
        }
    }
}

/// Says on standard error what went wrong. Where nobody reads that, the process ends all the same.
fn complain(failure: String) {
    let (sender, written) = mpsc::channel();
    thread::spawn(move || sender.send(writeln!(Plain(io::stderr()), "{failure}")));
    // Unwritten or written: there is nobody else to tell.
    let _ = written.recv_timeout(Duration::from_secs(1));
}

impl Cli {
    fn run(&self, out: &mut impl Write) -> Result<Verdict, CommandError> {
        match &self.command {
            Command::Serve => self.serve(),
            Command::Check(command) => command.run(&self.config, out),
            Command::Config(ConfigCommand::Default) => {
                out.write_all(config::default_file().as_bytes())?;
                Ok(Verdict::Well)
            }
            Command::Queue(command) => {
                let socket = control_socket(&self.config)?;
                wait_for(command.run(&socket, out))
            }
            Command::Recipients(command) => {
                let socket = control_socket(&self.config)?;
                wait_for(command.run(&socket, out))
            }
            Command::Spool(command) => command.run(&load(&self.config)?.spool.path, out),
            Command::Account(command) => command.run(&load(&self.config)?, out),
            Command::Card(command) => command.run(&self.config, out),
            Command::Etrn(command) => wait_for(command.run(out)),
            Command::LinkUp(LinkUp { domain, address, format }) => {
                let socket = control_socket(&self.config)?;
                wait_for(queue::link_up(&socket, (domain, *address), *format, out))
            }
            Command::Link(command) => {
                let socket = control_socket(&self.config)?;
                wait_for(command.run(&socket, out))
            }
            Command::Wakeup(command) => {
                let socket = control_socket(&self.config)?;
                wait_for(command.run(&socket, out))
            }
            Command::Status(format) => {
                let socket = control_socket(&self.config)?;
                wait_for(status::status(&socket, *format, out))
            }
            Command::Appletalk(command) => wait_for(command.run(&self.config, out)),
            Command::Health(format) => {
                let socket = control_socket(&self.config)?;
                wait_for(queue::health(&socket, *format, out))
            }
            Command::Version(format) => {
                let version = env!("CARGO_PKG_VERSION");
                match format.json {
                    true => writeln!(out, "{}", serde_json::json!({ "version": version }))?,
                    false => writeln!(out, "postern {version}")?,
                }
                Ok(Verdict::Well)
            }
        }
    }
}

impl Cli {
    fn serve(&self) -> Result<Verdict, CommandError> {
        let config = load(&self.config)?;
        let directives = env::var(log::VARIABLE).ok();
        let _log = log::start(&config.log, directives.as_deref()).map_err(CommandError::run)?;
        let runtime =
            Builder::new_multi_thread().enable_all().build().map_err(CommandError::run)?;
        let served = runtime.block_on(serve(self.config.clone(), config));
        // A file that is a pipe, or a disk that does not answer, must not keep the process.
        runtime.shutdown_background();
        served.map(|()| Verdict::Well).map_err(CommandError::run)
    }
}

fn load(file: &Path) -> Result<Config, CommandError> {
    Config::load(file).map_err(CommandError::Config)
}

fn control_socket(file: &Path) -> Result<PathBuf, CommandError> {
    Config::control_socket(file).map_err(CommandError::Config)
}

/// Runs what one command waits for; one thread is enough for it.
fn wait_for<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(CommandError::run)?.block_on(work)
}
