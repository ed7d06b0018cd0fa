//! Mail's way: in, onto the card, on to the next hop.

use std::cell::Cell;
use std::rc::Rc;

use embassy_futures::block_on;
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Address, NextHop, Protocol, Settings};
use postern_card::{Layout, format_as};
use postern_core::envelope::State;

use crate::sim::card::SimCard;
use crate::sim::contents::{self, Held};
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::messages::message;
use crate::sim::servers;
use crate::sim::talk::{Talk, stuffed};
use crate::sim::world::{CARD_OCTETS, CREATED, FAR, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";
const BOB: &str = "bob@client.example";

fn lmtp() -> Settings<'static> {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    Settings { next_hop, ..settings() }
}

/// Hands messages over, each of which must be taken.
async fn send(world: &World, recipients: &[&str], numbers: impl IntoIterator<Item = u64>) {
    let mut client = Talk::greeted(world).await;
    for number in numbers {
        let reply = client.mail(recipients, &message(number, 5_000)).await.expect("it answers");
        assert!(reply.starts_with("250 2.0.0 Held as "), "{reply}");
    }
    client.expect(&[("QUIT\r\n", "221 ")]).await;
}

/// Whether the hop has these messages, in this order.
fn has(hop: &Notes, numbers: impl IntoIterator<Item = u64>) -> bool {
    let expected = numbers.into_iter().map(|number| message(number, 5_000));
    hop.taken.borrow().iter().map(|taken| taken.message().to_vec()).eq(expected)
}

#[test]
fn a_message_goes_on_octet_for_octet_behind_one_field() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    let message = message(1, 100_000);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE], &message).await.expect("it answers");
        let id = reply.strip_prefix("250 2.0.0 Held as ").expect("it is taken").to_owned();
        client.expect(&[("QUIT\r\n", "221 ")]).await;
        Timer::after_secs(1).await;
        let taken = hop.taken.borrow();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].from, "sender@origin.example");
        assert_eq!(taken[0].recipients, [JOE]);
        let (field, rest) = taken[0].split();
        assert!(field.contains("from client.example ([192.0.2.1])"), "{field}");
        assert!(field.contains("by mx2.provider.example with ESMTP"), "{field}");
        assert!(field.contains(&id) && field.contains("for <joe@client.example>;"), "{field}");
        assert!(rest == message, "{}", String::from_utf8_lossy(rest));
    });
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn a_large_board_writes_many_blocks_at_once_and_they_go_on_as_they_came() {
    let eight = Settings { channels: 8, ..settings() };
    let world = World::new(card(CARD_OCTETS, &eight).with_runs_of(8), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.is_large.set(true);
    world.switch_on();
    // Without dots to be taken out: each ends what is handed over at once.
    let lines = (0..700).map(|number| format!("line {number} of a message that is long\r\n"));
    let message = format!("Subject: long\r\n\r\n{}", lines.collect::<String>()).into_bytes();
    world.run(async {
        let hosts: Vec<_> = (0..4).map(|number| world.host(number)).collect();
        let mut idle = Vec::new();
        for host in hosts.iter().flat_map(|host| [host; 2]).take(7) {
            idle.push(Talk::greeted_from(host, &world).await);
        }
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE], &message).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        Timer::after_secs(5).await;
    });
    assert!(world.card.runs() > 5, "{} runs", world.card.runs());
    let taken = hop.taken.borrow();
    assert!(taken[0].split().1 == message, "{}", taken.len());
}

#[test]
fn a_message_that_begins_with_white_space_keeps_its_first_line() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for message in [" indented\r\n", "\ttoo\r\n", ""] {
            let reply = client.mail(&[JOE], message.as_bytes()).await.expect("it answers");
            assert!(reply.starts_with("250 "), "{reply}");
        }
        Timer::after_secs(1).await;
        let taken = hop.taken.borrow();
        let messages: Vec<&[u8]> = taken.iter().map(|taken| taken.message()).collect();
        assert_eq!(messages, [b"\r\n indented\r\n".as_slice(), b"\r\n\ttoo\r\n", b""]);
    });
}

/// Whatever pieces it comes in: what it begins with is told from the card.
#[test]
fn a_message_without_a_header_stands_behind_an_empty_line() {
    let long = format!("{}: x\r\n", "x".repeat(998));
    let field = format!("{}: x\r\n", "x".repeat(997));
    let text = ["Hello!\r\n", "Hi\r\n", ":\r\n", "a b: c\r\n", "..\r\n", "H\r\n\r\nHi\r\n", &long];
    let header =
        ["A:\r\n", "A :\r\n", "From x\r\n", ">From x\r\n", "\r\n", "\r\nHi\r\n", "", &field];
    let behind_a_line = text.map(|text| (text, format!("\r\n{text}")));
    let cases: Vec<_> =
        behind_a_line.into_iter().chain(header.map(|text| (text, text.to_owned()))).collect();
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    let mut sent = Vec::new();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for (text, expected) in &cases {
            let octets = [&stuffed(text.as_bytes()), &b".\r\n"[..]].concat();
            // Of a long one, the pieces about the octet that tells.
            let splits = if octets.len() < 100 { 0..octets.len() } else { 995..1003 };
            for split in splits {
                client
                    .expect(&[
                        ("MAIL FROM:<ann@client.example>\r\n", "250 "),
                        ("RCPT TO:<joe@client.example>\r\n", "250 "),
                        ("DATA\r\n", "354 "),
                    ])
                    .await;
                let (first, rest) = octets.split_at(split);
                client.send(first).await.expect("it stays");
                Timer::after_millis(50).await;
                let reply = client.say(rest).await.expect("it answers");
                assert!(reply.starts_with("250 "), "{reply}");
                sent.push(expected.as_bytes());
            }
        }
        Timer::after_secs(60).await;
    });
    let taken = hop.taken.borrow();
    let messages: Vec<_> = taken.iter().map(|taken| taken.message()).collect();
    for (message, sent) in messages.iter().zip(&sent) {
        assert_eq!(message.escape_ascii().to_string(), sent.escape_ascii().to_string());
    }
    assert_eq!(messages.len(), sent.len());
}

/// With the first of several in it, the field would show blind copies (RFC 5321 §7.2).
#[test]
fn of_several_recipients_the_field_names_none() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN], [1]).await;
        Timer::after_secs(1).await;
        let (field, _) = hop.taken.borrow()[0].split();
        assert!(!field.contains("for <") && !field.contains("client.example>"), "{field}");
    });
}

/// There 552 means too many recipients for one transaction (RFC 5321 §4.5.3.1.10).
#[test]
fn a_552_to_a_recipient_puts_him_off() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Recipient(ANN)).then_some("552 5.5.3 too many"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN], [1]).await;
        Timer::after_secs(10).await;
        hop.answer(|_| None);
        Timer::after_secs(2 * 3600).await;
    });
    let taken = hop.taken.borrow();
    let recipients: Vec<String> = taken.iter().map(|one| one.recipients.concat()).collect();
    assert_eq!(recipients, [JOE, ANN]);
}

#[test]
fn the_card_keeps_the_words_of_a_refusal() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Recipient(ANN)).then_some("550 5.1.1 who is Ann?"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN], [1]).await;
        Timer::after_secs(10).await;
    });
    assert_eq!(contents::refusals(&world.card), ["550 5.1.1 who is Ann?"]);
}

/// A host may refuse a message as soon as it has seen enough of it, and read no more.
#[test]
fn a_refusal_within_a_message_is_its_verdict() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Data => Some("354 go on\r\n552 5.3.4 too big"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(60).await;
        assert_eq!((hop.connections.get(), hop.count()), (1, 0), "and it is not tried again");
    });
    let refused = Held { is_flagged: true, recipients: vec![(JOE.to_owned(), State::Refused)] };
    assert_eq!(contents::held(&world.card), [refused]);
}

/// A verdict on a message whose end has not left is one on nothing.
#[test]
fn a_250_before_the_end_is_no_delivery() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Data => Some("354 go on\r\n250 2.0.0 taken"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(60).await;
        assert_eq!(hop.count(), 0);
    });
    let waiting = Held { is_flagged: false, recipients: vec![(JOE.to_owned(), State::Waiting)] };
    assert_eq!(contents::held(&world.card), [waiting]);
}

/// Nothing depends on the answer to QUIT: new mail does not wait for it.
#[test]
fn a_next_hop_that_does_not_answer_quit_holds_up_nothing() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.pause.set(Duration::from_secs(600));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(1).await;
        send(&world, &[JOE], [2]).await;
        // Five seconds for the answer, ten for the socket to close.
        Timer::after_secs(20).await;
        assert!(has(&hop, 1..=2), "{} taken", hop.count());
    });
}

#[test]
fn who_got_it_does_not_get_it_again_and_who_was_refused_stays() {
    let world = World::new(card(CARD_OCTETS, &lmtp()), 1);
    let (hop, tries) = (Notes::new(), Rc::new(Cell::new(0)));
    let counted = Rc::clone(&tries);
    hop.answer(move |asked| match asked {
        Asked::Message(to) if to.starts_with("ann") => Some("550 5.2.1 not any more"),
        Asked::Message(to) if to.starts_with("bob") => {
            counted.set(counted.get() + 1);
            Some("451 4.2.0 not now")
        }
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN, BOB], [1]).await;
        Timer::after_secs(1).await;
        let states = [
            (JOE.to_owned(), State::Delivered),
            (ANN.to_owned(), State::Refused),
            (BOB.to_owned(), State::Waiting),
        ];
        let left = Held { is_flagged: false, recipients: states.to_vec() };
        assert_eq!(contents::held(&world.card), [left]);
        assert_eq!(tries.get(), 1, "later is not at once");
        world.switch_on();
        Timer::after_secs(1).await;
        assert_eq!(tries.get(), 2);
        hop.answer(|_| None);
        Timer::after_secs(2 * 3600).await;
    });
    let to: Vec<String> = hop.taken.borrow().iter().map(|one| one.recipients.concat()).collect();
    assert_eq!(to, [JOE, BOB]);
    let held = contents::held(&world.card);
    assert!(held[0].is_flagged);
    assert_eq!(held[0].recipients[1].1, State::Refused);
    assert_eq!(hop.connections.get(), 3, "what is flagged is not tried");
}

#[test]
fn recipients_that_smtp_refuses_stay_and_the_others_get_it() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("ann") => Some("550 5.1.1 who?"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN, BOB], [1]).await;
        send(&world, &[ANN], [2]).await;
        send(&world, &[BOB], [3]).await;
        Timer::after_secs(1).await;
    });
    assert!(has(&hop, [1, 3]));
    assert_eq!(hop.taken.borrow()[0].recipients, [JOE, BOB]);
    let flagged: Vec<bool> =
        contents::held(&world.card).iter().map(|held| held.is_flagged).collect();
    assert_eq!(flagged, [true, true]);
}

#[test]
fn a_hop_that_takes_leave_right_behind_its_verdict_gets_nothing_twice() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Message(_) => Some("250 2.0.0 fine\r\n421 4.3.2 enough for now"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(2 * 3600).await;
    });
    assert!(has(&hop, [1]));
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn a_hop_that_takes_few_messages_at_a_time_is_called_again_at_once() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Message(_) => Some("250 2.0.0 fine\r\n421 4.3.2 enough for now"),
        _ => None,
    });
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], 1..6).await;
        Timer::after_secs(60).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Talk::greeted(&world).await.expect(&[("ETRN client.example\r\n", "253 ")]).await;
        Timer::after_secs(10).await;
        assert!(has(&hop, 1..6));
    });
}

#[test]
fn verdicts_count_though_the_connection_breaks_behind_them() {
    let world = World::new(card(CARD_OCTETS, &lmtp()), 1);
    let hop = Notes::new();
    let mut times = 0;
    hop.answer(move |asked| match asked {
        Asked::Message(to) if to.starts_with("ann") => {
            times += 1;
            (times == 1).then_some("421 4.3.2 power is low")
        }
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN], [1]).await;
        Timer::after_secs(2 * 3600).await;
    });
    let to: Vec<String> = hop.taken.borrow().iter().map(|one| one.recipients.concat()).collect();
    assert_eq!(to, [JOE, ANN]);
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn a_hop_that_is_away_is_tried_at_the_interval_and_gets_all_at_once() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Greeting).then_some("421 4.3.2 not yet"));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], 1..6).await;
        Timer::after_secs(60).await;
        assert_eq!(hop.connections.get(), 1, "new mail waits too");
        Timer::after_secs(5 * 1_800).await;
        assert!((5..=6).contains(&hop.connections.get()), "{}", hop.connections.get());
        hop.answer(|_| None);
        Timer::after_secs(2_000).await;
        assert!(has(&hop, 1..6));
        let connections = hop.connections.get();
        send(&world, &[JOE], [6]).await;
        Timer::after_secs(1).await;
        assert!(has(&hop, 1..7), "a hop that is back gets new mail at once");
        assert_eq!(hop.connections.get(), connections + 1);
    });
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn a_message_put_off_by_the_hop_does_not_stop_those_behind_it() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("ann") => Some("450 4.2.1 greylisted"),
        Asked::Mail("grey@origin.example") => Some("451 4.7.1 later"),
        _ => None,
    });
    world.switch_on();
    world.run(async {
        send(&world, &[ANN], [1]).await;
        send(&world, &[JOE], [2]).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(2_000).await;
        assert!(has(&hop, [2]));
        hop.answer(|_| None);
        Timer::after_secs(2_000).await;
        assert!(has(&hop, [2, 1]));
    });
}

#[test]
fn mail_that_comes_while_the_hop_is_left_does_not_wait_for_the_interval() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    hop.pause.set(Duration::from_secs(20));
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(10).await;
        assert!(has(&hop, [1]), "and the hop has not said goodbye");
        send(&world, &[JOE], [2]).await;
        Timer::after_secs(60).await;
        assert!(has(&hop, [1, 2]));
    });
}

#[test]
fn a_host_that_sleeps_is_woken_first() {
    let hardware_address = [0x02, 0, 0, 0x5E, 0, 7];
    let settings = Settings { wake_on_lan: Some(hardware_address), ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 1);
    let (hop, wake_ups) = (Notes::new(), servers::hear_wake_ups(&world));
    world.switch_on();
    world.run(async {
        Timer::after_secs(60).await;
        assert!(wake_ups.borrow().is_empty(), "there is no mail to wake anybody for");
        send(&world, &[JOE], [1]).await;
        // It needs a while to rise.
        Timer::after_secs(20).await;
        assert_eq!(wake_ups.borrow()[0].1, hardware_address);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(10).await;
        assert!(has(&hop, [1]));
        assert!(wake_ups.borrow()[0].0 < hop.taken.borrow()[0].at);
        assert_eq!(wake_ups.borrow().len(), 1);
    });
}

#[test]
fn a_hop_that_falls_silent_is_given_up() {
    let world = World::new(card(CARD_OCTETS, &settings()), 1);
    let hop = Notes::new();
    world.switch_on();
    world.run(async {
        let silent = Hop::arrive_mute(&world, HOP_PORT);
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(60).await;
        silent.leave(&world);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        Timer::after_secs(3_000).await;
        assert!(has(&hop, [1]));
        assert!(hop.taken.borrow()[0].at > Instant::from_secs(1_500));
    });
}

#[test]
fn a_hundred_recipients_with_long_addresses_get_their_verdicts() {
    let settings = Settings { any_recipient: true, ..lmtp() };
    let world = World::new(card(CARD_OCTETS, &settings), 1);
    let address = |number: u32| {
        let local = format!("{number:03}{}", "x".repeat(61));
        format!("{local}@client.example")
    };
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Recipient(to) if to.starts_with("010") => Some("550 5.1.1 who?"),
        Asked::Message(to) if to.starts_with("02") => Some("552 5.2.2 over quota"),
        Asked::Message(to) if to.starts_with("099") => Some("450 4.2.2 later"),
        _ => None,
    });
    Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
    world.switch_on();
    world.run(async {
        let addresses: Vec<String> = (0..100).map(address).collect();
        let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
        send(&world, &recipients, [1]).await;
        Timer::after_secs(60).await;
    });
    assert_eq!(hop.count(), 100 - 12);
    let held = contents::held(&world.card);
    let count = |wanted| held[0].recipients.iter().filter(|(_, state)| *state == wanted).count();
    assert_eq!(count(State::Delivered), 88);
    assert_eq!((count(State::Refused), count(State::Waiting)), (11, 1));
    assert_eq!(held[0].recipients[99], (address(99), State::Waiting));
}

#[test]
fn the_next_hop_may_be_known_by_its_name() {
    let settings = settings();
    let next_hop = NextHop { host: "hop.client.example", ..settings.next_hop };
    let Address::Static { network, gateway, .. } = settings.address else { unreachable!() };
    let address = Address::Static { network, gateway, dns: [FAR].into_iter().collect() };
    let settings = Settings { next_hop, address, ..settings };
    let world = World::new(card(CARD_OCTETS, &settings), 1);
    let hop = Notes::new();
    Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
    world.switch_on();
    world.run(async {
        send(&world, &[JOE], [1]).await;
        Timer::after_secs(60).await;
        assert_eq!(hop.count(), 0, "nobody knows the name");
        servers::name(&world, "hop.client.example");
        Timer::after_secs(2_000).await;
        assert!(has(&hop, [1]));
    });
}

/// What a hundred recipients cost the card under the lock, when one of them has to wait.
#[test]
fn an_envelope_is_rewritten_a_buffers_worth_at_a_time() {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    let settings = Settings { any_recipient: true, next_hop, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 1);
    let hop = Notes::new();
    hop.answer(|asked| match asked {
        Asked::Message(to) if to.starts_with("099") => Some("450 4.2.2 later"),
        _ => None,
    });
    world.switch_on();
    world.run(async {
        let addresses: Vec<String> = (0..100).map(|n| format!("{n:03}@client.example")).collect();
        let recipients: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&recipients, &message(1, 2_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        Timer::after_secs(10).await;
        let before = (world.card.operations(), world.card.reads());
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(120).await;
        assert!(hop.count() >= 99, "{}", hop.count());
        let (operations, reads) =
            (world.card.operations() - before.0, world.card.reads() - before.1);
        println!("100 recipients, 99 delivered: {operations} writes and flushes, {reads} reads");
        assert!(operations < 40 && reads < 500, "{operations}, {reads}");
    });
}

/// A card whose extents are larger than 64 KiB, as those of any card of more than 4 GiB.
#[test]
fn on_a_full_card_with_large_extents_nobody_gets_a_message_again() {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    let settings = Settings { next_hop, max_message_size: 200_000, ..settings() };
    let layout = Layout { extent_blocks: 512, ..Layout::for_card(16 * 2_048) };
    let mut sim = SimCard::new(16 * 2_048);
    let recipients = [JOE, ANN].into_iter().map(str::as_bytes);
    block_on(format_as(&mut sim, layout, &settings, recipients, [7; 32], CREATED))
        .expect("a card of 16 MiB");
    let world = World::new(sim, 2);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Message(ANN)).then_some("451 4.2.0 not now"));
    world.switch_on();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE, ANN], &message(0, 2_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        let mut taken = 1;
        loop {
            let reply = client.mail(&[ANN], &message(taken, 2_000)).await.expect("it answers");
            if !reply.starts_with("250 ") {
                break;
            }
            taken += 1;
        }
        assert!(taken > 20, "{taken} messages fill the card");
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(24 * 3600).await;
        let taken = hop.taken.borrow();
        assert_eq!(taken.iter().filter(|one| one.recipients == [JOE]).count(), 1);
    });
    let held = contents::held(&world.card);
    let delivered = (JOE.to_owned(), State::Delivered);
    assert!(held.iter().any(|one| one.recipients.contains(&delivered)), "it was recorded");
}

#[test]
fn on_a_card_that_takes_no_more_nobody_gets_a_message_again() {
    let world = World::new(card(CARD_OCTETS, &lmtp()), 2);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Message(ANN)).then_some("451 4.2.0 not now"));
    world.switch_on();
    world.run(async {
        send(&world, &[JOE, ANN], [1]).await;
        let last = world.card.written().into_iter().max().expect("a message");
        (last + 1..CARD_OCTETS / 512).for_each(|block| world.card.make_unwritable(block));
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        Timer::after_secs(24 * 3600).await;
        let taken = hop.taken.borrow();
        assert_eq!(taken.iter().filter(|one| one.recipients == [JOE]).count(), 1);
    });
}
