//! What one kind of session offers and how patient it is.

use crate::wire::Text;
use crate::wire::ehlo::{Extension, Extensions, Offer};
use crate::wire::reply::{MAX_NAMED, MAX_REPLY};

/// The constants of a session. All of it can be `const`, as a device wants it.
///
/// ```
/// use postern_core::session::Config;
/// use postern_core::wire::{Text, ehlo::Extension};
///
/// const HOSTNAME: Text<'static> = Text::new(b"mx2.provider.example").expect("printable");
/// const CONFIG: Config<'static> = Config::new(HOSTNAME).with(Extension::Chunking);
/// assert!(CONFIG.min_out() < 1024);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Config<'c> {
    /// The name in the greeting and in EHLO's reply.
    pub hostname: Text<'c>,
    /// What EHLO's reply offers and commands may use.
    pub extensions: Extensions,
    /// Octets of a message at most (RFC 1870).
    pub max_message_size: u64,
    /// Recipients of a transaction at most; 100 at least (RFC 5321 §4.5.3.1.8).
    pub max_recipients: u16,
    /// SASL mechanisms, separated by spaces, behind AUTH in EHLO's reply under TLS; without any,
    /// AUTH is not offered at all.
    pub auth_mechanisms: Text<'c>,
    /// Those that are offered without TLS; without any, AUTH is taken under TLS only.
    pub clear_auth_mechanisms: Text<'c>,
    /// Milliseconds that a command may take, and that a message may fall behind `min_rate`; five
    /// minutes (RFC 5321 §4.5.3.2.7).
    pub idle_timeout_ms: u32,
    /// Milliseconds of waiting for the client that a session may cost from one message that is
    /// accepted to the next, not counting those inside a message.
    pub session_timeout_ms: u32,
    /// Octets a second that a message must come in with, over time; 0 asks for none. Inside a
    /// message there is no other limit (RFC 5321 §4.5.3.2 has none for a message as a whole).
    pub min_rate: u32,
    /// Commands that are refused for good (5yz) from one message that is accepted to the next; the
    /// session ends with as many. 0 asks for none.
    pub max_errors: u16,
    /// Commands that lead nowhere, such as NOOP, RSET, VRFY, EHLO or ETRN, from one message that is
    /// accepted to the next; the session ends with as many. 0 asks for none.
    pub max_idle_commands: u16,
}

/// What binds a caller to nothing that plain SMTP does not.
const BARE: Extensions = Extensions::NONE
    .with(Extension::Pipelining)
    .with(Extension::Size)
    .with(Extension::EightBitMime)
    .with(Extension::EnhancedStatusCodes)
    .with(Extension::Limits);

const NO_MECHANISMS: Text<'static> = match Text::new(b"") {
    Some(text) => text,
    None => panic!("an empty text is printable"),
};

impl<'c> Config<'c> {
    /// Bare receiving: PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES and LIMITS; 50 MiB, 1,000
    /// recipients, five minutes of patience, an hour from message to message, 50 octets a second,
    /// 20 errors, 100 idle commands.
    ///
    /// What else is offered is a promise of the caller's, and is added by [`Config::with`]:
    /// SMTPUTF8 that it passes such mail only to hosts that take it, DSN that NOTIFY, ORCPT, RET
    /// and ENVID are kept with the message, ETRN and the others that their events are answered.
    pub const fn new(hostname: Text<'c>) -> Self {
        Self {
            hostname,
            extensions: BARE,
            max_message_size: 50 * 1024 * 1024,
            max_recipients: 1000,
            auth_mechanisms: NO_MECHANISMS,
            clear_auth_mechanisms: NO_MECHANISMS,
            idle_timeout_ms: 300_000,
            session_timeout_ms: 3_600_000,
            min_rate: 50,
            max_errors: 20,
            max_idle_commands: 100,
        }
    }

    /// What is offered: extensions whose prerequisites are, too.
    pub const fn offered(&self) -> Extensions {
        if self.auth_mechanisms.as_bytes().is_empty() {
            return self.extensions.without(Extension::Auth);
        }
        self.extensions
    }

    /// Offers AUTH with `mechanisms`, separated by spaces (RFC 4954), under TLS and without.
    #[must_use]
    pub const fn with_auth(self, mechanisms: Text<'c>) -> Self {
        self.with_tls_auth(mechanisms, mechanisms)
    }

    /// Offers AUTH with `mechanisms` under TLS, and with those of `clear` without: an empty text is
    /// none, and AUTH then needs TLS (RFC 4954 §4 wants that of PLAIN, and of all that tells a
    /// listener the password).
    #[must_use]
    pub const fn with_tls_auth(mut self, mechanisms: Text<'c>, clear: Text<'c>) -> Self {
        (self.auth_mechanisms, self.clear_auth_mechanisms) = (mechanisms, clear);
        self.with(Extension::Auth)
    }

    /// Offers `extension` too.
    #[must_use]
    pub const fn with(mut self, extension: Extension) -> Self {
        self.extensions = self.extensions.with(extension);
        self
    }

    /// Does not offer `extension`.
    #[must_use]
    pub const fn without(mut self, extension: Extension) -> Self {
        self.extensions = self.extensions.without(extension);
        self
    }

    /// Octets of the longest command line, CRLF included. The input that a caller lends must hold
    /// as many.
    pub const fn min_input(&self) -> usize {
        self.offered().longest_command()
    }

    /// Octets that the output must have free before a step: the longest reply, which may be EHLO's
    /// (RFC 5321 §4.1.1.1), or the greeting.
    pub const fn min_out(&self) -> usize {
        let named = self.hostname.as_bytes().len() + MAX_NAMED;
        let hello = self.offer().longest();
        let longest = if named > MAX_REPLY { named } else { MAX_REPLY };
        if hello > longest { hello } else { longest }
    }

    const fn longer_mechanisms(&self) -> Text<'c> {
        let (tls, clear) = (self.auth_mechanisms, self.clear_auth_mechanisms);
        if clear.as_bytes().len() > tls.as_bytes().len() { clear } else { tls }
    }

    /// All that is offered, at its longest.
    pub(super) const fn offer(&self) -> Offer<'c> {
        Offer {
            hostname: self.hostname,
            extensions: self.offered(),
            hidden: Extensions::NONE,
            max_message_size: self.max_message_size,
            max_recipients: self.max_recipients,
            auth_mechanisms: self.longer_mechanisms(),
        }
    }
}
