//! The dialogues by which a caller asks a holder for its mail.

use std::sync::Arc;
use std::time::Duration;

use postern::accounts::cram_answer;
use postern::config::{Endpoint, Host, Protocol};
use postern::deliver::{self, Connection, Failed, Login, Open};
use postern::net::turned::Turned;
use postern_core::client::{Mail, Mechanism};
use postern_core::wakeup::{Answer, Email};
use postern_core::wire::params::MailParams;
use postern_core::wire::{Out, Text};
use postern_spool::MsgId;
use tokio::time::timeout;

use crate::caller::{Caller, Known, Method};
use crate::network::{Network, ODMR, SMTP};
use crate::server::{tls, token, user};
use crate::wire::Wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const MESSAGE_MAX: usize = 4096;

/// What a question came to.
pub enum Asked {
    Answered(Answer),
    /// The mail comes over the connection.
    Turned(Box<Turned>, Arc<Wire>),
}

/// Asks a holder.
pub async fn ask(caller: &Arc<Caller>, known: &Known, within: Duration) -> Asked {
    let network = Network::over_link(caller);
    let asked = timeout(within, speak(caller, known, &network)).await;
    asked.unwrap_or(Asked::Answered(Answer::Missing))
}

async fn speak(caller: &Arc<Caller>, known: &Known, network: &Network) -> Asked {
    let (hostname, tls, own) = (caller.hostname(), tls(), token());
    let open = Open {
        hostname: &hostname,
        connector: network,
        tls: &tls,
        clock: &caller.machine.clock,
        own: Some(&own),
        connect_timeout: CONNECT_TIMEOUT,
        relay: None,
        mail_behind: false,
        step: None,
    };
    let host = Host::Address(known.holder.address);
    let port = if known.method == Method::Atrn { ODMR } else { SMTP };
    let mut connection =
        match open.connect(&Endpoint { protocol: Protocol::Smtp, host, port }).await {
            Ok(connection) => connection,
            Err(not_open) if not_open.failed == Failed::Refused => {
                return Asked::Answered(Answer::Refused);
            }
            Err(_) => return Asked::Answered(Answer::Missing),
        };
    if known.method.is_by_password() {
        let answer = authenticate(caller, &mut connection).await;
        caller.tell("authenticated");
        if let Err(answer) = answer {
            return Asked::Answered(answer);
        }
    }
    let answer = match known.method {
        Method::Atrn => {
            caller.tell("asked by ATRN");
            return atrn(caller, connection, network).await;
        }
        Method::Etrn | Method::EtrnByPassword => {
            let by_password = known.method == Method::EtrnByPassword;
            caller.tell(if by_password { "asked by password" } else { "asked by ETRN" });
            etrn(caller, &mut connection).await
        }
        Method::Email => {
            caller.tell("asked by e-mail");
            email(caller, known, &mut connection).await
        }
    };
    if answer != Answer::Missing {
        connection.quit().await;
    }
    Asked::Answered(answer)
}

async fn authenticate(caller: &Caller, connection: &mut Connection<'_>) -> Result<(), Answer> {
    let login = connection.auth(Mechanism::CramMd5, None).await;
    let Ok(Login::Challenge(challenge)) = login else { return Err(Answer::Missing) };
    let name = user(caller.number);
    let answer = cram_answer(&name, &name, challenge.text().as_bytes());
    match connection.respond(answer.as_deref()).await {
        Ok(Login::Ended(answer)) if answer.is_done() => Ok(()),
        Ok(Login::Ended(answer)) if answer.code() >= 500 => {
            let what = format!("{} is not let in: {answer}", caller.machine.name);
            caller.machine.world.demand::<()>(Err(what));
            Err(Answer::Refused)
        }
        _ => Err(Answer::Missing),
    }
}

async fn atrn(caller: &Caller, connection: Connection<'_>, network: &Network) -> Asked {
    // Now and then all that the account may have.
    let names: Vec<_> = match caller.machine.world.below(2) {
        0 => caller.domains.iter().map(|domain| domain.as_str()).collect(),
        _ => Vec::new(),
    };
    let Ok((answer, asked)) = connection.atrn(&names).await else {
        return Asked::Answered(Answer::Missing);
    };
    let connection = match asked {
        deliver::Asked::Turned(turned) => {
            let wire = network.last().expect("it was connected");
            return Asked::Turned(Box::new(turned), wire);
        }
        deliver::Asked::Stays(connection) => connection,
    };
    connection.quit().await;
    let subject = answer.enhanced().map(|enhanced| enhanced.subject);
    Asked::Answered(Answer::to_atrn(answer.code(), subject))
}

async fn etrn(caller: &Caller, connection: &mut Connection<'_>) -> Answer {
    let mut comes = false;
    for domain in &caller.domains {
        let said = connection.etrn(domain.as_str().as_bytes()).await;
        match said.map_or(Answer::Missing, |answer| Answer::to_etrn(answer.code())) {
            Answer::Comes => comes = true,
            Answer::NoneWaiting => {}
            other => return other,
        }
    }
    if comes { Answer::Comes } else { Answer::NoneWaiting }
}

/// One e-mail a domain: its wake-up address is its own.
async fn email(caller: &Caller, known: &Known, connection: &mut Connection<'_>) -> Answer {
    for (nth, domain) in caller.domains.iter().enumerate() {
        let (hostname, id) = (caller.hostname(), MsgId::now().to_string());
        let to = known.holder.wake(caller, nth);
        let text = |text| Text::new(text).expect("printable");
        let email = Email {
            hostname: text(hostname.as_bytes()),
            from: text(b""),
            to: text(to.as_bytes()),
            id: text(id.as_bytes()),
            time: caller.machine.clock.timestamp(),
        };
        let mut octets = vec![0; MESSAGE_MAX];
        let mut out = Out::new(&mut octets);
        email.write([domain.as_str().as_bytes()].into_iter(), &mut out).expect("it has room");
        let message = out.written();
        let params = MailParams { size: Some(message.len() as u64), ..MailParams::default() };
        let mail = Mail { reverse_path: b"", params, needs_utf8: false };
        let said = connection.send_own(&mail, to.as_bytes(), message).await;
        match said.map_or(Answer::Missing, |answer| Answer::to_email(answer.code())) {
            Answer::Comes => {}
            other => return other,
        }
    }
    Answer::Comes
}
