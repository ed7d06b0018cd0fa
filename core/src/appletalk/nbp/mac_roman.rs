//! Case in Mac Roman, as NBP counts it (appendix D).

/// Lower-case letters beyond ASCII, each with its capital.
const CAPITALS: [(u8, u8); 13] = [
    (0x88, 0xcb),
    (0x8a, 0x80),
    (0x8b, 0xcc),
    (0x8c, 0x81),
    (0x8d, 0x82),
    (0x8e, 0x83),
    (0x96, 0x84),
    (0x9a, 0x85),
    (0x9b, 0xcd),
    (0x9f, 0x86),
    (0xbe, 0xae),
    (0xbf, 0xaf),
    (0xcf, 0xce),
];

/// Whether both are the same but for case.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let capital = |octets: &'_ [u8], at: usize| octets.get(at).map(|octet| capital(*octet));
    one.len() == other.len() && (0..one.len()).all(|at| capital(one, at) == capital(other, at))
}

fn capital(octet: u8) -> u8 {
    let beyond = CAPITALS.iter().find(|(small, _)| *small == octet);
    beyond.map_or(octet.to_ascii_uppercase(), |(_, capital)| *capital)
}
