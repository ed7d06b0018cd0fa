//! Clients: who is served, what is taken, what is left of those who gave up.

use embassy_time::{Duration, Instant, Timer, with_timeout};
use postern_card::settings::{NextHop, Protocol, Settings};
use postern_core::envelope::State;

use crate::sim::contents;
use crate::sim::hop::{Asked, Hop, Notes};
use crate::sim::link::{Impairment, Side};
use crate::sim::messages::message;
use crate::sim::talk::{Gone, Talk, stuffed};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const JOE: &str = "joe@client.example";
const ANN: &str = "ann@client.example";
const MAIL: &str = "MAIL FROM:<sender@origin.example>\r\n";

/// A device that is on, with nobody to pass mail on to.
fn device(settings: &Settings<'_>, octets: u32) -> World {
    let world = World::new(card(octets, settings), 2);
    world.switch_on();
    world
}

async fn greeting(world: &World) -> String {
    let mut client = Talk::connect(world).await.expect("somebody listens");
    let greeting = client.reply().await.expect("nobody is sent away without a word");
    client.close().await;
    greeting
}

#[test]
fn three_are_served_and_the_fourth_hears_why_not() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(async {
        let first = Talk::greeted(&world).await;
        let _second = Talk::greeted(&world).await;
        let mut third = Talk::greeted_from(&world.host(0), &world).await;
        for _ in 0..5 {
            assert!(greeting(&world).await.starts_with("421 "));
        }
        first.close().await;
        Timer::after_secs(1).await;
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
        third.expect(&[("NOOP\r\n", "250 ")]).await;
    });
}

#[test]
fn fewer_channels_are_open_when_the_settings_say_so() {
    let world = device(&Settings { channels: 1, ..settings() }, CARD_OCTETS);
    world.run(async {
        let _first = Talk::greeted(&world).await;
        assert!(greeting(&world).await.starts_with("421 "));
    });
}

#[test]
fn without_channels_nobody_listens() {
    let world = device(&Settings { channels: 0, ..settings() }, CARD_OCTETS);
    world.run(async {
        for _ in 0..5 {
            assert!(Talk::connect(&world).await.is_err());
        }
    });
}

#[test]
fn a_client_that_leaves_without_a_word_frees_its_channel_at_once() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(async {
        let host = world.host(0);
        for round in 0..4 {
            let clients = [
                Talk::greeted(&world).await,
                Talk::greeted(&world).await,
                Talk::greeted_from(&host, &world).await,
            ];
            for client in clients {
                if round % 2 == 0 { client.close().await } else { client.hang_up().await }
            }
            Timer::after_secs(1).await;
        }
        assert!(Instant::now() < Instant::from_secs(60));
    });
}

#[test]
fn a_client_that_says_nothing_is_ended_by_the_deadline() {
    let settings = Settings { idle_timeout_ms: 60_000, ..settings() };
    let world = device(&settings, CARD_OCTETS);
    world.run(async {
        let mut silent = Talk::greeted(&world).await;
        let mut amid = Talk::greeted(&world).await;
        amid.expect(&[(MAIL, "250"), ("RCPT TO:<joe@client.example>\r\n", "250")]).await;
        amid.expect(&[("DATA\r\n", "354")]).await;
        amid.send(b"Subject: the beginning\r\n").await.expect("it listens");
        for client in [&mut silent, &mut amid] {
            let ended = client.reply().await.expect("it says why");
            assert!(ended.starts_with("421 4.4.2 "), "{ended}");
            assert_eq!(client.line().await, Err(Gone));
        }
        let seconds = Instant::now().as_secs();
        assert!((60..65).contains(&seconds), "{seconds}");
    });
    world.switch_off();
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn what_is_given_up_takes_no_room() {
    let world = device(&settings(), 512 << 10);
    let room = contents::free(&world.card);
    world.run(async {
        // Each would take a quarter of what is free.
        for round in 0..40 {
            let mut client = Talk::greeted(&world).await;
            let begin = [(MAIL, "250"), ("RCPT TO:<joe@client.example>\r\n", "250")];
            client.expect(&begin).await;
            match round % 4 {
                0 => {
                    client.expect(&[("RSET\r\n", "250"), ("QUIT\r\n", "221")]).await;
                    client.close().await;
                }
                1 => client.hang_up().await,
                2 => {
                    client.expect(&[("DATA\r\n", "354")]).await;
                    client.send(&stuffed(&message(round, 30_000))).await.expect("it listens");
                    client.hang_up().await;
                }
                _ => {
                    client.expect(&[("EHLO again.example\r\n", "250"), (MAIL, "250")]).await;
                    client.close().await;
                }
            }
            Timer::after_secs(1).await;
        }
        let most = room as usize / 4 - 4096;
        let reply = Talk::greeted(&world).await.mail(&[JOE], &message(99, most)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
    });
}

#[test]
fn a_message_over_the_limit_is_refused_for_good() {
    let world = device(&Settings { max_message_size: 10_000, ..settings() }, CARD_OCTETS);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<a@b.example> SIZE=10001\r\n", "552 5.3.4 ")]).await;
        let reply = client.mail(&[JOE], &message(1, 12_000)).await.expect("it answers");
        assert!(reply.starts_with("552 5.3.4 "), "{reply}");
        let reply = client.mail(&[JOE], &message(1, 9_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
    });
}

#[test]
fn a_full_card_puts_mail_off_before_it_comes_and_loses_none() {
    let world = device(&settings(), 512 << 10);
    let hop = Notes::new();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let mut taken = 0;
        loop {
            let reply = client.mail(&[JOE], &message(taken, 20_000)).await.expect("it answers");
            if reply == "452 4.3.1 No room now, try later" {
                break;
            }
            assert!(reply.starts_with("250 "), "{reply}");
            taken += 1;
        }
        assert!(taken >= 8, "only {taken} messages fitted");
        // MAIL was refused, so RCPT is out of turn. And it is no reason to refuse mail for good.
        client.expect(&[("RCPT TO:<joe@client.example>\r\n", "503 ")]).await;
        let mut other = Talk::greeted(&world).await;
        other.expect(&[("MAIL FROM:<a@b.example> SIZE=100000\r\n", "452 4.3.1 ")]).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &hop);
        client.expect(&[("ETRN client.example\r\n", "253 ")]).await;
        Timer::after_secs(60).await;
        assert_eq!(hop.count() as u64, taken);
        for (number, taken) in hop.taken.borrow().iter().enumerate() {
            assert!(taken.message() == message(number as u64, 20_000));
        }
        let reply = client.mail(&[JOE], &message(50, 20_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
    });
}

#[test]
fn a_message_that_outgrows_the_card_is_put_off() {
    let world = device(&Settings { max_message_size: 1 << 20, ..settings() }, 512 << 10);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[(MAIL, "250 "), ("RCPT TO:<joe@client.example>\r\n", "250 ")]).await;
        client.expect(&[("DATA\r\n", "354 ")]).await;
        client.send(&stuffed(&message(1, 600 << 10))).await.expect("it listens");
        client.expect(&[(".\r\n", "452 4.3.1 ")]).await;
        let reply = client.mail(&[JOE], &message(2, 50 << 10)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
    });
}

#[test]
fn who_is_a_recipient() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client
            .expect(&[("MAIL FROM:<>\r\n", "250 "), ("RCPT TO:<JOE@Client.example>\r\n", "250 ")])
            .await;
        client.expect(&[("RCPT TO:<Postmaster>\r\n", "250 ")]).await;
        client.expect(&[("RCPT TO:<postmaster@client.example>\r\n", "250 ")]).await;
        client.expect(&[("RCPT TO:<eve@client.example>\r\n", "550 5.1.1 ")]).await;
        client.expect(&[("RCPT TO:<joe@elsewhere.example>\r\n", "550 5.7.1 ")]).await;
        client.expect(&[("DATA\r\n", "354 "), ("\r\nhello\r\n.\r\n", "250 ")]).await;
    });
    world.switch_off();
    let held = contents::held(&world.card);
    let paths: Vec<&str> = held[0].recipients.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["JOE@Client.example", "root@client.example", "postmaster@client.example"]);
}

#[test]
fn mail_that_goes_in_a_circle_is_refused() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let circling = "Received: from here by there\r\n".repeat(101) + "\r\nhello\r\n";
        let reply = client.mail(&[JOE], circling.as_bytes()).await.expect("it answers");
        assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    });
    world.switch_off();
    assert_eq!(contents::held(&world.card), []);
}

#[test]
fn half_open_connections_hold_nobody_up_for_long() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(async {
        // Each side knows the other's hardware address.
        Talk::greeted(&world).await.close().await;
        // The cable swallows what the device answers, so that none of these handshakes ends.
        let swallowing = Impairment { lost: 100, ..Impairment::default() };
        world.cable.impair_to(Side::Far, swallowing);
        let silent = Duration::from_secs(1);
        for _ in 0..5 {
            assert!(with_timeout(silent, Talk::connect(&world)).await.is_err());
        }
        Timer::after_secs(20).await;
        // The next answer to any of them would bring a reset, and free its socket.
        world.cable.impair(Impairment::default());
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
    });
}

#[test]
fn on_a_full_card_too_it_is_written_down_who_got_a_message() {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    let world = device(&Settings { next_hop, ..settings() }, 512 << 10);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Message(ANN)).then_some("451 4.2.0 not now"));
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE, ANN], &message(0, 2_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        let mut taken = 1;
        // Small ones fill what the large ones leave.
        for size in [20_000, 2_000] {
            while client.mail(&[JOE], &message(taken, size)).await.expect("it answers")[..1] == *"2"
            {
                taken += 1;
            }
        }
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        client.expect(&[("ETRN client.example\r\n", "25")]).await;
        Timer::after_secs(3 * 3600).await;
        assert_eq!(hop.count() as u64, taken, "joe got each once");
    });
}

/// What clients can't fill is kept free while a message grows, too.
#[test]
fn a_message_that_grows_leaves_room_to_write_down_who_got_another() {
    let next_hop = NextHop { protocol: Protocol::Lmtp, ..settings().next_hop };
    let settings = Settings { next_hop, max_message_size: 1 << 20, ..settings() };
    let world = device(&settings, 512 << 10);
    let hop = Notes::new();
    hop.answer(|asked| (asked == Asked::Message(ANN)).then_some("451 4.2.0 not now"));
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&[JOE, ANN], &message(0, 2_000)).await.expect("it answers");
        assert!(reply.starts_with("250 "), "{reply}");
        // It takes all that it gets, and does not end.
        let mut other = Talk::greeted(&world).await;
        other.expect(&[(MAIL, "250 "), ("RCPT TO:<joe@client.example>\r\n", "250 ")]).await;
        other.expect(&[("DATA\r\n", "354 ")]).await;
        other.send(&stuffed(&message(1, 600 << 10))).await.expect("it listens");
        Timer::after_secs(1).await;
        Hop::arrive(&world, HOP_PORT, Protocol::Lmtp, &hop);
        client.expect(&[("ETRN client.example\r\n", "25")]).await;
        Timer::after_secs(10).await;
        assert_eq!(hop.count(), 1);
        let states: Vec<State> =
            contents::held(&world.card)[0].recipients.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [State::Delivered, State::Waiting]);
        other.hang_up().await;
    });
}

#[test]
fn the_watchdog_is_fed_each_second() {
    let world = device(&settings(), CARD_OCTETS);
    world.run(Timer::after_secs(3600));
    let unfed = world.longest_unfed.get().max(world.fed_at.get().elapsed());
    assert!(unfed <= Duration::from_secs(1), "{} ms", unfed.as_millis());
}
