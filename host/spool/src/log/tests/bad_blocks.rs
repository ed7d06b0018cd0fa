//! Blocks of the disk that have the content of another block, or that they had before: each costs
//! the messages whose bytes it held, and nobody else.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::rig::{Model, Rig};
use super::sim_disk::{Fault, Loss, Random, SimDisk};
use crate::log::check_on;
use crate::log::record::{Header, NO_ID, SEGMENT_HEAD, SegmentHead};
use crate::{Domain, Fate, MsgId};

const DOMAINS: [&str; 2] = ["one.example", "two.example"];

/// A spool as it was left, what it held, and its files at earlier times.
struct Spool {
    disk: SimDisk,
    model: Model,
    before: Vec<HashMap<String, Vec<u8>>>,
    is_closed: bool,
}

fn contents(disk: &SimDisk) -> HashMap<String, Vec<u8>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.content(&name))).collect()
}

fn spool(is_closed: bool) -> Spool {
    let mut rig = Rig::open(SimDisk::new(Fault::None), Model::default()).expect("an empty disk");
    let mut before = Vec::new();
    let (one, both): (&[&str], &[&str]) = (&["a@one.example"], &["b@one.example", "c@two.example"]);
    for round in 0..5 {
        rig.put(&[(one, 300), (both, 700), (one, 150)]);
        rig.settle("one.example", 1, &[Fate::Delivered(b"250 2.0.0 taken".to_vec())]);
        before.push(contents(&rig.disk));
        rig.put(&[(both, 90), (one, 2_200 + round)]);
        rig.settle("two.example", 1, &[Fate::Delivered(b"250 2.0.0 taken".to_vec())]);
        before.push(contents(&rig.disk));
        rig.put(&[(one, 1_200)]);
    }
    if is_closed {
        rig.log.close();
    }
    Spool { disk: rig.disk.after(Loss::Nothing, Fault::None), model: rig.model, before, is_closed }
}

/// Which message has bytes where, of the files as they were before anything happened to them.
fn owners(disk: &SimDisk) -> Vec<(String, Range<usize>, MsgId)> {
    let mut owners = Vec::new();
    for name in disk.names() {
        let octets = disk.content(&name);
        if let Some(id) = name.strip_prefix("bodies/") {
            owners.push((name.clone(), 0..octets.len(), id.parse().expect("an id")));
        }
        let Ok(head) = SegmentHead::decode(&octets) else { continue };
        let mut at = SEGMENT_HEAD;
        while let Some((header, _)) = Header::read(head.mark, at as u64, &octets[at..]) {
            let end = at + header.record_len() as usize;
            if header.id != NO_ID {
                owners.push((name.clone(), at..end, header.id));
            }
            at = end;
        }
    }
    owners
}

/// Sends all; which messages were sent whole to all of their domains.
fn send(rig: &Rig, context: &str) -> BTreeSet<(String, MsgId)> {
    let mut sent = BTreeSet::new();
    for name in DOMAINS {
        let domain = Domain::new(name);
        for claim in rig.claim_all(name) {
            let paths = claim.envelope.recipients.iter().map(|recipient| &recipient.path);
            rig.model.assert_known(claim.id, &domain, paths, context);
            if let Ok(body) = rig.body(claim.id) {
                assert!(rig.model.body(claim.id) == body, "{context}: the body of {}", claim.id);
                assert!(sent.insert((name.to_owned(), claim.id)), "{context}: sent twice");
            }
        }
    }
    sent
}

#[derive(Debug, Default)]
struct Counts {
    blocks: u64,
    without_effect: u64,
    costly: u64,
    lost: u64,
    again: u64,
    reported: u64,
    never_known: u64,
}

/// What no message is in.
fn is_idle(name: &str) -> bool {
    name.ends_with(".spare") || name.ends_with("secret")
}

/// Gives one block of a file other content; where, unless nothing changed.
fn replace(spool: &Spool, disk: &SimDisk, random: &mut Random) -> Option<(String, Range<usize>)> {
    let names: Vec<_> = disk.names().into_iter().filter(|name| !is_idle(name)).collect();
    let size = [512, 4_096][random.below(2)];
    let name = names[random.below(names.len())].clone();
    let octets = disk.content(&name);
    let start = size * random.below(octets.len().div_ceil(size));
    let range = start..(start + size).min(octets.len());
    let other = if random.below(2) == 0 {
        let name = &names[random.below(names.len())];
        let octets = disk.content(name);
        let start = size * random.below(octets.len().div_ceil(size));
        octets[start..].to_vec()
    } else {
        let before = &spool.before[random.below(spool.before.len())];
        before.get(&name).and_then(|octets| octets.get(start..)).unwrap_or_default().to_vec()
    };
    let mut block = vec![0; range.len()];
    let length = other.len().min(block.len());
    block[..length].copy_from_slice(&other[..length]);
    if block == octets[range.clone()] {
        return None;
    }
    disk.damage(&name, |content| content[range.clone()].copy_from_slice(&block));
    Some((name, range))
}

fn one_block(spool: &Spool, sound: &BTreeSet<(String, MsgId)>, seed: u64, counts: &mut Counts) {
    let mut random = Random::new(seed);
    let disk = spool.disk.after(Loss::Nothing, Fault::None);
    let owners = owners(&disk);
    let Some((name, range)) = replace(spool, &disk, &mut random) else { return };
    let context = format!("seed {seed}, {name}, {range:?}, closed: {}", spool.is_closed);
    let checked = check_on(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let rig = Rig::open(disk, spool.model.clone());
    let rig = rig.unwrap_or_else(|error| panic!("{context}: {error}"));
    let sent = send(&rig, &context);
    let is_touched = |id: &MsgId| {
        let of_block = |(file, octets, _): &&(String, Range<usize>, MsgId)| {
            *file == name && octets.start < range.end && range.start < octets.end
        };
        owners.iter().filter(of_block).any(|(_, _, owner)| owner == id)
    };
    let lost: Vec<_> = sound.difference(&sent).collect();
    let again: Vec<_> = sent.difference(sound).collect();
    for (domain, id) in lost.iter().chain(&again) {
        assert!(is_touched(id), "{context}: {id} for {domain} had no octet there");
    }
    let told = !rig.report.findings.is_empty() || rig.shared.damages().count > 0;
    let is_costly = !lost.is_empty() || !again.is_empty();
    // The end of a log that was killed, as it was before: nothing says that more was written.
    let last = spool.disk.names().into_iter().rfind(|name| name.ends_with(".log"));
    let is_end = !spool.is_closed && Some(&name) == last.as_ref();
    assert!(
        told || !is_costly || is_end,
        "{context}: lost {lost:?}, again {again:?}: nobody is told"
    );
    counts.blocks += 1;
    counts.without_effect += u64::from(!is_costly);
    counts.costly += u64::from(is_costly);
    counts.lost += lost.len() as u64;
    counts.again += again.len() as u64;
    counts.reported += u64::from(told || !checked.findings.is_empty());
    counts.never_known += u64::from(is_costly && !told);
}

#[test]
fn a_block_with_the_content_of_another_costs_only_what_it_held() {
    let rounds = if std::env::var_os("POSTERN_LONG").is_some() { 50_000 } else { 3_000 };
    let mut counts = Counts::default();
    for is_closed in [true, false] {
        let spool = spool(is_closed);
        let whole = spool.disk.after(Loss::Nothing, Fault::None);
        let rig = Rig::open(whole, spool.model.clone()).expect("it is whole");
        let sound = send(&rig, "whole");
        assert!(sound.len() >= 20, "{}", sound.len());
        (0..rounds).for_each(|seed| one_block(&spool, &sound, seed, &mut counts));
    }
    println!("misdirected and stale blocks: {counts:?}");
    assert!(counts.blocks >= rounds && counts.costly >= rounds / 3);
    assert!(counts.reported >= counts.costly && counts.never_known * 20 <= counts.costly);
}
