//! Waking a holder by e-mail.

use postern_core::client::Mail;
use postern_core::wakeup::Email;
use postern_core::wire::params::MailParams;
use postern_core::wire::{Out, Text};
use postern_spool::MsgId;
use postern_spool::clock::Clock;

use crate::config::{self, DomainName};
use crate::deliver::{Answer, Connection};

/// Octets that the message has at most: what does not fit is counted in it.
const MESSAGE_MAX: usize = 4096;

/// Sends the e-mail, which tells the holder `names`; what it said.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn send(
    email: &config::Email,
    names: &[DomainName],
    (hostname, clock): (&str, &Clock),
    connection: &mut Connection<'_>,
) -> Result<Answer, String> {
    let mut octets = vec![0; MESSAGE_MAX];
    let mut out = Out::new(&mut octets);
    let (from, to) = (email.from.as_str(), email.to.as_str());
    let id = MsgId::now().to_string();
    let text = |text: &'static str, said: &str| format!("the {text} {said:?} cannot be said");
    let message = Email {
        hostname: Text::new(hostname.as_bytes()).ok_or_else(|| text("host name", hostname))?,
        from: Text::new(from.as_bytes()).ok_or_else(|| text("sender", from))?,
        to: Text::new(to.as_bytes()).ok_or_else(|| text("account", to))?,
        id: Text::new(id.as_bytes()).ok_or_else(|| text("id", &id))?,
        time: clock.timestamp(),
    };
    let written = message.write(names.iter().map(|name| name.as_str().as_bytes()), &mut out);
    written.map_err(|_| format!("the message has more than {MESSAGE_MAX} octets"))?;
    let message = out.written();
    let params = MailParams { size: Some(message.len() as u64), ..MailParams::default() };
    let mail = Mail { reverse_path: from.as_bytes(), params, needs_utf8: false };
    connection.send_own(&mail, to.as_bytes(), message).await
}
