//! Messages.

use super::card::Random;

/// A message of about so many octets, unlike any other: long lines and short, dots where they hurt,
/// octets of 8 bits.
pub fn letter(number: u64, octets: usize) -> Vec<u8> {
    let mut random = Random(number);
    let mut letter = format!("Subject: letter {number}\r\n\r\n").into_bytes();
    while letter.len() < octets {
        let length = random.below(70) as usize;
        let mut line: Vec<u8> = (0..length).map(|_| octet(&mut random)).collect();
        if random.below(4) == 0 {
            line.insert(0, b'.');
        }
        letter.extend(line);
        letter.extend(b"\r\n");
    }
    letter
}

/// Any but NUL, CR and LF.
fn octet(random: &mut Random) -> u8 {
    match random.below(200) as u8 {
        low @ 0..100 => b' ' + low % 95,
        high => high + 50,
    }
}
