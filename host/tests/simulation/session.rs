//! One connection, as a host serves it in its mood.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::hosts::{At, Mood};
use crate::ledger::{Nature, Sender};
use crate::world::{State, World};

/// Messages of a connection, of a host that takes few.
const FEW: u32 = 2;

type Flow = io::Result<ControlFlow<()>>;

const ON: Flow = Ok(ControlFlow::Continue(()));
const OVER: Flow = Ok(ControlFlow::Break(()));

/// What a host does about a command.
enum Act {
    Say(String),
    HangUp,
    /// It says nothing any more.
    Mute,
}

struct Transaction {
    /// None: the question whether it takes any.
    message: Option<usize>,
    sender: Sender,
    recipients: Vec<usize>,
}

pub struct Session {
    world: Arc<World>,
    host: usize,
    /// The client's.
    life: u32,
    stream: BufReader<DuplexStream>,
    transaction: Option<Transaction>,
    /// Messages that it took over this connection, or said that it would take.
    taken: u32,
    vouched: bool,
    /// What BDAT has brought.
    chunks: Vec<u8>,
    chunks_begun: u64,
}

impl Session {
    pub fn new(world: Arc<World>, host: usize, stream: DuplexStream) -> Self {
        let life = world.lock().ledger.life;
        Self {
            world,
            host,
            life,
            stream: BufReader::new(stream),
            transaction: None,
            taken: 0,
            vouched: false,
            chunks: Vec::new(),
            chunks_begun: 0,
        }
    }

    /// Serves until one of both hangs up.
    pub async fn run(mut self) {
        if self.serve().await.is_err() && self.transaction.is_some() {
            self.world.lock().count("left within a transaction");
        }
    }

    fn mood(&self) -> Mood {
        self.world.lock().hosts[self.host].mood
    }

    async fn serve(&mut self) -> io::Result<()> {
        match self.mood() {
            Mood::HangsUp => return Ok(()),
            Mood::Silent => return self.mute().await,
            Mood::Busy => {
                self.say("421 4.3.2 not now").await?;
                return self.mute().await;
            }
            Mood::RefusesUs { greeting: true } => {
                self.refuse_us();
                self.say("554 5.7.1 not you").await?;
            }
            _ => self.say("220 host").await?,
        }
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            self.world.lock().note(format!("h{}< {line}", self.host));
            if self.command(line).await?.is_break() {
                return Ok(());
            }
        }
    }

    fn refuse_us(&self) {
        let mut state = self.world.lock();
        let now = state.now;
        state.hosts[self.host].refused_us = Some(now);
    }

    async fn command(&mut self, line: &str) -> Flow {
        let act = match line.split([' ', ':']).next().unwrap_or_default() {
            word @ ("EHLO" | "LHLO" | "HELO") => self.hello(word),
            // What follows is no handshake.
            "STARTTLS" => {
                self.say("220 go").await?;
                return OVER;
            }
            "MAIL" => self.mail(line),
            "RCPT" => self.rcpt(line),
            "DATA" => return self.data().await,
            "BDAT" => return self.bdat(line).await,
            "RSET" => {
                self.transaction = None;
                Act::Say("250 ok".to_owned())
            }
            "QUIT" => {
                if self.transaction.is_some() {
                    self.world.lock().violated("QUIT within a transaction");
                }
                self.say("221 bye").await?;
                return OVER;
            }
            _ => Act::Say("500 what".to_owned()),
        };
        self.act(act).await
    }

    async fn act(&mut self, act: Act) -> Flow {
        match act {
            Act::Say(reply) => {
                self.say(&reply).await?;
                if reply.starts_with("421") { OVER } else { ON }
            }
            Act::HangUp => OVER,
            Act::Mute => {
                self.mute().await?;
                OVER
            }
        }
    }

    fn hello(&self, word: &str) -> Act {
        let mood = self.mood();
        if mood == (Mood::RefusesUs { greeting: false }) {
            self.refuse_us();
            return Act::Say("554 5.7.1 not you".to_owned());
        }
        let mut state = self.world.lock();
        let at = &state.hosts[self.host];
        let no_tls = mood == Mood::NoTls;
        let offers = at.offers.iter().map(String::as_str).chain(no_tls.then_some("STARTTLS"));
        let offers = offers.filter(|_| word != "HELO");
        let lines: String = offers.map(|offer| format!("250-{offer}\r\n")).collect();
        let reply = format!("250-host.example\r\n{lines}250 HELP");
        state.greeted(self.host);
        Act::Say(reply)
    }

    /// What the mood makes of `at`; `None`: nothing.
    fn moody(&self, at: At) -> Option<Act> {
        match self.mood() {
            Mood::Refuses { at: there, for_good } if there == at => {
                let reply = if for_good { "554 5.7.1 go away" } else { "451 4.3.0 later" };
                Some(Act::Say(reply.to_owned()))
            }
            Mood::Breaks(there) if there == at => Some(Act::HangUp),
            Mood::Mute(there) if there == at => Some(Act::Mute),
            Mood::Garbles if at == At::Rcpt => Some(Act::Say("what a day".to_owned())),
            _ => None,
        }
    }

    fn mail(&mut self, line: &str) -> Act {
        let number = line.strip_prefix("MAIL FROM:<m").and_then(|rest| rest.split('@').next());
        let message = number.and_then(|number| number.parse().ok());
        if let Mood::Few { says } = self.mood()
            && self.taken >= FEW
        {
            self.world.lock().count("few taken");
            return if says { Act::Say("421 4.7.0 enough".to_owned()) } else { Act::HangUp };
        }
        if let Some(act) = self.moody(At::Mail) {
            self.note_refusal(&act, message, None);
            return act;
        }
        let sender = message.map(|message| self.world.lock().sender(message, self.life));
        let sender = sender.unwrap_or_default();
        self.transaction = Some(Transaction { message, sender, recipients: Vec::new() });
        Act::Say("250 2.1.0 ok".to_owned())
    }

    fn rcpt(&mut self, line: &str) -> Act {
        let path = line.trim_start_matches("RCPT TO:<").split('>').next().unwrap_or_default();
        let Some(transaction) = &mut self.transaction else {
            return Act::Say("503 5.5.1 MAIL first".to_owned());
        };
        let Some(message) = transaction.message else {
            let domain = path.trim_start_matches("postmaster@");
            let act = self.moody(At::Rcpt);
            let takes = act.is_none();
            let act = act.unwrap_or_else(|| Act::Say("250 2.1.5 ok".to_owned()));
            if matches!(&act, Act::Say(reply) if reply.starts_with("4")) {
                return act;
            }
            self.vouched |= takes;
            self.world.lock().probed(domain, takes);
            return act;
        };
        let nth = path.split('r').nth(1).and_then(|rest| rest.split('@').next());
        let nth: usize = nth.and_then(|nth| nth.parse().ok()).expect("our own path");
        if let Some(act) = self.moody(At::Rcpt) {
            self.note_refusal(&act, Some(message), Some(nth));
            return act;
        }
        let mut state = self.world.lock();
        let recipient = &mut state.ledger.messages[message].recipients[nth];
        let reply = match &mut recipient.nature {
            Nature::Refused => {
                (recipient.refused, recipient.by_host) = (true, false);
                state.count("recipient refused");
                "550 5.1.1 nobody"
            }
            Nature::Full => {
                state.count("mailbox full");
                "452 4.2.2 over quota"
            }
            Nature::Later(times @ 1..) => {
                *times -= 1;
                state.count("greylisted");
                "450 4.2.1 later"
            }
            Nature::Poison => {
                let domain = recipient.domain;
                state.count("poison");
                state.ledger.domains[domain].put_off = Some(state.now);
                return Act::HangUp;
            }
            Nature::Plain | Nature::Later(0) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(nth);
                }
                "250 2.1.5 ok"
            }
        };
        Act::Say(reply.to_owned())
    }

    /// Notes whom a 5yz refuses for good: one recipient, or all of a message.
    fn note_refusal(&self, act: &Act, message: Option<usize>, nth: Option<usize>) {
        let Act::Say(reply) = act else { return };
        let by_host = self.mood().refuses_everything();
        let mut state = self.world.lock();
        if !reply.starts_with('5') {
            return;
        }
        match message {
            Some(message) => state.refused(message, nth.as_slice(), by_host),
            None => {
                let host = self.host;
                let names = state.ledger.domains.iter();
                let names = names.filter(|domain| domain.host == host);
                let names: Vec<_> = names.map(|domain| domain.name.clone()).collect();
                names.iter().for_each(|name| state.probed(name, false));
            }
        }
    }

    async fn data(&mut self) -> Flow {
        if let Some(act) = self.moody(At::Data) {
            self.transaction = None;
            return self.act(act).await;
        }
        if self.recipients().is_empty() {
            self.say("554 5.5.1 nobody to take it").await?;
            self.transaction = None;
            return ON;
        }
        let begun = self.world.lock().now;
        self.say("354 go").await?;
        if self.mood() == Mood::Early {
            return self.refuse_early().await;
        }
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return OVER;
            }
            if line == b".\r\n" {
                return self.end(&body, begun).await;
            }
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if self.mood() == Mood::BreaksWithin {
                return OVER;
            }
        }
    }

    async fn bdat(&mut self, line: &str) -> Flow {
        let mut words = line.split(' ').skip(1);
        let size: usize = words.next().and_then(|size| size.parse().ok()).expect("BDAT has a size");
        let is_last = words.next() == Some("LAST");
        if self.chunks.is_empty() {
            self.chunks_begun = self.world.lock().now;
        }
        if self.mood() == Mood::Early && !self.recipients().is_empty() {
            return self.refuse_early().await;
        }
        let start = self.chunks.len();
        self.chunks.resize(start + size, 0);
        self.stream.read_exact(&mut self.chunks[start..]).await?;
        if self.recipients().is_empty() {
            self.chunks.clear();
            self.transaction = None;
            self.say("554 5.5.1 nobody to take it").await?;
            return ON;
        }
        if self.mood() == Mood::BreaksWithin {
            return OVER;
        }
        if is_last {
            let body = std::mem::take(&mut self.chunks);
            return self.end(&body, self.chunks_begun).await;
        }
        self.say("250 2.0.0 more").await?;
        ON
    }

    async fn refuse_early(&mut self) -> Flow {
        let recipients = self.recipients();
        if let Some(message) = self.message() {
            self.world.lock().refused(message, &recipients, false);
        }
        self.say("552 5.3.4 too big").await?;
        self.mute().await?;
        OVER
    }

    /// A message has come to its end.
    async fn end(&mut self, body: &[u8], begun: u64) -> Flow {
        self.look_behind();
        let Some(Transaction { message: Some(message), sender, recipients }) =
            self.transaction.take()
        else {
            return OVER;
        };
        if let Some(act) = self.moody(At::End) {
            if matches!(&act, Act::Say(reply) if reply.starts_with('5')) {
                self.world.lock().refused(message, &recipients, false);
            }
            return self.act_for_each(act, recipients.len()).await;
        }
        let mood = self.mood();
        let silent = matches!(mood, Mood::TakesInSilence { .. });
        {
            let mut state = self.world.lock();
            if body != state.ledger.messages[message].body {
                state.violated(format!("m{message} has come with other octets"));
            }
            for nth in &recipients {
                state.accepted((message, *nth), &sender, begun, silent);
            }
        }
        self.taken += 1;
        if mood == (Mood::TakesInSilence { hangs_up: true }) {
            return OVER;
        }
        let act = if silent { Act::Mute } else { Act::Say("250 2.0.0 taken".to_owned()) };
        self.act_for_each(act, recipients.len()).await
    }

    /// LMTP has a reply for each recipient that was accepted (RFC 2033 section 4.2).
    async fn act_for_each(&mut self, act: Act, recipients: usize) -> Flow {
        let lmtp = self.world.lock().hosts[self.host].lmtp;
        if let (Act::Say(reply), true) = (&act, lmtp) {
            let reply = vec![reply.as_str(); recipients].join("\r\n");
            return self.act(Act::Say(reply)).await;
        }
        self.act(act).await
    }

    /// What came behind a message's end in the same segment.
    fn look_behind(&mut self) {
        let behind = self.stream.buffer().len();
        if behind == 0 {
            return;
        }
        let drops = self.mood() == Mood::DropsBehind;
        let mut state = self.world.lock();
        state.count("MAIL behind an end");
        if self.taken == 0 && !self.vouched {
            state.violated("MAIL behind the end of a message, before the host took any");
        }
        drop(state);
        if drops {
            self.stream.consume(behind);
        }
    }

    fn message(&self) -> Option<usize> {
        self.transaction.as_ref().and_then(|transaction| transaction.message)
    }

    fn recipients(&self) -> Vec<usize> {
        let transaction = self.transaction.as_ref();
        transaction.map(|transaction| transaction.recipients.clone()).unwrap_or_default()
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        let delay = {
            let mut state = self.world.lock();
            state.note(format!("h{}> {}", self.host, reply.escape_default()));
            let at = &state.hosts[self.host];
            if let Mood::Slow(ms) = at.mood { ms } else { at.latency }
        };
        self.world.pass(delay).await;
        self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await
    }

    /// Says nothing until the client hangs up.
    async fn mute(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        while self.stream.read(&mut octets).await? > 0 {}
        Ok(())
    }
}

impl State {
    /// A host has refused a message for good: for these recipients, or, if none is named, for all.
    /// `by_host`: it refuses its postmaster's mail as well.
    fn refused(&mut self, message: usize, recipients: &[usize], by_host: bool) {
        let message = &mut self.ledger.messages[message];
        for (nth, recipient) in message.recipients.iter_mut().enumerate() {
            if recipients.is_empty() || recipients.contains(&nth) {
                (recipient.refused, recipient.by_host) = (true, by_host);
            }
        }
    }

    /// A host said whether it takes mail for a domain's postmaster.
    fn probed(&mut self, domain: &str, takes: bool) {
        let now = self.now;
        let Some(domain) = self.ledger.domain(domain) else { return };
        self.ledger.probed.insert((domain, takes), now);
        self.count(if takes { "postmaster taken" } else { "postmaster refused" });
    }
}
