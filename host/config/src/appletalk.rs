//! SMTP over AppleTalk, for mailers without TCP.

use super::fault::Faults;
use super::settings::{Word, settings};
use super::values::{Count, unexpected};
use super::written::Written;

settings! {
/// SMTP over AppleTalk's stream protocol (ADSP), for mailers on old Macs and in emulators. Whoever
/// is on that network may send to held domains, and with `submission` to all others; there is no
/// other protection. It is ready whatever `listener` says, and read at the start only.
pub struct AppleTalk {
    /// Connections at once; one more is denied. 0: no name is registered, and no socket opened.
    pub channels: Count<0> => Default("3"),
    /// What the network is: "ltoudp", LocalTalk's frames in UDP datagrams to the group
    /// 239.192.76.84, port 1954, as the emulator Mini vMac and the router TashRouter send them; or
    /// "ethertalk", an Ethernet of phase 2 without a router, which takes the capability
    /// CAP_NET_RAW, and an interface that lets 09:00:07:ff:ff:ff in (`ip maddress add`).
    pub link: AppleTalkLink => Default("\"ltoudp\""),
    /// Mailers may send to anybody, without a password, within the limits that [submission] has for
    /// each account, or would have: here they are each node's.
    pub submission: bool => Default("false"),
    /// REQUIRED, but on a device. The interface that the group is joined on, or that is the
    /// Ethernet. What comes in by another one, or for another address, is dropped: else everybody
    /// who can reach this host could send as if it were on that network.
    pub interface: Option<Interface> => Example("\"eth0\""),
    /// What mailers find us by (NBP), "object:type@zone", at most 8. The object "host" stands for
    /// the first label of `hostname`. The zone is "*", where we are. No document tells which type
    /// the old servers had; SMTP is ours.
    pub names: Vec<AppleTalkName> => Default("[\"host:SMTP@*\"]"),
}
}

/// Names at most: an answer that holds them all fits in a packet.
const NAMES_MAX: usize = 8;

impl AppleTalk {
    pub(super) fn refuse_excess(&self, written: &Written, faults: &mut Faults<'_>) {
        const KEY: &str = "receive.appletalk.names";
        if self.names.len() > NAMES_MAX {
            let reason = format!("{} names are there, and {NAMES_MAX} may be", self.names.len());
            faults.add_at(written.line(KEY), KEY, reason);
        }
    }
}

/// What the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppleTalkLink {
    /// LocalTalk's frames in UDP datagrams to a multicast group.
    LToUdp,
    /// An Ethernet.
    EtherTalk,
}

impl Word for AppleTalkLink {
    const EXPECTED: &'static str = "\"ltoudp\" or \"ethertalk\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ltoudp" => Ok(Self::LToUdp),
            "ethertalk" => Ok(Self::EtherTalk),
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

impl Interface {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for Interface {
    const EXPECTED: &'static str = "an interface such as \"eth0\"";

    fn parse(text: &str) -> Result<Self, String> {
        // IFNAMSIZ with its NUL is 16.
        let is_name = (1..16).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/');
        if is_name { Ok(Self(text.to_owned())) } else { Err(unexpected::<Self>(text)) }
    }
}

/// The object that stands for the host's own name.
const OWN: &str = "host";

/// A name on an AppleTalk network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppleTalkName {
    /// Absent: that of the host.
    object: Option<String>,
    kind: String,
}

impl AppleTalkName {
    /// `object:type@*` in Mac Roman, on the host `hostname`.
    pub fn to_mac_roman(&self, hostname: &str) -> Vec<u8> {
        let label = hostname.split('.').next().unwrap_or_default();
        let object = self.object.as_deref().unwrap_or(label);
        // A label may have 63 characters.
        let object: String = object.chars().take(FIELD).collect();
        to_mac_roman(&format!("{object}:{}@*", self.kind)).unwrap_or_default()
    }
}

/// Octets of an object or a type at most.
const FIELD: usize = 32;

impl Word for AppleTalkName {
    const EXPECTED: &'static str = "a name such as \"host:SMTP@*\", each part of 1 to 32 letters \
        of Mac Roman without \":\", \"@\", \"=\" or \"\u{2248}\", the zone \"*\"";

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.strip_suffix("@*").unwrap_or(text).split_once(':');
        let is_part = |part: &str| {
            let octets = to_mac_roman(part).map(|octets| octets.len());
            let is_plain = !part.contains([':', '@', '=', '\u{2248}', '*']);
            is_plain && octets.is_some_and(|octets| (1..=FIELD).contains(&octets))
        };
        match parts {
            Some((object, kind)) if is_part(object) && is_part(kind) => {
                let object = (object != OWN).then(|| object.to_owned());
                Ok(Self { object, kind: kind.to_owned() })
            }
            _ => Err(unexpected::<Self>(text)),
        }
    }
}

/// The characters of Mac Roman from 128 on, with the Apple, which stands in Unicode's private area.
const UPPER_HALF: &str = "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
    ¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";

/// `text` in Mac Roman, if that has all of its characters.
pub fn to_mac_roman(text: &str) -> Option<Vec<u8>> {
    let octet = |character: char| match u8::try_from(character) {
        Ok(octet @ b' '..=b'~') => Some(octet),
        Ok(0..=0x7f) => None,
        _ => {
            let place = UPPER_HALF.chars().position(|known| known == character)?;
            u8::try_from(128 + place).ok()
        }
    };
    text.chars().map(octet).collect()
}

/// What `octets` are in Mac Roman; control characters as `?`.
pub fn from_mac_roman(octets: &[u8]) -> String {
    let character = |octet: &u8| match octet {
        b' '..=b'~' => char::from(*octet),
        0x80.. => UPPER_HALF.chars().nth(usize::from(octet - 128)).unwrap_or('?'),
        _ => '?',
    };
    octets.iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Config;

    #[test]
    fn mac_roman_goes_there_and_back() {
        assert_eq!(UPPER_HALF.chars().count(), 128);
        let all: Vec<u8> = (b' '..=b'~').chain(0x80..=0xff).collect();
        assert_eq!(to_mac_roman(&from_mac_roman(&all)), Some(all));
        assert_eq!(to_mac_roman("Büro"), Some(b"B\x9fro".to_vec()));
        assert_eq!((to_mac_roman("局"), to_mac_roman("a\n")), (None, None));
    }

    #[test]
    fn a_wrong_value_is_answered_with_what_to_write() {
        let problem = |keys: &str| {
            let source = format!("[receive.appletalk]\n{keys}\n");
            let problems = Config::parse(Path::new("postern.toml"), &source);
            problems.expect_err("it is wrong")[0].to_string()
        };
        let nine = format!("interface = \"lo\"\nnames = [{}]", "\"a:b\", ".repeat(9));
        for (keys, expected) in [
            ("channels = 1", "postern.toml:1: receive.appletalk.interface: is required"),
            ("interface = \"a b\"", "2: receive.appletalk.interface: expected an interface"),
            ("interface = \"lo\"\nlink = \"ip\"", "expected \"ltoudp\" or \"ethertalk\", found"),
            ("interface = \"lo\"\nnames = [\"a\"]", "names: expected a name such as \"host:SMTP"),
            ("interface = \"lo\"\nnames = [\"=:SMTP\"]", "names: expected a name"),
            ("interface = \"lo\"\nnames = [\"a:b@Zone\"]", "names: expected a name"),
            ("interface = \"lo\"\nchanels = 1", "did you mean \"channels\"?"),
            (&nine, "3: receive.appletalk.names: 9 names are there, and 8 may be"),
        ] {
            assert!(problem(keys).contains(expected), "{keys}: {}", problem(keys));
        }
    }

    #[test]
    fn a_name_of_the_host_is_its_first_label() {
        let name = |text| AppleTalkName::parse(text).expect("a name");
        assert_eq!(name("host:SMTP@*").to_mac_roman("mx2.example"), b"mx2:SMTP@*");
        assert_eq!(name("Büro:Mail").to_mac_roman("mx2.example"), b"B\x9fro:Mail@*");
        let long = format!("{}.example", "a".repeat(63));
        assert_eq!(name("host:SMTP@*").to_mac_roman(&long).len(), 32 + 7);
    }
}
