//! Mail that is fetched by ATRN.

use embassy_time::{Instant, with_timeout};
use postern_card::settings::{Holder, Host, Listener, Settings, Way};

use crate::sim::messages::message;
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, HOLDER_PORT, World, card, settings};

const HOUR: embassy_time::Duration = embassy_time::Duration::from_secs(3600);
/// RFC 2195 section 2.
pub const CHALLENGE: &str = "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
pub const ANSWER: &str = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
/// How it asks for the mail, and proves who it is.
pub const ATRN: Way<'static> = Way::Atrn { user: "tim", password: "tanstaaftanstaaf" };
pub const OFFER: &str = "250-provider.example\r\n250-AUTH SCRAM-SHA-256 CRAM-MD5\r\n250 ATRN";

fn device(names: &[&'static str]) -> World {
    let hosts = [Host { name: "192.0.2.1", port: HOLDER_PORT }].into_iter().collect();
    let names = names.iter().copied().collect();
    let holders = [Holder { hosts, names, every_s: 3600, way: ATRN }].into_iter().collect();
    let told = Settings { holders, listener: Listener::Off, retry_every_s: None, ..settings() };
    let world = World::new(card(CARD_OCTETS, &told), 3);
    world.switch_on();
    world
}

/// Answers the device, and returns what it says then.
async fn hear(talk: &mut Talk, reply: &str) -> Result<String, Gone> {
    talk.send(format!("{reply}\r\n").as_bytes()).await?;
    Ok(String::from_utf8(talk.line().await?).expect("it is ASCII"))
}

/// Says each of these, to which the device must say what stands beside it.
async fn hears(talk: &mut Talk, dialogue: &[(&str, &str)]) {
    for (reply, command) in dialogue {
        assert_eq!(hear(talk, reply).await.as_deref(), Ok(*command), "{reply}");
    }
}

const EHLO: (&str, &str) = ("220 provider.example ESMTP", "EHLO mx2.provider.example");
const AUTH: [(&str, &str); 2] = [(OFFER, "AUTH CRAM-MD5"), (CHALLENGE, ANSWER)];

/// Turns the roles round; the device has greeted.
async fn turned(world: &World, atrn: &str) -> Talk {
    let mut talk = Talk::accept(&world.far, HOLDER_PORT).await;
    hears(&mut talk, &[EHLO, AUTH[0], AUTH[1], ("235 2.7.0 welcome", atrn)]).await;
    let greeting = hear(&mut talk, "250 2.0.0 here it comes").await;
    assert!(greeting.is_ok_and(|line| line.starts_with("220 ")));
    talk
}

/// Seconds until the device comes again.
async fn comes_again(world: &World) -> u64 {
    let begun = Instant::now();
    let again = Talk::accept(&world.far, HOLDER_PORT);
    with_timeout(HOUR * 2, again).await.expect("it comes again").close().await;
    begun.elapsed().as_secs()
}

#[test]
fn it_comes_over_the_connection_that_asked_and_nobody_else_is_let_in() {
    let world = device(&["client.example", "b.example"]);
    world.run(async {
        let mut talk = turned(&world, "ATRN client.example,b.example").await;
        assert!(Talk::connect(&world).await.is_err(), "there is no listener");
        talk.expect(&[("EHLO provider.example\r\n", "250 ")]).await;
        for number in 1..4 {
            let reply = talk.mail(&["joe@client.example"], &message(number, 20_000)).await;
            assert!(reply.is_ok_and(|reply| reply.starts_with("250 ")));
        }
        let reply = talk.mail(&["joe@elsewhere.example"], &message(4, 100)).await;
        assert!(reply.is_ok_and(|reply| reply.starts_with("550 ")), "it relays for nobody");
        // An hour later, and not before.
        talk.expect(&[("QUIT\r\n", "221 ")]).await;
        talk.close().await;
        assert!((3590..3610).contains(&comes_again(&world).await));
    });
}

#[test]
fn a_provider_that_says_something_early_is_heard() {
    let world = device(&[]);
    world.run(async {
        let mut talk = Talk::accept(&world.far, HOLDER_PORT).await;
        hears(&mut talk, &[EHLO, AUTH[0], AUTH[1], ("235 2.7.0 welcome", "ATRN")]).await;
        let early = "250 2.0.0 it comes\r\nEHLO provider.example\r\nMAIL FROM:<>";
        let greeting = hear(&mut talk, early).await;
        assert!(greeting.is_ok_and(|line| line.starts_with("220 ")));
        assert!(talk.reply().await.is_ok_and(|line| line.starts_with("250 ")));
        assert!(talk.reply().await.is_ok_and(|line| line.starts_with("250 2.1.0")));
        talk.hang_up().await;
    });
}

#[test]
fn one_that_does_not_end_as_it_should_is_asked_again_soon() {
    for ending in ["", "QUIT", "silence"] {
        let world = device(&[]);
        world.run(async {
            let mut talk = turned(&world, "ATRN").await;
            match ending {
                "QUIT" => {
                    talk.expect(&[("QUIT\r\n", "221 ")]).await;
                    talk.close().await;
                }
                "" => talk.hang_up().await,
                // It says nothing more, and is not waited for for ever.
                _ => assert_eq!(talk.reply().await.map(|it| it[..4].to_owned()), Ok("421 ".into())),
            }
            let soon = comes_again(&world).await < 150;
            assert_eq!(soon, ending != "QUIT", "{ending:?}");
        });
    }
}

#[test]
fn what_stands_in_the_way_of_fetching_is_asked_for_again_or_left_alone() {
    let refused = ["535 5.7.8 who", "454 4.7.0 later", "334 bm9uY2U=", "334 ?"];
    for (reply, is_soon) in refused.into_iter().zip([false, true, true, true]) {
        let world = device(&[]);
        world.run(async {
            let mut talk = Talk::accept(&world.far, HOLDER_PORT).await;
            hears(&mut talk, &[EHLO, AUTH[0]]).await;
            let challenge = if reply == "334 ?" { reply } else { CHALLENGE };
            let answered = hear(&mut talk, challenge).await;
            if reply != "334 ?" {
                assert_eq!(answered.as_deref(), Ok(ANSWER));
                let _gone = hear(&mut talk, reply).await;
            }
            talk.close().await;
            assert_eq!(comes_again(&world).await < 150, is_soon, "{reply}");
        });
    }
    let replies = ["453 4.7.1 none", "450 4.7.1 not yours", "450 4.3.0 busy", "451 4.3.0 what"];
    for (reply, is_soon) in replies.into_iter().zip([false, false, true, true]) {
        let world = device(&[]);
        world.run(async {
            let mut talk = Talk::accept(&world.far, HOLDER_PORT).await;
            hears(&mut talk, &[EHLO, AUTH[0], AUTH[1], ("235 2.7.0 welcome", "ATRN")]).await;
            assert_eq!(hear(&mut talk, reply).await.as_deref(), Ok("QUIT"));
            talk.close().await;
            assert_eq!(comes_again(&world).await < 150, is_soon, "{reply}");
        });
    }
    for offer in ["250-provider.example\r\n250 ATRN", "250-provider.example\r\n250 AUTH PLAIN"] {
        let world = device(&[]);
        world.run(async {
            let mut talk = Talk::accept(&world.far, HOLDER_PORT).await;
            hears(&mut talk, &[EHLO]).await;
            assert!(!hear(&mut talk, offer).await.is_ok_and(|said| said.starts_with("AUTH")));
            talk.close().await;
            assert!(comes_again(&world).await > 3500, "{offer}");
        });
    }
}
