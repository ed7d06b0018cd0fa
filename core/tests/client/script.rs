//! A peer that says its lines in order, and a caller that plays the client against it.

use postern_core::client::{
    CallError, Client, Config, End, Event, Mail, Mechanism, Need, Next, Protocol, Recipient, Reply,
    Step, Timeouts, TlsPolicy,
};
use postern_core::time::Instant;
use postern_core::wire::params::{Body, MailParams, RcptParams, Ret};
use postern_core::wire::{Out, Text};

pub const CONFIG: Config<'static> = Config {
    hostname: Text::new(b"mx2.example").expect("printable"),
    protocol: Protocol::Smtp,
    tls: TlsPolicy::Off,
    timeouts: Timeouts::RFC5321,
};

pub const MAIL: Mail<'static> =
    Mail { reverse_path: b"ann@a.example", params: NO_PARAMS, needs_utf8: false };

pub const NO_PARAMS: MailParams<'static> = MailParams {
    size: None,
    body: Body::SevenBit,
    smtputf8: false,
    ret: Ret::Unstated,
    envid: None,
    auth: None,
};

/// What the caller wants done, in order; QUIT follows by itself.
#[derive(Clone, Copy)]
pub enum Job<'a> {
    Message {
        mail: Mail<'a>,
        to: &'a [&'a str],
        body: &'a [u8],
    },
    /// A message whose MAIL goes behind the end of the one before.
    Behind {
        mail: Mail<'a>,
        to: &'a [&'a str],
        body: &'a [u8],
    },
    /// Whether this recipient would be taken.
    Probe(&'a str),
    Etrn(&'a str),
    /// Each challenge is answered by the next of these; behind the last, it is given up.
    Auth(Mechanism, Option<&'a str>, &'a [&'a str]),
    /// Whatever follows is the peer's.
    Atrn(&'a [&'a str]),
}

/// How the octets come and go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The peer's octets up to this one come first, and the rest apart from them.
    pub cut: usize,
    /// Octets of the message that are given at once.
    pub piece: usize,
    /// Octets of the output that is lent.
    pub room: usize,
}

/// Each entry: what the client must have said since the one before, and the peer's answer.
pub type Script<'a> = &'a [(&'a str, &'a str)];

struct Caller<'a> {
    jobs: &'a [Job<'a>],
    job: usize,
    body_from: usize,
    responses: usize,
    log: Vec<String>,
}

impl Caller<'_> {
    fn attend(&mut self, client: &mut Client<'_>, need: Need, pace: Pace, out: &mut Out<'_>) {
        let result = match (need, self.jobs.get(self.job.saturating_sub(1)).copied()) {
            (Need::Transaction, _) => return self.next_job(client, out),
            (Need::Recipient { index }, Some(Job::Message { to, .. } | Job::Behind { to, .. })) => {
                match to.get(usize::from(index)) {
                    Some(to) => self.taken(client.rcpt(&recipient(to), out), client),
                    None => client.rcpt_end(),
                }
            }
            (Need::Recipient { index: 0 }, Some(Job::Probe(to))) => {
                client.rcpt(&recipient(to), out)
            }
            (Need::Recipient { .. }, Some(Job::Probe(_))) => client.abandon(),
            (Need::Body, Some(Job::Message { body, .. } | Job::Behind { body, .. }))
                if self.body_from < body.len() =>
            {
                let end = body.len().min(self.body_from + pace.piece);
                let piece = &body[self.body_from..end];
                client.body(piece, out).map(|octets| {
                    assert!(octets > 0, "a step promised room");
                    self.body_from += octets;
                })
            }
            (Need::Body, _) => client.body_end(out).and_then(|()| self.queue_next(client, out)),
            (Need::Response, Some(Job::Auth(_, _, responses))) => {
                self.responses += 1;
                match responses.get(self.responses - 1) {
                    Some(response) => client.respond(response.as_bytes(), out),
                    None => client.cancel(out),
                }
            }
            (Need::Tls, _) => {
                self.log.push("tls".into());
                client.tls_started()
            }
            (need, _) => panic!("nothing to do for {need:?}"),
        };
        result.expect("the client asked for it");
    }

    /// A recipient that can't be sent to this peer ends the list of the scripts here.
    fn taken(
        &mut self,
        result: Result<(), CallError>,
        client: &mut Client<'_>,
    ) -> Result<(), CallError> {
        if result != Err(CallError::NeedsSmtpUtf8) {
            return result;
        }
        self.log.push("error: the recipient needs SMTPUTF8".into());
        client.rcpt_end()
    }

    fn queue_next(&mut self, client: &mut Client<'_>, out: &mut Out<'_>) -> Result<(), CallError> {
        let Some(Job::Behind { mail, .. }) = self.jobs.get(self.job).copied() else {
            return Ok(());
        };
        match client.mail_behind(&mail, out) {
            Ok(()) => (self.job, self.body_from) = (self.job + 1, 0),
            // It is begun when its turn has come.
            Err(CallError::NoRoom | CallError::PipeliningNotOffered) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn next_job(&mut self, client: &mut Client<'_>, out: &mut Out<'_>) {
        const NULL: Mail<'static> = Mail { reverse_path: b"", ..MAIL };
        let result = match self.jobs.get(self.job).copied() {
            Some(Job::Message { mail, .. } | Job::Behind { mail, .. }) => client.mail(&mail, out),
            Some(Job::Probe(_)) => client.mail(&NULL, out),
            Some(Job::Etrn(node)) => client.etrn(node.as_bytes(), out),
            Some(Job::Auth(mechanism, initial, _)) => {
                client.auth(mechanism, initial.map(str::as_bytes), out)
            }
            Some(Job::Atrn(domains)) => {
                client.atrn(domains.iter().map(|domain| domain.as_bytes()), out)
            }
            None => client.quit(),
        };
        self.job += 1;
        (self.body_from, self.responses) = (0, 0);
        match result {
            Ok(()) => {}
            Err(
                error @ (CallError::NeedsSmtpUtf8
                | CallError::NeedsBinaryMime
                | CallError::EtrnNotOffered
                | CallError::AtrnNotOffered
                | CallError::AuthNotOffered
                | CallError::NeedsTls),
            ) => {
                self.log.push(format!("error: {error}"));
                self.next_job(client, out);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn recipient(path: &str) -> Recipient<'_> {
    Recipient { forward_path: path.as_bytes(), params: RcptParams::default() }
}

pub fn shown(event: &Event<Reply<'_>>) -> String {
    match event {
        Event::Greeting(reply) => format!("greeting: {reply}"),
        Event::MailRefused(reply) => format!("mail refused: {reply}"),
        Event::Recipient { index, reply } => format!("rcpt {index}: {reply}"),
        Event::Message(reply) => format!("message: {reply}"),
        Event::Delivered { index, reply } => format!("delivered {index}: {reply}"),
        Event::Etrn(reply) => format!("etrn: {reply}"),
        Event::Challenge(reply) => format!("challenge: {reply}"),
        Event::Auth(reply) => format!("auth: {reply}"),
        Event::Atrn(reply) => format!("atrn: {reply}"),
    }
}

pub fn shown_end(end: &End<Reply<'_>>) -> String {
    match end {
        End::Refused { phase, reply } => format!("refused in {phase:?}: {reply}"),
        End::Fault(fault) => format!("fault: {fault}"),
    }
}

/// Plays the script at one pace; returns what the client reported.
pub fn play_at(
    config: Config<'_>,
    jobs: &[Job<'_>],
    script: Script<'_>,
    pace: Pace,
) -> Vec<String> {
    let mut client = Client::new(config);
    let mut caller = Caller { jobs, job: 0, body_from: 0, responses: 0, log: Vec::new() };
    let mut lines = script.iter();
    let mut line = lines.next();
    let (mut said, mut input, mut unsent) = (Vec::new(), Vec::new(), Vec::new());
    let mut cut = Some(pace.cut);
    loop {
        let mut buffer = vec![0; pace.room];
        let mut out = Out::new(&mut buffer);
        let need = loop {
            let Step { consumed, next } = client.step(Instant::from_millis(0), &input, &mut out);
            match next {
                // Every script but those of this very thing has a greeting.
                Next::Event(Event::Greeting(_)) => {}
                Next::Event(event) => caller.log.push(shown(&event)),
                Next::End(end) => caller.log.push(shown_end(&end)),
                Next::Need(need @ (Need::Input | Need::Room | Need::Turn | Need::Close)) => {
                    input.drain(..consumed);
                    break need;
                }
                Next::Need(need) => caller.attend(&mut client, need, pace, &mut out),
            }
            input.drain(..consumed);
        };
        said.extend_from_slice(out.written());
        match line {
            Some((expected, answer)) if said == expected.as_bytes() => {
                unsent.extend_from_slice(answer.as_bytes());
                said.clear();
                line = lines.next();
            }
            Some((expected, _)) => assert!(
                expected.as_bytes().starts_with(&said),
                "said {:?}, expected {expected:?}",
                said.escape_ascii().to_string()
            ),
            None => assert!(said.is_empty(), "said {:?} after the end", said.escape_ascii()),
        }
        match need {
            Need::Close => {
                assert!(line.is_none(), "closed before {line:?} at {pace:?}");
                return caller.log;
            }
            Need::Turn => {
                assert!(line.is_none(), "turned before {line:?} at {pace:?}");
                input.append(&mut unsent);
                caller.log.push(format!("turned, unread: {:?}", input.escape_ascii().to_string()));
                return caller.log;
            }
            Need::Input if unsent.is_empty() => {
                panic!("waits for ever: {line:?}, {:?}", caller.log)
            }
            Need::Input => {
                let now = cut.map_or(unsent.len(), |cut| cut.min(unsent.len()));
                cut = cut.and_then(|cut| cut.checked_sub(now)).filter(|cut| *cut > 0);
                let now = if now == 0 { unsent.len() } else { now };
                input.extend(unsent.drain(..now));
            }
            _ => {}
        }
    }
}

/// Plays the script with the peer's octets cut at every octet, the message in pieces of several
/// sizes, and little or much output; all must come to the same report.
pub fn play(config: Config<'_>, jobs: &[Job<'_>], script: Script<'_>) -> Vec<String> {
    let octets: usize = script.iter().map(|(_, answer)| answer.len()).sum();
    let whole = Pace { cut: octets, piece: usize::MAX / 2, room: 1 << 16 };
    let report = play_at(config, jobs, script, whole);
    for cut in 0..octets {
        let pace = Pace { cut, piece: 1 + cut % 5, room: 1200 + cut % 7 };
        assert_eq!(play_at(config, jobs, script, pace), report, "{pace:?}");
    }
    report
}
