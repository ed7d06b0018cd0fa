//! A device that is not always there: when it listens, and when it asks its holders.

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Holder, Host, Listener, Protocol, Schedule, Settings, Way, Window};

use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers::{answer_time, lease, tell_time};
use crate::sim::talk::Talk;
use crate::sim::world::{CARD_OCTETS, HOLDER_PORT, World, card, settings};

const HOUR_S: u64 = 3600;
/// A Monday, 2023-11-20T00:00:00Z.
const MONDAY: u64 = 1_700_438_400;

/// A holder at these ports, asked each hour.
fn holder(ports: &[u16]) -> Holder<'static> {
    let hosts = ports.iter().map(|port| Host { name: "192.0.2.1", port: *port }).collect();
    let names = ["client.example"].into_iter().collect();
    Holder { hosts, names, every_s: HOUR_S as u32, way: Way::Etrn }
}

fn caller(listener: Listener) -> Settings<'static> {
    let holders = [holder(&[HOLDER_PORT])].into_iter().collect();
    Settings { listener, holders, retry_every_s: None, ..settings() }
}

fn device(settings: &Settings<'_>) -> World {
    let world = World::new(card(CARD_OCTETS, settings), 3);
    world.switch_on();
    world
}

/// A holder that says so of each ETRN.
fn holder_says(world: &World, port: u16, reply: &'static str) -> std::rc::Rc<Notes> {
    let notes = Notes::new();
    notes.answer(move |asked| matches!(asked, Asked::Etrn(_)).then_some(reply));
    Hop::arrive(world, port, Protocol::Smtp, &notes);
    notes
}

/// Whether somebody listens.
async fn listens(world: &World) -> bool {
    let Ok(client) = Talk::connect_from(&world.far, world).await else { return false };
    client.close().await;
    true
}

/// When a holder was asked, in seconds.
fn asked_at(notes: &Notes) -> Vec<u64> {
    notes.etrns.borrow().iter().map(|(_, at)| at.as_secs()).collect()
}

const COMES: &str = "250 2.0.0 Queuing started";
const NONE: &str = "251 2.0.0 nothing waits";

#[test]
fn one_that_is_off_or_has_no_channel_never_listens_and_asks_all_the_same() {
    let no_channel = Settings { channels: 0, ..caller(Listener::Always) };
    for settings in [caller(Listener::Off), no_channel] {
        let world = device(&settings);
        let notes = holder_says(&world, HOLDER_PORT, COMES);
        world.run(async {
            for _ in 0..20 {
                assert!(!listens(&world).await);
                Timer::after_secs(10).await;
            }
            assert_eq!(asked_at(&notes), [0]);
        });
    }
}

#[test]
fn a_scheduled_one_listens_from_its_request_until_nothing_comes() {
    let settings = Settings { idle_s: 60, wait_s: 300, ..caller(Listener::Scheduled) };
    let world = device(&settings);
    let notes = holder_says(&world, HOLDER_PORT, COMES);
    world.run(async {
        Timer::after_secs(250).await;
        // It waits for the first session, and then for another.
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&["joe@client.example"], &message(1, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        Timer::after_secs(120).await;
        client.expect(&[("QUIT\r\n", "221 ")]).await;
        client.close().await;
        Timer::after_secs(50).await;
        assert!(listens(&world).await);
        Timer::after_secs(55).await;
        assert!(listens(&world).await, "each session is a reason to stay");
        Timer::after_secs(61).await;
        assert!(!listens(&world).await);
        Timer::after_secs(HOUR_S - Instant::now().as_secs() - 5).await;
        assert!(!listens(&world).await);
        Timer::after_secs(10).await;
        assert!(listens(&world).await);
        assert_eq!(asked_at(&notes), [0, HOUR_S]);
        // Nobody comes.
        Timer::after_secs(400).await;
        assert!(!listens(&world).await);
    });
}

#[test]
fn a_scheduled_one_that_has_nothing_to_wait_for_closes_after_its_idle_time() {
    let settings = Settings { idle_s: 60, wait_s: 300, ..caller(Listener::Scheduled) };
    for (reply, open_s) in [(NONE, 60), ("459 4.7.1 not you", 60), ("250 2.0.0 it comes", 300)] {
        let world = device(&settings);
        holder_says(&world, HOLDER_PORT, reply);
        world.run(async {
            Timer::after_secs(open_s + 2).await;
            assert!(!listens(&world).await, "{reply}");
        });
        let world = device(&settings);
        holder_says(&world, HOLDER_PORT, reply);
        world.run(async {
            Timer::after_secs(open_s - 2).await;
            assert!(listens(&world).await, "{reply}");
        });
    }
}

#[test]
fn one_with_its_link_listens_while_that_is_up() {
    let world = device(&Settings { holders: Default::default(), ..caller(Listener::OnLink) });
    world.run(async {
        Timer::after_secs(1).await;
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<>\r\n", "250 ")]).await;
        world.cable.link(false);
        Timer::after_secs(30).await;
        world.cable.link(true);
        // What it had begun may end; then it is told that the link was gone.
        client.expect(&[("RCPT TO:<joe@client.example>\r\n", "250 "), ("RSET\r\n", "421 ")]).await;
        Timer::after_secs(5).await;
        assert!(listens(&world).await);
    });
}

#[test]
fn a_holder_is_asked_by_each_name_and_each_holder_for_itself() {
    let holders = [holder(&[HOLDER_PORT, HOLDER_PORT + 1]), holder(&[HOLDER_PORT + 2])];
    let holders = holders.into_iter().collect();
    let world = device(&Settings { holders, ..caller(Listener::Always) });
    let refuses = holder_says(&world, HOLDER_PORT, "459 4.7.1 not you");
    let comes = holder_says(&world, HOLDER_PORT + 1, COMES);
    let other = holder_says(&world, HOLDER_PORT + 2, "421 4.3.2 not now");
    world.run(async {
        Timer::after_secs(HOUR_S + 60).await;
        assert_eq!((asked_at(&refuses).len(), asked_at(&comes).len()), (2, 2), "each round");
        let others = asked_at(&other);
        assert!((6..12).contains(&others.len()), "after 1, 2, 5, 10 minutes: {others:?}");
        assert!((50..70).contains(&(others[1] - others[0])), "{others:?}");
    });
}

#[test]
fn what_a_holder_has_answered_is_not_asked_again_in_the_round() {
    let names = ["client.example", "@branch.example"].into_iter().collect();
    let holders = [Holder { names, ..holder(&[HOLDER_PORT]) }].into_iter().collect();
    let world = device(&Settings { holders, ..caller(Listener::Always) });
    let notes = Notes::new();
    notes.answer(|asked| match asked {
        Asked::Etrn("client.example") => Some(COMES),
        Asked::Etrn(_) => Some("451 4.3.0 later"),
        _ => None,
    });
    Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &notes);
    world.run(async {
        Timer::after_secs(600).await;
        let etrns = notes.etrns.borrow();
        let of = |name: &str| etrns.iter().filter(|(asked, _)| asked == name).count();
        assert_eq!(of("client.example"), 1);
        assert!(of("@branch.example") >= 3, "{etrns:?}");
    });
}

#[test]
fn a_holder_that_hangs_or_talks_nonsense_costs_its_time_and_no_mail() {
    let settings = Settings { idle_s: 60, wait_s: 300, ..caller(Listener::Scheduled) };
    let world = device(&settings);
    let mute = Hop::arrive_mute(&world, HOLDER_PORT);
    world.run(async {
        // While it is asked, somebody may come.
        Timer::after_secs(200).await;
        assert!(listens(&world).await);
        mute.leave(&world);
        let notes = holder_says(&world, HOLDER_PORT, "999 what");
        Timer::after_secs(HOUR_S).await;
        assert!(asked_at(&notes).len() >= 3, "{:?}", asked_at(&notes));
    });
}

#[test]
fn a_restart_counts_from_the_last_answer() {
    let settings = Settings { time_server: "192.0.2.1", ..caller(Listener::Always) };
    let world = device(&settings);
    tell_time(&world, MONDAY);
    let notes = holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        Timer::after_secs(600).await;
        assert_eq!(asked_at(&notes).len(), 1);
        for _ in 0..5 {
            world.power_cycle();
            Timer::after_secs(400).await;
        }
        assert_eq!(asked_at(&notes).len(), 1, "it was asked less than an hour ago");
        Timer::after_secs(HOUR_S - 2_500).await;
        let times = asked_at(&notes);
        assert_eq!(times.len(), 2, "{times:?}");
        assert!((HOUR_S..HOUR_S + 90).contains(&(times[1] - times[0])), "{times:?}");
    });
}

#[test]
fn without_the_time_of_day_a_restart_asks() {
    let settings = Settings { time_server: "192.0.2.1", ..caller(Listener::Always) };
    let world = device(&settings);
    answer_time(&world, |number| (number == 0).then_some(MONDAY), |_| {});
    let notes = holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        Timer::after_secs(600).await;
        world.power_cycle();
        Timer::after_secs(300).await;
        let times = asked_at(&notes);
        assert_eq!(times.len(), 2, "{times:?}");
        assert!((660..670).contains(&times[1]), "it waits a minute for the time: {times:?}");
    });
}

/// Berlin, from 8:00 to 10:30.
fn morning() -> Option<Schedule<'static>> {
    let window = Window { days: 0x3E, from_min: 480, until_min: 630 };
    let windows = [window].into_iter().collect();
    Some(Schedule { zone: "CET-1CEST,M3.5.0,M10.5.0/3", windows })
}

#[test]
fn holders_are_asked_in_the_windows_and_clients_are_let_in_until_they_end() {
    let schedule = morning();
    let settings = Settings {
        schedule,
        time_server: "192.0.2.1",
        idle_s: 2 * HOUR_S as u32,
        ..caller(Listener::Scheduled)
    };
    let world = device(&settings);
    tell_time(&world, MONDAY);
    let notes = holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        // Midnight of UTC is one o'clock in Berlin.
        Timer::after_secs(7 * HOUR_S - 10).await;
        assert!(!listens(&world).await);
        assert_eq!(asked_at(&notes), [0; 0]);
        Timer::after_secs(100).await;
        assert!(listens(&world).await);
        Timer::after_secs(9 * HOUR_S + 1_740 - Instant::now().as_secs()).await;
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<>\r\n", "250 ")]).await;
        Timer::after_secs(130).await;
        client.expect(&[("RCPT TO:<joe@client.example>\r\n", "250 ")]).await;
        let times = asked_at(&notes);
        assert_eq!(times.len(), 3, "{times:?}");
        assert!((7 * HOUR_S..7 * HOUR_S + 61).contains(&times[0]), "{times:?}");
        assert!(!listens(&world).await, "the window has ended");
        client.expect(&[("RSET\r\n", "421 ")]).await;
        Timer::after_secs(4 * 24 * HOUR_S).await;
        assert_eq!(asked_at(&notes).len(), 15, "on each of five days");
        Timer::after_secs(2 * 24 * HOUR_S).await;
        assert_eq!(asked_at(&notes).len(), 15, "and not at the week's end");
    });
}

#[test]
fn a_schedule_without_windows_never_asks() {
    let schedule = Some(Schedule { zone: "UTC0", windows: Default::default() });
    let world = device(&Settings { schedule, ..caller(Listener::Always) });
    let notes = holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        Timer::after_secs(30 * 24 * HOUR_S).await;
        assert_eq!(asked_at(&notes), [0; 0]);
        assert!(listens(&world).await);
    });
}

#[test]
fn while_the_time_is_unknown_every_schedule_is_open_after_a_minute() {
    let settings =
        Settings { schedule: morning(), time_server: "192.0.2.1", ..caller(Listener::Always) };
    let world = device(&settings);
    let notes = holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        Timer::after_secs(2 * HOUR_S + 70).await;
        assert_eq!(asked_at(&notes), [60, HOUR_S + 60, 2 * HOUR_S + 60]);
    });
}

#[test]
fn a_rule_of_a_newer_tool_is_no_rule() {
    let schedule = Some(Schedule { zone: "CET-1CEST;tomorrow", windows: Default::default() });
    let world = World::new(card(CARD_OCTETS, &Settings { schedule, ..settings() }), 3);
    lease(&world);
    world.switch_on();
    world.run(async {
        Timer::after_secs(10).await;
        let mut client = Talk::connect(&world).await.expect("somebody refuses");
        client.expect(&[("", "421 ")]).await;
    });
}

#[test]
fn mail_for_null_is_discarded_and_counted_and_is_no_reason_to_listen() {
    let settings = Settings { idle_s: 60, wait_s: 60, ..caller(Listener::Scheduled) };
    let world = device(&settings);
    holder_says(&world, HOLDER_PORT, NONE);
    world.run(async {
        Timer::after_secs(30).await;
        let mut client = Talk::greeted(&world).await;
        let us = "mx2.provider.example";
        for path in [
            format!("null@{us}"),
            format!("NULL@{us}"),
            format!("\"null\"@{us}"),
            format!("null%{us}@{us}"),
            "null@client.example".to_owned(),
            "null%client.example@client.example".to_owned(),
        ] {
            let reply = client.mail(&[&path], &message(1, 2_000)).await;
            assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")), "{path}");
        }
        for (path, code) in [
            (format!("null%client.example@{us}"), "550 "),
            (format!("null+x@{us}"), "550 "),
            (format!("null%{us}%{us}@{us}"), "550 "),
            ("null@other.example".to_owned(), "550 "),
        ] {
            let reply = client.mail(&[&path], b"").await.expect("it answers");
            assert!(reply.starts_with(code), "{path}: {reply}");
            client.expect(&[("RSET\r\n", "250 ")]).await;
        }
        client.expect(&[("QUIT\r\n", "221 ")]).await;
        client.close().await;
        Timer::after_secs(35).await;
        assert!(!listens(&world).await, "its minute is over");
    });
    world.switch_off();
    assert_eq!(crate::sim::contents::held(&world.card).len(), 0);
}

#[test]
fn mail_for_null_is_small_and_rare_and_others_get_theirs() {
    let world = device(&Settings { channels: 3, ..settings() });
    let (null, other) = ("null@mx2.provider.example", world.host(0));
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<> SIZE=65537\r\n", "250 ")]).await;
        client.expect(&[(&format!("RCPT TO:<{null}>\r\n"), "552 "), ("RSET\r\n", "250 ")]).await;
        // One that is longer than it says.
        client.expect(&[("MAIL FROM:<>\r\n", "250 ")]).await;
        client.expect(&[(&format!("RCPT TO:<{null}>\r\n"), "250 "), ("DATA\r\n", "354 ")]).await;
        client.send(&[b'x'; 66_000]).await.expect("it listens");
        client.expect(&[("\r\n.\r\n", "552 ")]).await;
        for _ in 0..9 {
            let reply = client.mail(&[null], &message(1, 500)).await.expect("it answers");
            assert!(reply.starts_with("250 "), "{reply}");
        }
        let reply = client.mail(&[null], &message(1, 500)).await.expect("it answers");
        assert!(reply.starts_with("4"), "{reply}");
        client.expect(&[("RSET\r\n", "250 ")]).await;
        let mut other = Talk::greeted_from(&other, &world).await;
        let reply = other.mail(&[null], &message(1, 500)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "each address has its own count: {reply}");
        Timer::after(Duration::from_secs(6)).await;
        let both = client.mail(&[null, "joe@client.example"], &message(2, 700)).await;
        assert!(both.is_ok_and(|reply| reply.starts_with("250 2.0.0 Held as ")));
    });
    world.switch_off();
    let held = crate::sim::contents::held(&world.card);
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].recipients.len(), 1, "null is no recipient of what is held");
}

#[test]
fn one_that_takes_any_recipient_takes_no_route_on_to_another_domain() {
    let world = device(&Settings { any_recipient: true, ..settings() });
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<>\r\n", "250 ")]).await;
        for local in ["x%victim.example", "victim.example!x", "\"x@victim.example\"", "a\\%b"] {
            let local =
                if local.contains('\\') { format!("\"{local}\"") } else { local.to_owned() };
            let words = format!("RCPT TO:<{local}@client.example>\r\n");
            client.expect(&[(&words, "550 ")]).await;
        }
        client.expect(&[("RCPT TO:<x+y=z@client.example>\r\n", "250 ")]).await;
        client.expect(&[("RCPT TO:<\"x y\"@client.example>\r\n", "250 ")]).await;
    });
}

/// A holder that is woken by e-mail.
fn by_email(from: &'static str) -> Holder<'static> {
    let way = Way::Email { to: "wake@provider.example", from };
    Holder { way, ..holder(&[HOLDER_PORT]) }
}

#[test]
fn a_holder_is_woken_by_an_email_and_the_listener_is_open_by_then() {
    let holders = [by_email("box@client.example")].into_iter().collect();
    let settings = Settings { holders, idle_s: 60, ..caller(Listener::Scheduled) };
    let world = device(&settings);
    let notes = Notes::new();
    Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &notes);
    world.run(async {
        Timer::after_secs(5).await;
        assert!(listens(&world).await);
        Timer::after_secs(HOUR_S).await;
    });
    let taken = notes.taken.borrow();
    let [first, second] = taken.as_slice() else { panic!("{} e-mails", taken.len()) };
    assert_eq!((first.at.as_secs(), second.at.as_secs()), (0, HOUR_S));
    assert_eq!(first.from, "box@client.example");
    assert_eq!(first.recipients, ["wake@provider.example"]);
    let text = String::from_utf8(first.content.clone()).expect("it is ASCII");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    assert!(head.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{text}");
    assert!(body.ends_with(":\r\nclient.example\r\n"), "{text}");
    assert_ne!(first.content, second.content, "each has an id of its own");
}

#[test]
fn an_email_that_is_not_taken_is_sent_again_and_one_that_is_refused_after_the_interval() {
    for (reply, times) in [("451 4.3.0 later", 2..9), ("550 5.1.1 no such account", 1..2)] {
        let holders = [by_email("")].into_iter().collect();
        let world = device(&Settings { holders, ..caller(Listener::Always) });
        let notes = Notes::new();
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = asked.clone();
        notes.answer(move |said| {
            let Asked::Recipient(_) = said else { return None };
            count.set(count.get() + 1);
            Some(reply)
        });
        Hop::arrive(&world, HOLDER_PORT, Protocol::Smtp, &notes);
        world.run(Timer::after_secs(HOUR_S - 400));
        assert!(times.contains(&asked.get()), "{reply}: {}", asked.get());
        assert_eq!(notes.count(), 0);
    }
}
