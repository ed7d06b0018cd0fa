//! DHCP leases: held while the link flaps, renewed, refused, lost, and changed.

use std::cell::Cell;
use std::rc::Rc;

use embassy_net::Ipv4Address;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_time::{Duration, Instant, Timer};
use postern_card::settings::{Address, Settings};

use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, DEVICE, FAR, World, card, settings};

/// The longest time until somebody is served again.
const SERVED: Duration = Duration::from_secs(10);
/// Where the device is after it was somewhere else.
const ELSEWHERE: Ipv4Address = Ipv4Address::new(192, 0, 2, 77);

/// A DHCP server, as it may be changed.
struct Server {
    /// What it leases; a request for another address is refused.
    address: Cell<Ipv4Address>,
    lease_s: Cell<u32>,
    answers: Cell<bool>,
    /// Whether it knows of leases that it gave before.
    remembers: Cell<bool>,
    /// Whether what it offers may be requested.
    keeps_offers: Cell<bool>,
    /// Requests that it was sent, but for those of a new lease.
    asked: Cell<u32>,
    refused: Cell<u32>,
}

const OFFER: u8 = 2;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

impl Server {
    fn start(world: &World) -> Rc<Self> {
        let server = Rc::new(Self {
            address: Cell::new(DEVICE),
            lease_s: Cell::new(86_400),
            answers: Cell::new(true),
            remembers: Cell::new(true),
            keeps_offers: Cell::new(true),
            asked: Cell::new(0),
            refused: Cell::new(0),
        });
        let (receive, send) = (vec![0; 4096].leak(), vec![0; 4096].leak());
        let received = vec![PacketMetadata::EMPTY; 8].leak();
        let sent = vec![PacketMetadata::EMPTY; 8].leak();
        let mut socket = UdpSocket::new(world.far.stack, received, receive, sent, send);
        socket.bind(67).expect("the port is free");
        let serves = Rc::clone(&server);
        world.tasks.spawn(async move {
            let mut datagram = [0; 2048];
            loop {
                let Ok((length, _)) = socket.recv_from(&mut datagram).await else { continue };
                if let Some(kind) = serves.judge(&datagram[..length]) {
                    let answer = serves.answer(&datagram, kind);
                    let everybody = (Ipv4Address::BROADCAST, 68);
                    socket.send_to(&answer, everybody).await.expect("the link is up");
                }
            }
        });
        server
    }

    /// The kind of the answer to a message (RFC 2131 §4.3), if there is one.
    fn judge(&self, question: &[u8]) -> Option<u8> {
        if !self.answers.get() {
            return None;
        }
        let kind = option(question, 53)?;
        if kind == [1] {
            return Some(OFFER);
        }
        let wanted = option(question, 50).unwrap_or(&question[12..16]);
        if option(question, 54).is_none() {
            self.asked.set(self.asked.get() + 1);
            if option(question, 50).is_some() && !self.remembers.get() {
                return None;
            }
        }
        if wanted == self.address.get().octets() && self.keeps_offers.get() {
            return Some(ACKNOWLEDGE);
        }
        self.refused.set(self.refused.get() + 1);
        Some(REFUSE)
    }

    fn answer(&self, question: &[u8], kind: u8) -> Vec<u8> {
        let mut answer = vec![0; 240];
        answer[..4].copy_from_slice(&[2, 1, 6, 0]);
        answer[4..8].copy_from_slice(&question[4..8]);
        if kind != REFUSE {
            answer[16..20].copy_from_slice(&self.address.get().octets());
        }
        answer[28..44].copy_from_slice(&question[28..44]);
        answer[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        answer.extend([53, 1, kind, 54, 4]);
        answer.extend(FAR.octets());
        answer.extend([51, 4]);
        answer.extend(self.lease_s.get().to_be_bytes());
        answer.extend([1, 4, 255, 255, 255, 0, 255]);
        answer
    }
}

/// What a DHCP message says under a code (RFC 2132).
fn option(message: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = &message[240..];
    loop {
        match rest {
            [0, behind @ ..] => rest = behind,
            [255, ..] | [] | [_] => return None,
            [found, length, behind @ ..] => {
                let (value, behind) = behind.split_at(usize::from(*length));
                if *found == code {
                    return Some(value);
                }
                rest = behind;
            }
        }
    }
}

/// A device that leases its address, and serves.
fn device() -> (World, Rc<Server>) {
    let settings = Settings { address: Address::Dhcp, ..settings() };
    let world = World::new(card(CARD_OCTETS, &settings), 5);
    let server = Server::start(&world);
    world.switch_on();
    (world, server)
}

/// Waits until somebody is served, and returns how long that took.
async fn served(world: &World) -> Duration {
    let since = Instant::now();
    loop {
        let talk = embassy_time::with_timeout(Duration::from_secs(1), Talk::connect(world)).await;
        if let Ok(Ok(mut talk)) = talk {
            talk.expect(&[("", "220 "), ("QUIT\r\n", "221 ")]).await;
            return since.elapsed();
        }
        Timer::after_millis(100).await;
    }
}

async fn flap(world: &World, seconds: u64) {
    world.cable.link(false);
    Timer::after_secs(seconds).await;
    world.cable.link(true);
}

#[test]
fn a_link_that_flaps_costs_no_session() {
    let (world, server) = device();
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        for (times, seconds) in [(1, 1), (2, 1), (3, 30), (4, 59)] {
            flap(&world, seconds).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
            Timer::after_secs(5).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
            assert_eq!(server.asked.get(), times, "the lease is asked for once each time");
        }
        assert!(served(&world).await < SERVED);
    });
}

#[test]
fn without_a_link_for_long_the_lease_is_dropped_and_taken_again() {
    let (world, server) = device();
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        flap(&world, 100).await;
        assert!(served(&world).await < SERVED);
        assert_eq!(server.asked.get(), 0, "the lease is a new one");
        assert!(client.say("NOOP\r\n").await.is_err());
    });
}

#[test]
fn behind_a_flap_the_network_may_be_another() {
    for remembers in [true, false] {
        let (world, server) = device();
        world.run(async {
            Timer::after_secs(5).await;
            let mut client = Talk::greeted(&world).await;
            server.address.set(ELSEWHERE);
            server.remembers.set(remembers);
            flap(&world, 2).await;
            world.device_at.set(ELSEWHERE);
            let served = served(&world).await;
            assert!(served < SERVED, "{} ms", served.as_millis());
            assert!(server.asked.get() > 0);
            assert_eq!(client.say("NOOP\r\n").await, Err(Gone), "it was at the old address");
        });
    }
}

#[test]
fn a_lease_is_renewed_without_a_pause() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(5).await;
        let mut client = Talk::greeted(&world).await;
        for _ in 0..3 {
            Timer::after_secs(150).await;
            client.expect(&[("NOOP\r\n", "250 ")]).await;
        }
        assert!(server.asked.get() >= 6, "renewed {} times", server.asked.get());
    });
}

#[test]
fn a_renewal_that_is_refused_leads_to_another_address() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(30).await;
        server.address.set(ELSEWHERE);
        while server.refused.get() == 0 {
            Timer::after_millis(100).await;
        }
        world.device_at.set(ELSEWHERE);
        assert!(served(&world).await < SERVED);
    });
}

#[test]
fn a_lease_that_ran_out_is_taken_again_when_the_server_is_back() {
    let (world, server) = device();
    server.lease_s.set(120);
    world.run(async {
        Timer::after_secs(5).await;
        server.answers.set(false);
        Timer::after_secs(3600).await;
        server.answers.set(true);
        let served = served(&world).await;
        assert!(served < SERVED, "{} ms", served.as_millis());
    });
}

/// smoltcp asks anew at once when it is refused.
#[test]
fn a_server_that_refuses_what_it_offers_is_not_asked_without_a_pause() {
    let (world, server) = device();
    server.keeps_offers.set(false);
    let asked = Rc::new(Cell::new(0));
    let asks = asked.clone();
    world.cable.tap(move |frame| {
        // From port 68 to port 67 of UDP.
        let is_dhcp = frame.get(23) == Some(&17) && frame.get(34..38) == Some(&[0, 68, 0, 67]);
        asks.set(asks.get() + u32::from(is_dhcp));
    });
    world.run(async {
        Timer::after_secs(600).await;
        println!("{} questions in 10 minutes, {} refused", asked.get(), server.refused.get());
        assert!((20..=300).contains(&asked.get()), "{} questions in 10 minutes", asked.get());
        server.keeps_offers.set(true);
        Timer::after_secs(20).await;
        Talk::greeted(&world).await.close().await;
    });
}
