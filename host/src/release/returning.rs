//! What submitted mail came to, told to its sender (RFC 3461): the notification becomes durable in
//! one with what it tells, or neither does.

use std::time::Duration;

use postern_core::dsn::{About, Action, Report, Returned, has_whole_header, header_len};
use postern_core::envelope::{Body as Content, Notify, Ret};
use postern_core::time::Timestamp;
use postern_core::wire::path::parse_forward;
use postern_core::wire::{Out, Text};
use postern_spool::{
    Admission, Body, Claim, Envelope, FOLLOW_BYTES_MAX, Fate, MsgId, NewMessage, Recipient,
    RecipientNo, Retry, Settled, Spool,
};

use crate::policy::{Peer, Policies};

/// Octets of a header that are given back.
const HEADER_MAX: usize = 16 << 10;
/// Octets of a message that is given back whole, where its sender wants that.
const MESSAGE_MAX: usize = 32 << 10;
/// Octets of a line that is given back, without its end (RFC 5321 section 4.5.3.1.6).
const LINE_MAX: usize = 998;

/// What tells senders of their mail.
#[derive(Clone, Copy)]
pub(super) struct Reporter<'t> {
    /// What we call ourselves.
    pub(super) hostname: &'t str,
    /// Where notifications go.
    pub(super) policies: &'t Policies,
    /// Where the mail was to go.
    pub(super) host: &'t str,
    /// What success there is to us; none: the host tells of it itself (RFC 3461 section 5.2.1).
    pub(super) success: Option<Action>,
    /// How long mail waits before its sender may hear of that.
    pub(super) notice_after: Duration,
    /// The time.
    pub(super) now: Timestamp,
}

/// A recipient that the sender is to hear of.
struct News<'c> {
    number: RecipientNo,
    action: Action,
    recipient: &'c Recipient,
    reply: Vec<u8>,
}

/// What was read of a message.
#[derive(Default)]
struct Read {
    octets: Vec<u8>,
    /// Octets of the header, or of its beginning, in whole lines.
    header: usize,
    /// It is all of it, and may be given back.
    is_whole: bool,
}

/// A notification, and of how many recipients it tells.
struct Written {
    told: usize,
    body: Vec<u8>,
    needs_utf8: bool,
}

impl Reporter<'_> {
    /// `settled` with what its sender is to hear. What he does not want to hear of is not kept; a
    /// notification, of which nobody can be told, is. Of what nobody has submitted nobody hears.
    pub(super) async fn report<S: Spool>(
        &self,
        spool: &S,
        claim: &Claim,
        mut settled: Settled,
    ) -> Settled {
        let envelope = &claim.envelope;
        if !envelope.submitted {
            return settled;
        }
        // What is left of a full disk is for settlings: refusals are kept, and shown.
        let has_room = matches!(*spool.admission().borrow(), Admission::Open { .. });
        let news = if has_room { self.news(claim, &settled) } else { Vec::new() };
        if !news.is_empty() && !envelope.reverse_path.is_empty() {
            // Where there is no way to the sender, his mail is kept, and shown.
            let Some(to) = self.way_back(&envelope.reverse_path) else { return settled };
            let message = read(spool, claim).await;
            let Some(written) = self.write(envelope, &news, &message) else { return settled };
            let (told, others) = news.split_at(written.told);
            let is_in = |news: &[News<'_>], number| news.iter().any(|one| one.number == number);
            // Those that there was no room for have another try, and are told of behind that.
            let had = settled.fates.len();
            settled.fates.retain(|(number, fate)| !(is_in(others, *number) && is_end(fate)));
            if settled.fates.len() < had {
                settled.retry = Retry::Now;
            }
            let told_of = |(number, _): &&mut (RecipientNo, Fate)| is_in(told, *number);
            settled.fates.iter_mut().filter(told_of).for_each(|(_, fate)| tell(fate));
            settled.follow = Some(self.message(to, written));
            let (id, recipients) = (claim.id, told.len());
            tracing::info!(%id, recipients, "its sender is told");
        }
        for (number, fate) in settled.fates.iter_mut().filter(|(_, fate)| is_end(fate)) {
            let recipient = envelope.recipients.get(number.0 as usize);
            let is_unwanted = recipient.is_some_and(|to| !hears_of_failure(to.notify));
            if is_unwanted && !envelope.reverse_path.is_empty() {
                let id = claim.id;
                tracing::info!(%id, reply = %fate.reply().escape_ascii(), "given up, and not kept");
                tell(fate);
            }
        }
        settled
    }

    fn news<'c>(&self, claim: &'c Claim, settled: &Settled) -> Vec<News<'c>> {
        let arrival = claim.envelope.arrival;
        let age = self.now.unix_seconds.saturating_sub(arrival.unix_seconds);
        let is_late = self.now.known && arrival.known && age >= self.notice_after.as_secs();
        let news = settled.fates.iter().filter_map(|(number, fate)| {
            let recipient = claim.envelope.recipients.get(number.0 as usize)?;
            let notify = recipient.notify;
            let action = match fate {
                Fate::Refused(_) if hears_of_failure(notify) => Action::Failed,
                Fate::Expired(_) if hears_of_failure(notify) => Action::Expired,
                Fate::Deferred(_) if is_late && notify.has(Notify::DELAY) => Action::Delayed,
                Fate::Delivered(_) if notify.has(Notify::SUCCESS) => self.success?,
                _ => return None,
            };
            Some(News { number: *number, action, recipient, reply: fate.reply().to_vec() })
        });
        let mut news: Vec<_> = news.collect();
        // What has no second time to be told stands first.
        news.sort_by_key(News::is_end_or_waits);
        news
    }

    /// Where mail to `reverse_path` goes from here.
    fn way_back(&self, reverse_path: &[u8]) -> Option<Vec<u8>> {
        let path = [b"<", reverse_path, b">"].concat();
        let (path, _) = parse_forward(&path)?;
        let nobody = Peer::Internet(std::net::Ipv4Addr::UNSPECIFIED.into());
        self.policies.outgoing(&path, nobody).ok().map(|taken| taken.path)
    }

    /// The notification of as much of the `news`, and with as much of the message, as fits; none
    /// where it cannot be said.
    fn write(&self, envelope: &Envelope, news: &[News<'_>], message: &Read) -> Option<Written> {
        let header = Returned::Header(message.octets.get(..message.header)?);
        let utf8 = !envelope.reverse_path.is_ascii();
        let is_given = message.is_whole && (utf8 || !envelope.smtp_utf8);
        let all = if is_given { Returned::Message(&message.octets) } else { header };
        let parts =
            [(all, false), (header, false), (Returned::Nothing, false), (Returned::Nothing, true)];
        let sizes = std::iter::successors(Some(news.len()), |size| Some(size - size.div_ceil(8)));
        let tries = sizes.take_while(|size| *size > 0);
        let tries = tries.flat_map(|size| parts.map(|part| (size, part)));
        let mut body = vec![0; FOLLOW_BYTES_MAX];
        for (told, (returned, is_brief)) in tries {
            let id = MsgId::now().to_string();
            // Of success there is no second time to tell.
            let untold = news[told..].iter().filter(|one| !one.is_end_or_waits()).count();
            let untold = u32::try_from(untold).unwrap_or(u32::MAX);
            let report = Report { untold, ..self.about(envelope, &id)? };
            let (news, returned) = (&news[..told], as_wanted(&news[..told], returned, header));
            let recipients = news.iter().map(|one| one.about(is_brief));
            let mut out = Out::new(&mut body);
            if report.write(recipients, returned, &mut out).is_ok() {
                let length = out.len();
                body.truncate(length);
                return Some(Written { told, body, needs_utf8: report.utf8 });
            }
        }
        None
    }

    /// A sender whose own address is ASCII may have no way that takes SMTPUTF8.
    fn about<'r>(&'r self, envelope: &'r Envelope, id: &'r str) -> Option<Report<'r>> {
        Some(Report {
            hostname: Text::new(self.hostname.as_bytes())?,
            to: &envelope.reverse_path,
            id: Text::new(id.as_bytes())?,
            time: self.now,
            arrival: envelope.arrival,
            envelope_id: &envelope.envelope_id,
            remote: Text::new(self.host.as_bytes())?,
            untold: 0,
            utf8: !envelope.reverse_path.is_ascii(),
        })
    }

    /// The message of our own to `to`, from nobody (RFC 3464 section 2).
    fn message(&self, to: Vec<u8>, Written { body, needs_utf8, .. }: Written) -> NewMessage {
        let is_ascii = body.is_ascii();
        let envelope = Envelope {
            arrival: self.now,
            client: None,
            client_port: 0,
            helo: self.hostname.as_bytes().to_vec(),
            esmtp: false,
            tls: false,
            authenticated: false,
            submitted: true,
            smtp_utf8: needs_utf8 || !to.is_ascii(),
            reverse_path: Vec::new(),
            body: if is_ascii { Content::SevenBit } else { Content::EightBitMime },
            ret: Ret::Unstated,
            envelope_id: Vec::new(),
            recipients: vec![Recipient { notify: Notify::NEVER, ..Recipient::new(&to) }],
        };
        NewMessage { envelope, body }
    }
}

impl News<'_> {
    /// Brief: success without the host's words.
    fn about(&self, is_brief: bool) -> About<'_> {
        let Recipient { path, original, .. } = self.recipient;
        let is_brief = is_brief && !self.is_end_or_waits();
        let reply: &[u8] = if is_brief { b"" } else { &self.reply };
        About { path, original, action: self.action, reply, is_brief }
    }

    const fn is_failure(&self) -> bool {
        matches!(self.action, Action::Failed | Action::Expired)
    }

    const fn is_end_or_waits(&self) -> bool {
        !matches!(self.action, Action::Relayed | Action::Delivered)
    }
}

/// What is given back with `news`: all of the message only where one of them is a failure (RFC
/// 3461 section 4.3), else its `header`.
fn as_wanted<'r>(news: &[News<'_>], all: Returned<'r>, header: Returned<'r>) -> Returned<'r> {
    match all {
        Returned::Message(_) if !news.iter().any(News::is_failure) => header,
        all => all,
    }
}

/// Whether nothing more is done for the recipient.
const fn is_end(fate: &Fate) -> bool {
    matches!(fate, Fate::Refused(_) | Fate::Expired(_))
}

/// Whether its sender wants to hear that a recipient was not delivered to (RFC 3461 section 4.1).
fn hears_of_failure(notify: Notify) -> bool {
    notify == Notify::UNSTATED || notify.has(Notify::FAILURE)
}

/// What a fate is once the sender was told.
fn tell(fate: &mut Fate) {
    *fate = match std::mem::replace(fate, Fate::Returned(Vec::new())) {
        Fate::Refused(reply) | Fate::Expired(reply) => Fate::Returned(reply),
        Fate::Deferred(reply) => Fate::Delayed(reply),
        fate => fate,
    };
}

/// What is given back of a message; nothing where it cannot be read.
async fn read<S: Spool>(spool: &S, claim: &Claim) -> Read {
    let is_wanted = claim.envelope.ret == Ret::Full
        && claim.envelope.body != Content::BinaryMime
        && claim.size <= MESSAGE_MAX as u64;
    let max = if is_wanted { MESSAGE_MAX } else { HEADER_MAX };
    let mut octets = Vec::new();
    let Ok(mut body) = spool.body(claim.id).await else { return Read::default() };
    let has_enough = |octets: &[u8]| octets.len() >= max || !is_wanted && has_whole_header(octets);
    while !has_enough(&octets) {
        match body.chunk().await {
            Ok([]) => break,
            Ok(chunk) => octets.extend_from_slice(chunk),
            Err(_) => return Read::default(),
        }
    }
    let is_whole = is_wanted && octets.len() as u64 == claim.size && has_short_lines(&octets);
    octets.truncate(max);
    let header = header_len(&octets);
    let header = if has_short_lines(&octets[..header]) { header } else { 0 };
    Read { octets, header, is_whole }
}

fn has_short_lines(octets: &[u8]) -> bool {
    octets.split(|octet| *octet == b'\n').all(|line| line.len() <= LINE_MAX + 1)
}

#[cfg(test)]
mod tests;
