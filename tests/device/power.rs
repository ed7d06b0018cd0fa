//! `kill -9` of QEMU at random moments under load, and a restart with the same card.

use std::collections::BTreeMap;

use postern_tests::card::CardImage;
use postern_tests::device::HOLDING;
use postern_tests::mail::compare;

use crate::next_hop::{NextHop, passed_on};
use crate::rig::{CARD, Rig, long};
use crate::storm::Storm;

#[test]
fn every_acknowledged_message_outlives_a_power_cut() {
    let mut storm = Storm::new(0x706F_7374);
    let mut card = CardImage::make(HOLDING, CARD);
    for _ in 0..if long() { 100 } else { 20 } {
        card = storm.round(Rig::with_card(card));
        let stored = card.messages();
        println!("{} acknowledged, {} on the card", storm.acknowledged.len(), stored.len());
        compare(&stored, &storm.acknowledged);
    }
}

#[test]
fn and_goes_on_though_the_power_is_cut_on_its_way() {
    let next_hop = NextHop::start();
    let mut storm = Storm::new(0x6572_6E00);
    let mut card = CardImage::make(&next_hop.configuration("30m"), CARD);
    let rounds = if long() { 50 } else { 5 };
    for _ in 0..rounds {
        card = storm.round(Rig::with_card(card));
        println!("{} acknowledged", storm.acknowledged.len());
    }
    let left = card.messages().len();
    let rig = Rig::with_card(card);
    rig.device.wait_for("the rest passed on", |lines| (passed_on(lines) == left).then_some(()));
    assert_eq!(rig.end().messages().len(), 0);
    let mut received = BTreeMap::new();
    for mail in next_hop.end() {
        *received.entry(mail).or_insert(0) += 1;
    }
    for mail in &storm.acknowledged {
        assert!(received.contains_key(mail), "{mail:?} is lost");
    }
    let twice = received.values().map(|times| times - 1).sum::<usize>();
    println!("{left} were left for the last start; {twice} came twice by {rounds} cuts");
    assert!(twice <= rounds, "only what was on its way at a cut may come twice");
}
