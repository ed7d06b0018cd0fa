//! Messages.

use std::collections::BTreeMap;

use super::card::Random;
use super::hop::Taken;

/// A message of about so many octets, unlike any other: long lines and short, dots where they hurt,
/// octets of 8 bits.
pub fn message(number: u64, octets: usize) -> Vec<u8> {
    let mut random = Random(number);
    let mut message = format!("Subject: message {number}\r\n\r\n").into_bytes();
    while message.len() < octets {
        let length = random.below(70) as usize;
        let mut line: Vec<u8> = (0..length).map(|_| octet(&mut random)).collect();
        if random.below(4) == 0 {
            line.insert(0, b'.');
        }
        message.extend(line);
        message.extend(b"\r\n");
    }
    message
}

/// Any but NUL, CR and LF.
fn octet(random: &mut Random) -> u8 {
    match random.below(200) as u8 {
        low @ 0..100 => b' ' + low % 95,
        high => high + 50,
    }
}

/// A message whose size, too, follows from its number.
pub fn numbered(number: u64) -> Vec<u8> {
    message(number, 500 + (number as usize * 977) % 15_000)
}

/// How often each of the numbered messages came. They must be whole, and none may have come again
/// after the device had heard that it was taken.
pub fn tally(taken: &[Taken]) -> BTreeMap<u64, usize> {
    let (mut tally, mut heard) = (BTreeMap::new(), Vec::new());
    for one in taken {
        let subject = String::from_utf8_lossy(one.message());
        let number = subject.lines().next().and_then(|line| line.rsplit(' ').next());
        let number = number.and_then(|number| number.parse().ok()).expect("it has its number");
        assert!(one.message() == numbered(number), "message {number} came whole");
        assert!(!heard.contains(&number), "message {number} came again without cause");
        *tally.entry(number).or_default() += 1;
        if one.is_heard {
            heard.push(number);
        }
    }
    tally
}
