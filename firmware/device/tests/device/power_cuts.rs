//! Power fails at any of the card's writes: whatever got 250 is passed on whole, and comes twice
//! only if power failed between the next hop's 250 and our removing it.

use std::cell::RefCell;
use std::rc::Rc;

use embassy_futures::join::join_array;
use embassy_futures::select::select;
use embassy_time::Timer;
use postern_card::settings::Protocol;

use crate::sim::card::{Random, SimCard};
use crate::sim::contents;
use crate::sim::hop::{Hop, Notes};
use crate::sim::messages::{numbered, tally};
use crate::sim::talk::{Gone, Talk};
use crate::sim::world::{CARD_OCTETS, HOP_PORT, World, card, settings};

const CLIENTS: u64 = 3;
const MESSAGES: u64 = 3;
/// Pairs of cuts.
const PAIRS: u64 = 150;

/// Hands over some messages; those that get 250 are noted.
async fn client(world: &World, number: u64, acknowledged: &RefCell<Vec<u64>>) -> Result<(), Gone> {
    let mut client = Talk::greeted_from(&world.host(number as u8), world).await;
    for message in 0..MESSAGES {
        let number = number * 100 + message * 7;
        let reply = client.mail(&["joe@client.example"], &numbered(number)).await?;
        assert!(reply.starts_with("250 "), "{reply}");
        acknowledged.borrow_mut().push(number);
    }
    client.say("QUIT\r\n").await.map(drop)
}

/// What the hop took, and what was acknowledged, over all lives of a device.
struct Fates {
    hop: Rc<Notes>,
    acknowledged: RefCell<Vec<u64>>,
}

impl Fates {
    fn new() -> Self {
        Self { hop: Notes::new(), acknowledged: RefCell::default() }
    }

    /// A life in which clients come, until power fails or nothing is left to do.
    fn busy_life(&self, card: &SimCard) {
        let world = World::new(card.clone(), 6);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &self.hop);
        let clients: [u64; CLIENTS as usize] = std::array::from_fn(|number| number as u64 + 1);
        world.run(select(world.live_until_power_fails(), async {
            let clients = clients.map(|number| client(&world, number, &self.acknowledged));
            let ends = join_array(clients).await;
            assert_eq!(ends, [Ok(()); CLIENTS as usize], "with power, all are served");
            Timer::after_secs(10).await;
        }));
        world.switch_off();
    }

    /// A life without clients.
    fn quiet_life(&self, card: &SimCard) {
        let world = World::new(card.clone(), 6);
        Hop::arrive(&world, HOP_PORT, Protocol::Smtp, &self.hop);
        world.run(select(world.live_until_power_fails(), Timer::after_secs(60)));
        world.switch_off();
    }

    /// All is well after the last life.
    fn check(&self, card: &SimCard, what: &str) {
        let tally = tally(&self.hop.taken.borrow());
        for number in self.acknowledged.borrow().iter() {
            assert!(tally.contains_key(number), "{what}: message {number} was acknowledged");
        }
        assert_eq!(contents::held(card), [], "{what}");
    }

    /// How many messages came more than once.
    fn again(&self) -> usize {
        tally(&self.hop.taken.borrow()).values().filter(|copies| **copies > 1).count()
    }
}

/// A new card, and how many writes and flushes it sees when power does not fail.
fn measured() -> (SimCard, u64) {
    let new = card(CARD_OCTETS, &settings());
    let whole = new.copy();
    let fates = Fates::new();
    let before = whole.operations();
    fates.busy_life(&whole);
    fates.check(&whole, "no cut");
    assert_eq!((fates.hop.count() as u64, fates.again()), (CLIENTS * MESSAGES, 0));
    (new, whole.operations() - before)
}

#[test]
fn power_may_fail_at_any_write() {
    let (new, operations) = measured();
    let mut again = 0;
    for cut in 0..operations {
        let (card, fates) = (new.copy(), Fates::new());
        card.cut_at(cut, cut);
        fates.busy_life(&card);
        assert!(card.power_on(), "cut {cut} came");
        fates.quiet_life(&card);
        fates.check(&card, &format!("cut {cut}"));
        assert!(
            fates.again() <= 1,
            "cut {cut}: a cut falls between one message's verdict and removal"
        );
        again += fates.again();
    }
    println!("{operations} cuts, after {again} of which a message came twice");
    assert!(operations > 150, "{operations} cuts");
    assert!(again > 0, "some of the cuts fall behind a verdict");
}

#[test]
fn power_may_fail_again_while_the_first_time_is_made_good() {
    let (new, operations) = measured();
    let (mut random, mut second_cuts) = (Random(8), 0);
    for pair in 0..PAIRS {
        let (first, second) = (random.below(operations), random.below(20));
        let (card, fates) = (new.copy(), Fates::new());
        card.cut_at(first, pair);
        fates.busy_life(&card);
        card.power_on();
        card.cut_at(second, pair);
        fates.quiet_life(&card);
        second_cuts += u32::from(card.power_on());
        fates.quiet_life(&card);
        fates.check(&card, &format!("cuts {first}, {second}"));
    }
    println!("{PAIRS} pairs, {second_cuts} of the second cuts came");
    assert!(second_cuts > 100, "{second_cuts} second cuts");
}
