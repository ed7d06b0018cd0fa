//! Commands, and the order that they must come in.

use super::state::{Client, Message, Phase, Transaction};
use super::{Advanced, Event, Greeting, Need, Session, Transport, Why, event, need, replied};
use crate::wire::Out;
use crate::wire::command::{Chunk, Command, CommandFault, is_bdat, parse};
use crate::wire::ehlo::Extension;
use crate::wire::line::{self, Line, Skip};
use crate::wire::params::{MailParams, ParamFault, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply::{self, Reason, Reply, Stage, refusal};

impl<'c> Session<'c> {
    pub(super) fn read_command<'i>(&mut self, input: &'i [u8], out: &mut Out<'_>) -> Advanced<'i> {
        let (content, length) = match line::find(input, self.config.min_input()) {
            Line::Partial => return need(0, Need::Input),
            Line::TooLong if is_bdat(input) && self.offers(Extension::Chunking) => {
                return self.reject(CommandFault::Chunk, 0, out);
            }
            Line::TooLong => return self.skip(Skip::default(), reply::TOO_LONG, input, out),
            Line::Whole { content, length } => (content, length),
        };
        // Between two chunks the message's rate goes on to count.
        if self.message_in_progress().is_none() {
            self.budget.refill();
        }
        match parse(content) {
            Ok(command) => self.obey(command, length, out),
            Err(_) if self.client == Client::TurnedAway => {
                self.say(length, reply::TURNED_AWAY, out)
            }
            Err(fault) => self.reject(fault, length, out),
        }
    }

    pub(super) fn offers(&self, extension: Extension) -> bool {
        self.config.offered().has(extension)
    }

    pub(super) fn read_auth_line<'i>(
        &mut self,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        match line::find(input, self.config.min_input()) {
            Line::Partial => need(0, Need::Input),
            Line::TooLong => self.skip(Skip::default(), reply::AUTH_TOO_LONG, input, out),
            Line::Whole { content: b"*", length } => {
                self.phase = Phase::Command;
                self.say(length, reply::AUTH_CANCELLED, out)
            }
            Line::Whole { content: line, length } => {
                self.budget.refill();
                event(length, Event::AuthLine { line, ask: self.ask(Stage::Auth) })
            }
        }
    }

    pub(super) fn skip<'i>(
        &mut self,
        mut skip: Skip,
        reply: Reply,
        input: &'i [u8],
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        let (octets, ended) = skip.eat(input);
        if ended {
            self.phase = Phase::Command;
            return self.say(octets, reply, out);
        }
        self.phase = Phase::Skip(skip, reply);
        need(octets, Need::Input)
    }

    pub(super) fn say<'i>(
        &mut self,
        consumed: usize,
        reply: Reply,
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        reply.write(out)?;
        self.count(reply);
        replied(consumed)
    }

    /// Says `reply` and ends the session, and with it a transaction that is open.
    pub(super) fn close<'i>(
        &mut self,
        consumed: usize,
        reply: Reply,
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        reply.write(out)?;
        self.forget(Why::Limits);
        self.phase = Phase::Closed;
        replied(consumed)
    }

    fn reject<'i>(
        &mut self,
        fault: CommandFault,
        length: usize,
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        let reply = match fault {
            CommandFault::Unknown => reply::UNKNOWN,
            CommandFault::Control => reply::CONTROL,
            CommandFault::ReversePath => reply::BAD_REVERSE_PATH,
            CommandFault::ForwardPath => reply::BAD_FORWARD_PATH,
            CommandFault::Name => reply::BAD_NAME,
            CommandFault::Argument => reply::BAD_ARGUMENT,
            CommandFault::Chunk if !self.offers(Extension::Chunking) => reply::NOT_OFFERED,
            CommandFault::Chunk => return self.lose_step(length, reply::BAD_CHUNK, out),
            CommandFault::Http => return self.lose_step(length, reply::HTTP, out),
        };
        self.say(length, reply, out)
    }

    /// Ends the session: what follows can't be told from commands.
    fn lose_step<'i>(&mut self, length: usize, reply: Reply, out: &mut Out<'_>) -> Advanced<'i> {
        self.forget(Why::LostStep);
        self.close(length, reply, out)
    }

    fn obey<'i>(&mut self, command: Command<'i>, length: usize, out: &mut Out<'_>) -> Advanced<'i> {
        if let Some(reply) = self.out_of_order(&command) {
            if let Command::Bdat(chunk) = command {
                self.phase = self.past(chunk.octets);
            }
            return self.say(length, reply, out);
        }
        if let Some(why) = ends_transaction(&command) {
            self.forget(why);
            // The caller is told first; then the command is read again.
            if let Some(why) = self.discard.take() {
                return event(0, Event::Discard(why));
            }
        }
        if leads_nowhere(&command) {
            self.idle_commands = self.idle_commands.saturating_add(1);
        }
        match command {
            Command::Ehlo(name) => self.hello(name, Greeting::Ehlo, length),
            Command::Helo(name) => self.hello(name, Greeting::Helo, length),
            Command::Mail(from, params) => self.mail(from, params, length, out),
            Command::Rcpt(to, params) => self.rcpt(to, params, length, out),
            Command::Data => event(length, Event::Data { ask: self.ask(Stage::Data) }),
            Command::Bdat(chunk) => self.bdat(chunk, length),
            Command::Rset | Command::Noop => self.say(length, reply::OK, out),
            Command::Vrfy => self.say(length, reply::VRFY, out),
            Command::Expn => self.say(length, reply::EXPN, out),
            Command::Help => self.say(length, reply::HELP, out),
            Command::Quit => {
                self.close(length, reply::BYE, out)?;
                event(length, Event::Quit)
            }
            Command::Etrn(node) => event(length, Event::Etrn { node, ask: self.ask(Stage::Etrn) }),
            Command::Atrn(domains) => {
                event(length, Event::Atrn { domains, ask: self.ask(Stage::Atrn) })
            }
            Command::StartTls => event(length, Event::StartTls { ask: self.ask(Stage::StartTls) }),
            Command::Auth(mechanism, initial) => {
                let ask = self.ask(Stage::Auth);
                event(length, Event::AuthStart { mechanism, initial, ask })
            }
            Command::Xclient(attributes) => {
                let ask = self.ask(Stage::Xclient);
                event(length, Event::Xclient { attributes, ask })
            }
        }
    }

    /// What to say to a command that is not offered, or not at this point of the dialogue.
    fn out_of_order(&self, command: &Command<'_>) -> Option<Reply> {
        let has = |extension| self.offers(extension);
        let unknown = self.client == Client::Unknown;
        let open = self.transaction.is_some();
        match command {
            Command::Quit => None,
            _ if self.client == Client::TurnedAway => Some(reply::TURNED_AWAY),
            Command::Bdat(..) if !has(Extension::Chunking) => Some(reply::NOT_OFFERED),
            Command::Etrn(_) if !has(Extension::Etrn) => Some(reply::NOT_OFFERED),
            Command::StartTls if !has(Extension::StartTls) => Some(reply::NOT_OFFERED),
            Command::Auth(..) if !has(Extension::Auth) => Some(reply::NOT_OFFERED),
            Command::Xclient(_) if !has(Extension::Xclient) => Some(reply::NOT_OFFERED),
            Command::Atrn(_) if !has(Extension::Atrn) => Some(reply::NOT_OFFERED),

            Command::Mail(..) | Command::StartTls | Command::Auth(..) | Command::Atrn(_)
                if unknown =>
            {
                Some(reply::HELLO_FIRST)
            }
            Command::Mail(..)
            | Command::Etrn(_)
            | Command::StartTls
            | Command::Auth(..)
            | Command::Atrn(_)
            | Command::Xclient(_)
                if open =>
            {
                Some(reply::IN_TRANSACTION)
            }
            Command::StartTls if self.transport == Transport::Tls => Some(reply::ALREADY_TLS),
            Command::Auth(..) if self.authenticated => Some(reply::ALREADY_AUTH),
            Command::Auth(..) if self.mechanisms().as_bytes().is_empty() => {
                Some(refusal(Stage::Auth, Reason::NeedTls))
            }
            Command::Atrn(_) if !self.authenticated => Some(refusal(Stage::Atrn, Reason::NeedAuth)),

            Command::Rcpt(..) | Command::Data | Command::Bdat(..) => {
                let Some(transaction) = &self.transaction else { return Some(reply::MAIL_FIRST) };
                out_of_transaction(command, transaction)
            }
            _ => None,
        }
    }

    fn hello<'i>(&mut self, name: &'i [u8], greeting: Greeting, length: usize) -> Advanced<'i> {
        self.greeting = greeting;
        event(length, Event::Hello { name, greeting, ask: self.ask(Stage::Hello) })
    }

    fn mail<'i>(
        &mut self,
        from: ReversePath<'i>,
        params: &'i [u8],
        length: usize,
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        let params = match MailParams::parse(params, self.config.offered()) {
            Ok(params) => params,
            Err(fault) => return self.say(length, param_reply(fault), out),
        };
        if !params.smtputf8 && !from.as_bytes().is_ascii() {
            return self.say(length, reply::UTF8_SENDER, out);
        }
        if params.size.is_some_and(|size| size > self.config.max_message_size) {
            return self.say(length, refusal(Stage::Mail, Reason::TooBig), out);
        }
        self.transaction = Some(Transaction::new(&params));
        event(length, Event::Mail { from, params, ask: self.ask(Stage::Mail) })
    }

    fn rcpt<'i>(
        &mut self,
        to: ForwardPath<'i>,
        params: &'i [u8],
        length: usize,
        out: &mut Out<'_>,
    ) -> Advanced<'i> {
        let params = match RcptParams::parse(params, self.config.offered()) {
            Ok(params) => params,
            Err(fault) => return self.say(length, param_reply(fault), out),
        };
        let Some(transaction) = &mut self.transaction else {
            return self.say(length, reply::MAIL_FIRST, out);
        };
        transaction.tried = true;
        if !transaction.smtputf8 && !to.as_bytes().is_ascii() {
            return self.say(length, reply::UTF8_RECIPIENT, out);
        }
        if transaction.recipients >= self.config.max_recipients {
            return self.say(length, refusal(Stage::Rcpt, Reason::TooManyRecipients), out);
        }
        event(length, Event::Rcpt { to, params, ask: self.ask(Stage::Rcpt) })
    }

    fn bdat<'i>(&mut self, chunk: Chunk, length: usize) -> Advanced<'i> {
        let Some(transaction) = &mut self.transaction else {
            self.phase = self.past(chunk.octets);
            return replied(length);
        };
        if transaction.size.saturating_add(chunk.octets) > self.config.max_message_size {
            return self.refuse_chunk(length, chunk);
        }
        if transaction.message == Message::ByBdat {
            self.phase = Phase::Chunk(chunk);
            return replied(length);
        }
        let ask = self.ask(Stage::Data);
        self.phase = Phase::AskingFor(chunk);
        event(length, Event::Data { ask })
    }
}

/// What to say to RCPT, DATA or BDAT that does not fit its transaction.
fn out_of_transaction(command: &Command<'_>, transaction: &Transaction) -> Option<Reply> {
    let empty = transaction.recipients == 0;
    match command {
        Command::Rcpt(..) | Command::Data if transaction.message == Message::ByBdat => {
            Some(reply::BDAT_GOES_ON)
        }
        Command::Data if transaction.binary => Some(reply::NO_DATA_FOR_BINARY),
        Command::Data | Command::Bdat(..) if empty && transaction.tried => {
            Some(reply::NO_RECIPIENTS)
        }
        Command::Data | Command::Bdat(..) if empty => Some(reply::RCPT_FIRST),
        _ => None,
    }
}

const fn ends_transaction(command: &Command<'_>) -> Option<Why> {
    match command {
        Command::Ehlo(_) | Command::Helo(_) | Command::Rset => Some(Why::Reset),
        Command::Quit => Some(Why::Quit),
        _ => None,
    }
}

const fn leads_nowhere(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::Ehlo(_)
            | Command::Helo(_)
            | Command::Rset
            | Command::Noop
            | Command::Vrfy
            | Command::Expn
            | Command::Help
            | Command::Etrn(_)
    )
}

fn param_reply(fault: ParamFault) -> Reply {
    match fault {
        ParamFault::Unknown => reply::UNKNOWN_PARAM,
        ParamFault::Malformed => reply::BAD_PARAM,
    }
}
