//! Handing held mail on, and asking for it by ETRN: core's client on a TCP connection, with
//! STARTTLS where it is offered.
//!
//! The host that a domain's mail goes to is configured, or found by the domain's MX records, and
//! stands for that domain alone. TLS is opportunistic (RFC 7435): it keeps listeners out, no
//! certificate is verified, and a host with which TLS does not work gets the mail in clear, as it
//! would without STARTTLS.
//!
//! Where a domain's mail goes into a Maildir, that folder stands for the host. The smarthost of all
//! domains that are not held is authenticated with, under verified TLS.

mod answer;
mod asking;
mod connection;
mod connector;
mod destination;
mod dialling;
mod exchangers;
mod heard;
mod link;
mod login;
mod maildir;
mod not_open;
mod relay;
mod told;
mod transfer;

pub use answer::Answer;
pub use asking::Asker;
pub(crate) use asking::told_by;
pub use connection::{Asked, Connection, Login, Open, Probe};
pub use connector::{Connecting, Connector, Tcp};
pub use destination::Destination;
pub use heard::Heard;
pub(crate) use link::PlainClock;
pub(crate) use login::{Credentials, LoggedIn, Trust};
pub use maildir::check as check_maildir;
pub use not_open::{Failed, NotOpen};
pub use relay::check as check_relay;
pub use transfer::{Loss, Sent, Stage, Verdict};

pub use crate::net::stream::{ReadWrite, Stream};
