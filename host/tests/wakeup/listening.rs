//! When a host listens.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use postern_core::listener::State;
use postern_spool::{Domain, Spool};
use tokio::task::spawn_blocking;

use super::holder::{Holder, say, usual};
use super::{HOLDER, Host, NOW, folder, scheduled, settle, source};

const END: &str = "\r\n";

/// Says each line to who listens at `place`, and the first letters of each reply.
pub async fn talk(place: SocketAddr, lines: &'static [&str]) -> Vec<String> {
    let talk = move || {
        let stream = TcpStream::connect(place).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
        let mut heard = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let mut hear = || loop {
            let line = heard.next().expect("a reply").expect("text");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line[..3].to_owned();
            }
        };
        let mut replies = vec![hear()];
        for line in lines {
            (&stream).write_all(format!("{line}{END}").as_bytes()).expect("it listens");
            replies.push(hear());
        }
        replies
    };
    spawn_blocking(talk).await.expect("no panic")
}

pub const MESSAGE: &[&str] = &[
    "EHLO mx2.provider.example",
    "MAIL FROM:<ann@sender.example>",
    "RCPT TO:<info@client.example>",
    "DATA",
    "Subject: hello\r\n\r\nHello!\r\n.",
    "QUIT",
];

fn is_shut(place: SocketAddr) -> bool {
    TcpStream::connect(place).is_err()
}

#[tokio::test(start_paused = true)]
async fn the_holder_finds_it_open_and_nobody_does_before_or_after() {
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    assert_eq!((host.phase(), host.gate.listening()), (State::Closed, vec![]), "nobody was asked");
    host.until(0).await;
    assert_eq!(host.holder.seen().open, [true]);
    let place = host.gate.listening()[0];
    host.until(299).await;
    assert_eq!(host.phase(), State::Open);
    host.until(301).await;
    assert_eq!((host.phase(), host.gate.listening()), (State::Closed, vec![]));
    assert!(is_shut(place));
    host.until(1802).await;
    assert_eq!((host.holder.seen().open, host.phase()), (vec![true, true], State::Open));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_comes_to_the_open_listener_which_closes_when_it_is_idle() {
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    host.until(10).await;
    let replies = talk(host.gate.listening()[0], MESSAGE).await;
    assert_eq!(replies, ["220", "250", "250", "250", "354", "250", "221"]);
    settle().await;
    let queue = host.spool.queue(&Domain::new("client.example")).await.expect("it works");
    assert_eq!(queue.expect("mail").waiting, 1);
    let closes = host.closes().expect("it closes");
    assert!((70..75).contains(&closes), "a minute after the session, not at 300: {closes}");
    host.until(closes + 1).await;
    assert_eq!(host.phase(), State::Closed);
    host.end().await;
}

/// Mail for the NULL account is no reason to stay open, nor the session that was expected; nor is a
/// session without any.
#[tokio::test(start_paused = true)]
async fn what_is_discarded_keeps_no_listener_open() {
    const DISCARDED: &[&str] = &[
        "EHLO monitor.example",
        "MAIL FROM:<>",
        "RCPT TO:<null@home.client.example>",
        "DATA",
        "Subject: ping\r\n\r\nping\r\n.",
        "QUIT",
    ];
    let folder = folder();
    let host = Host::asking(Holder::new(usual), &folder);
    host.until(10).await;
    let place = host.gate.listening()[0];
    let replies = talk(place, DISCARDED).await;
    assert_eq!(replies, ["220", "250", "250", "250", "354", "250", "221"]);
    settle().await;
    assert_eq!(host.closes(), Some(300), "mail is still expected");
    for nothing in [&["EHLO monitor.example", "QUIT"][..], &["QUIT"]] {
        talk(place, nothing).await;
        settle().await;
        assert_eq!(host.closes(), Some(300), "it is no holder's");
    }
    talk(place, MESSAGE).await;
    settle().await;
    let closes = host.closes().expect("it closes");
    host.until(closes - 5).await;
    assert_eq!(talk(place, DISCARDED).await.len(), 7);
    settle().await;
    assert_eq!(host.closes(), Some(closes));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_nothing_can_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = taken.local_addr().expect("it is bound");
    let source = scheduled().replace("127.0.0.1:0", &place.to_string());
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source, &folder, &holder, NOW);
    host.until(3).await;
    assert!(holder.seen().hosts.is_empty(), "its mail would find nobody");
    let last = host.last();
    let why = format!("nothing was sent: listening at {place}: Address already in use");
    assert!(last.dialogue[0].starts_with(&why), "{last:?}");
    assert_eq!((last.outcome.as_str(), host.phase()), ("no answer", State::Closed));
    drop(taken);
    host.until(host.next()).await;
    assert_eq!((host.outcome().as_str(), host.gate.listening()), ("mail comes", vec![place]));
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_listens_asks_for_others() {
    let rest = format!("[[wakeup]]\netrn = {HOLDER:?}\n");
    for source in
        [source("off", &rest), source("scheduled", &rest).replace("[hold", "channels = 0\n[hold")]
    {
        let (folder, holder) = (folder(), Holder::new(usual));
        let host = Host::start(&source, &folder, &holder, NOW);
        host.until(0).await;
        assert_eq!((host.phase(), host.outcome().as_str()), (State::Closed, "mail comes"));
        host.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_configuration_opens_and_closes() {
    let (folder, holder) = (folder(), Holder::answering(say("251 2.0.0 None")));
    let host = Host::start(&source("off", ""), &folder, &holder, NOW);
    for (listener, phase) in
        [("always", State::Open), ("off", State::Closed), ("scheduled", State::Closed)]
    {
        host.configure(&source(listener, ""));
        settle().await;
        assert_eq!(host.phase(), phase, "{listener}");
        assert_eq!(host.gate.listening().is_empty(), phase == State::Closed, "{listener}");
    }
    host.configure(&scheduled());
    settle().await;
    assert_eq!((host.phase(), host.outcome().as_str()), (State::Open, "nothing waits"));
    host.end().await;
}

/// Nobody came, and the next wake-up is due when the listener closes.
#[tokio::test(start_paused = true)]
async fn a_listener_that_closes_just_now_opens_again() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let rest = format!("[[wakeup]]\netrn = {HOLDER:?}\nevery = \"5m\"\n");
    let source = source("scheduled", &rest).replace("127.0.0.1:0", &place);
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source, &folder, &holder, NOW);
    for times in 1..=4 {
        host.until((times - 1) * 300 + 10).await;
        assert_eq!(holder.seen().open, vec![true; times as usize]);
    }
    host.end().await;
}

/// It was configured to listen always while the server ran: nobody else tries again.
#[tokio::test(start_paused = true)]
async fn what_should_be_open_is_opened_once_that_works() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = taken.local_addr().expect("it is bound").to_string();
    let source = |listener| source(listener, "").replace("127.0.0.1:0", &place);
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source("off"), &folder, &holder, NOW);
    host.configure(&source("always"));
    host.until(60).await;
    let stand = host.gate.stand();
    assert!(stand.listening.is_empty() && stand.failure.is_some(), "{stand:?}");
    drop(taken);
    host.until(71).await;
    let stand = host.gate.stand();
    assert!(stand.listening.len() == 1 && stand.failure.is_none(), "{stand:?}");
    host.end().await;
}

/// Its transaction may end; a client between two is told to come again.
#[tokio::test(start_paused = true)]
async fn a_listener_that_is_turned_off_cuts_nobody() {
    let (folder, holder) = (folder(), Holder::new(usual));
    let host = Host::start(&source("always", ""), &folder, &holder, NOW);
    settle().await;
    let place = host.gate.listening()[0];
    let (begun, began) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let talk = thread::spawn(move || {
        let mut stream = TcpStream::connect(place).expect("it listens");
        let mut heard = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let mut hear = move || heard.next().expect("a reply").expect("text");
        hear();
        for line in ["HELO a.example", "MAIL FROM:<>", "RCPT TO:<info@client.example>", "DATA"] {
            stream.write_all(format!("{line}{END}").as_bytes()).expect("it listens");
            hear();
        }
        begun.send(()).expect("the test waits");
        wait.recv().expect("the test says so");
        stream.write_all(format!("Subject: x{END}{END}x{END}.{END}").as_bytes()).expect("open");
        [hear(), hear()]
    });
    spawn_blocking(move || began.recv()).await.expect("no panic").expect("it is in DATA");
    host.configure(&source("off", ""));
    settle().await;
    assert!(host.phase() == State::Draining && is_shut(place));
    go.send(()).expect("the client waits");
    let [kept, bye] = spawn_blocking(|| talk.join()).await.expect("no panic").expect("no panic");
    assert!(kept.starts_with("250 ") && bye.starts_with("421 "), "{kept} {bye}");
    settle().await;
    assert_eq!(host.phase(), State::Closed);
    host.end().await;
}
