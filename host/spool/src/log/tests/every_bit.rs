//! Each bit of a spool of five messages, flipped in turn.

use super::rig::{Model, Rig, TINY};
use super::sim_disk::{Fault, Loss, SimDisk};
use crate::log::{Options, check_on};
use crate::{Domain, Fate, MsgId};
use std::collections::BTreeSet;

/// Every way of storing a body with few bytes.
const FEW: Options = Options { inline_bytes: 64, ..TINY };
const DOMAINS: [&str; 3] = ["one.example", "two.example", "three.example"];

/// What was left, and what is held: five messages, of which one has a refused recipient and one
/// was put off, besides one that was delivered.
struct Spool {
    disk: SimDisk,
    model: Model,
    held: BTreeSet<MsgId>,
}

fn spool(is_closed: bool) -> Spool {
    let disk = SimDisk::new(Fault::None);
    let mut rig = Rig::open_with(disk, Model::default(), FEW).expect("an empty disk");
    let (one, two): (&[&str], &[&str]) = (&["a@one.example"], &["b@two.example"]);
    rig.put(&[(one, 30)]);
    let reply = || b"a reply".to_vec();
    rig.settle("one.example", 1, &[Fate::Delivered(reply())]);
    rig.put(&[(&["a@three.example", "c@three.example"], 20), (two, 0)]);
    rig.settle("three.example", 1, &[Fate::Refused(reply()), Fate::Deferred(reply())]);
    rig.settle("two.example", 1, &[Fate::Deferred(reply())]);
    rig.put(&[(two, 100)]);
    rig.put(&[(&["a@one.example", "b@two.example"], 40), (one, 50)]);
    if is_closed {
        rig.log.close();
    }
    let held = rig.model.held();
    Spool { disk: rig.disk.after(Loss::Nothing, Fault::None), model: rig.model, held }
}

/// What a delivery of all that is due did.
#[derive(Default)]
struct Sent {
    whole: BTreeSet<MsgId>,
    again: u64,
}

/// Sends what can be claimed; nothing of it may be what nobody put.
fn send(rig: &Rig, held: &BTreeSet<MsgId>, context: &str) -> Sent {
    let mut sent = Sent::default();
    let mut broken = BTreeSet::new();
    for name in DOMAINS {
        let (domain, mut seen) = (Domain::new(name), BTreeSet::new());
        for claim in rig.claim_all(name) {
            assert!(seen.insert(claim.id), "{context}: {} twice", claim.id);
            let paths = claim.envelope.recipients.iter().map(|recipient| &recipient.path);
            rig.model.assert_known(claim.id, &domain, paths, context);
            match rig.body(claim.id) {
                Ok(body) => assert!(rig.model.body(claim.id) == body, "{context}: {}", claim.id),
                // Not one byte was lent.
                Err(_) => drop(broken.insert(claim.id)),
            }
            if held.contains(&claim.id) {
                sent.whole.insert(claim.id);
            } else {
                sent.again += 1;
            }
        }
    }
    sent.whole.retain(|id| !broken.contains(id));
    sent
}

#[derive(Debug, Default)]
struct Counts {
    flips: u64,
    all_five: u64,
    four: u64,
    one_again: u64,
    reported_by_check: u64,
    reported_by_start: u64,
    reported_by_delivery: u64,
}

/// Flips each bit of the bytes that were written of each file.
fn flip_each(is_closed: bool) -> Counts {
    let spool = spool(is_closed);
    let mut counts = Counts::default();
    for name in spool.disk.names() {
        let is_index = name.contains(".idx");
        if name.ends_with(".spare") || name.ends_with("secret") {
            continue;
        }
        let octets = spool.disk.content(&name);
        for (octet, before) in octets.iter().enumerate() {
            // Space that is set aside and was never written has nothing to lose.
            let is_dead = *before == 0 && octets[octet..].iter().take(200).all(|&o| o == 0);
            if is_dead && octet % 97 > 0 {
                continue;
            }
            for bit in 0..8 {
                let context = format!("{name}, octet {octet}, bit {bit}, closed: {is_closed}");
                let disk = spool.disk.after(Loss::Nothing, Fault::None);
                disk.damage(&name, |content| content[octet] ^= 1 << bit);
                let is_copy = octet + crate::log::record::SEGMENT_HEAD >= octets.len();
                let may_be_silent = is_index || is_dead || (name.ends_with(".log") && is_copy);
                flip(&spool, disk, !may_be_silent, &context, &mut counts);
            }
        }
    }
    counts
}

fn flip(spool: &Spool, disk: SimDisk, must_tell: bool, context: &str, counts: &mut Counts) {
    let checked = check_on(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(!must_tell || !checked.findings.is_empty(), "{context}: unseen by a check");
    let rig = Rig::open_with(disk, spool.model.clone(), FEW);
    let rig = rig.unwrap_or_else(|error| panic!("{context}: {error}"));
    let at_start = rig.report.findings.len() as u64;
    let known = rig.shared.damages().count;
    let sent = send(&rig, &spool.held, context);
    assert!(sent.whole.len() >= 4, "{context}: {} sent, {}", sent.whole.len(), rig.report);
    let told = at_start > 0 || rig.shared.damages().count > known;
    let is_sound = sent.whole.len() == 5 && sent.again == 0;
    assert!(told || is_sound, "{context}: a message is lost or sent again, and nobody is told");
    counts.flips += 1;
    counts.all_five += u64::from(sent.whole.len() == 5);
    counts.four += u64::from(sent.whole.len() == 4);
    counts.one_again += u64::from(sent.again > 0);
    counts.reported_by_check += u64::from(!checked.findings.is_empty());
    counts.reported_by_start += u64::from(at_start > 0);
    counts.reported_by_delivery += u64::from(rig.shared.damages().count > known);
}

#[test]
fn each_bit_of_a_closed_spool_costs_one_message_at_most() {
    let counts = flip_each(true);
    println!("bits flipped in a closed spool: {counts:?}");
    assert!(counts.flips >= 20_000 && counts.four >= 1_000 && counts.reported_by_check >= 10_000);
}

#[test]
fn each_bit_of_a_killed_spool_costs_one_message_at_most() {
    let counts = flip_each(false);
    println!("bits flipped in a killed spool: {counts:?}");
    assert!(counts.flips >= 12_000 && counts.four >= 5_000 && counts.reported_by_start >= 10_000);
}
