//! More clients than channels, and clients that want more than their share.

use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::Settings;

use crate::sim::messages::message;
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, World, card, settings};

fn device() -> World {
    let world = World::new(card(CARD_OCTETS, &settings()), 2);
    world.switch_on();
    world
}

#[test]
fn one_host_has_two_sessions_at_most() {
    let world = device();
    let other = world.host(0);
    world.run(async {
        let mut first = Talk::greeted(&world).await;
        let _second = Talk::greeted(&world).await;
        for _ in 0..20 {
            let mut third = Talk::connect(&world).await.expect("somebody listens");
            third.expect(&[("", "421 Too many sessions")]).await;
            third.close().await;
        }
        // So there is a channel for others.
        Talk::greeted_from(&other, &world).await.expect(&[("QUIT\r\n", "221 ")]).await;
        first.expect(&[("QUIT\r\n", "221 ")]).await;
        first.close().await;
        Talk::greeted(&world).await.expect(&[("QUIT\r\n", "221 ")]).await;
    });
}

/// Who is sent away, and stays, must not hold for long what was kept for others.
#[test]
fn a_third_session_that_does_not_leave_holds_its_channel_for_seconds() {
    let world = device();
    let other = world.host(0);
    world.run(async {
        let _first = Talk::greeted(&world).await;
        let _second = Talk::greeted(&world).await;
        let mut third = Talk::connect(&world).await.expect("somebody listens");
        third.expect(&[("", "421 Too many sessions")]).await;
        Timer::after_secs(3).await;
        Talk::greeted_from(&other, &world).await.expect(&[("QUIT\r\n", "221 ")]).await;
    });
}

#[test]
fn a_host_that_only_says_noop_holds_a_channel_for_ten_minutes() {
    let world = device();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        for _ in 0..2 {
            Timer::after_secs(250).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
        }
        let ended = client.reply().await.expect("it says why");
        assert!(ended.starts_with("421 4.4.2 "), "{ended}");
        let seconds = Instant::now().as_secs();
        assert!((600..605).contains(&seconds), "{seconds} s");
    });
}

#[test]
fn a_message_may_take_longer_than_a_session_without_one() {
    let world = device();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        client.expect(&[("MAIL FROM:<a@b.example>\r\n", "250 ")]).await;
        client.expect(&[("RCPT TO:<joe@client.example>\r\n", "250 "), ("DATA\r\n", "354 ")]).await;
        for _ in 0..30 {
            Timer::after_secs(60).await;
            client.send(&[b'x'; 4_000]).await.expect("it listens");
            client.send(b"\r\n").await.expect("it listens");
        }
        client.expect(&[(".\r\n", "250 "), ("QUIT\r\n", "221 ")]).await;
        assert!(Instant::now() > Instant::from_secs(1_800));
    });
}

#[test]
fn a_silent_client_has_less_time_while_all_channels_are_busy() {
    let world = device();
    let hosts = [world.host(0), world.host(1), world.host(2)];
    world.run(async {
        let mut silent = Talk::greeted_from(&hosts[0], &world).await;
        let mut slow = Talk::greeted_from(&hosts[1], &world).await;
        Timer::after_secs(100).await;
        slow.expect(&[("NOOP\r\n", "250 ")]).await;
        let _third = Talk::greeted_from(&hosts[2], &world).await;
        let full = Instant::now();
        Timer::after_secs(15).await;
        slow.expect(&[("NOOP\r\n", "250 ")]).await;
        let ended = silent.reply().await.expect("it says why");
        assert!(ended.starts_with("421 4.4.2 "), "{ended}");
        assert_eq!(silent.line().await, Err(Gone));
        assert!(full.elapsed() <= Duration::from_secs(21), "{} s", full.elapsed().as_secs());
        // There is a channel again, and so there is time.
        silent.close().await;
        slow.expect(&[("NOOP\r\n", "250 ")]).await;
        Timer::after_secs(200).await;
        slow.expect(&[("NOOP\r\n", "250 ")]).await;
    });
}

#[test]
fn etrn_again_and_again_begins_few_runs() {
    let world = device();
    world.run(async {
        let mut client = Talk::greeted(&world).await;
        let reply = client.mail(&["joe@client.example"], &message(1, 2_000)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        let mut heeded = 0;
        for _ in 0..50 {
            let reply = client.say("ETRN client.example\r\n").await.expect("it answers");
            heeded += u32::from(reply.starts_with("25"));
            assert!(reply.starts_with("25") || reply.starts_with("458 "), "{reply}");
        }
        assert_eq!(heeded, 10);
        Timer::after_secs(60).await;
        client.expect(&[("ETRN client.example\r\n", "25"), ("ETRN branch\r\n", "458 ")]).await;
    });
}

#[test]
fn with_one_channel_it_is_busy_with_one_client() {
    let settings = Settings { channels: 1, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 2);
    world.switch_on();
    world.run(async {
        let mut only = Talk::greeted(&world).await;
        let ended = only.reply().await.expect("it says why");
        assert!(ended.starts_with("421 4.4.2 "), "{ended}");
        assert!((20..23).contains(&Instant::now().as_secs()), "{}", Instant::now().as_secs());
    });
}
