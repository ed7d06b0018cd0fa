//! Command lines as RFC 5321 §4.1.2 and the extensions have them, and with one octet wrong.

use postern_core::wire::params::{Body, Ret};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Any case of a word.
fn any_case(word: &'static str) -> impl Strategy<Value = String> {
    vec(any::<bool>(), word.len()).prop_map(move |upper| {
        let letters = word.chars().zip(upper);
        letters
            .map(
                |(letter, upper)| {
                    if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
                },
            )
            .collect()
    })
}

/// A local part and a domain.
pub fn mailbox() -> impl Strategy<Value = (String, String)> {
    let dot_string = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,9}([.][a-z0-9]{1,9}){0,3}";
    let quoted = "\"([a-z >@,:<.\\[\\]]|\\\\[\"\\\\a-z]){0,12}\"";
    let domain = "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?([.][a-z]{1,9}){0,3}";
    (prop_oneof![3 => dot_string, 1 => quoted], domain)
}

/// A source route with its colon, or nothing.
pub fn route() -> impl Strategy<Value = String> {
    "(@[a-z]{1,5}[.]example(,@[a-z]{1,5}){0,2}:)?"
}

/// What parameters of MAIL mean.
#[derive(Debug, Clone)]
pub struct Meant {
    pub size: Option<u64>,
    pub body: Body,
    pub ret: Ret,
    pub smtputf8: bool,
    pub envid: Option<String>,
}

/// Parameters of MAIL in any order and case, and what they mean.
pub fn mail_parameters() -> impl Strategy<Value = (String, Meant)> {
    let body = select(vec![
        (None, Body::Unstated),
        (Some("BODY=7BIT"), Body::SevenBit),
        (Some("body=8bitmime"), Body::EightBitMime),
    ]);
    let ret = select(vec![
        (None, Ret::Unstated),
        (Some("RET=FULL"), Ret::Full),
        (Some("Ret=Hdrs"), Ret::Headers),
    ]);
    let size = option::of((any_case("SIZE"), any::<u64>()));
    let utf8 = option::of(any_case("SMTPUTF8"));
    let envid = option::of("[A-Za-z0-9!-*,-<>-~]{1,20}(\\+[2-6][0-9A-F]){0,3}");
    (size, body, ret, utf8, envid).prop_flat_map(|(size, body, ret, utf8, envid)| {
        let mut words = Vec::new();
        words.extend(size.as_ref().map(|(key, size)| format!("{key}={size}")));
        words.extend(body.0.into_iter().chain(ret.0).map(str::to_owned));
        words.extend(utf8.clone());
        words.extend(envid.as_ref().map(|envid| format!("ENVID={envid}")));
        let meant = Meant {
            size: size.map(|(_, size)| size),
            body: body.1,
            ret: ret.1,
            smtputf8: utf8.is_some(),
            envid,
        };
        let shuffled = Just(words).prop_shuffle();
        shuffled.prop_map(move |words| {
            let text: String = words.iter().map(|word| format!(" {word}")).collect();
            (text, meant.clone())
        })
    })
}

/// A command that smtp-proto knows, without address literals.
pub fn command() -> impl Strategy<Value = String> {
    let envelope =
        (mailbox(), route(), mail_parameters(), "( NOTIFY=NEVER| NOTIFY=DELAY,SUCCESS)?");
    prop_oneof![
        4 => envelope.prop_map(|((local, domain), route, (parameters, _), notify)| {
            if notify.is_empty() {
                format!("MAIL FROM:<{route}{local}@{domain}>{parameters}")
            } else {
                format!("RCPT TO:<{route}{local}@{domain}>{notify}")
            }
        }),
        1 => any_case("MAIL").prop_map(|verb| format!("{verb} from:<>")),
        1 => "[Bb][Dd][Aa][Tt] [0-9]{1,9}( [Ll][Aa][Ss][Tt])?",
        1 => "(EHLO|helo) [a-z]{1,9}([.][a-z]{1,9}){0,3}",
        1 => "ETRN [@]?[a-z]{1,9}([.][a-z]{1,9}){0,3}",
        1 => "(NOOP|HELP|VRFY|EXPN) [a-z]{1,9}",
        1 => select(vec!["DATA", "data", "RSET", "Quit", "STARTTLS", "NOOP", "HELP"])
            .prop_map(str::to_owned),
    ]
}

/// A command in which one octet was changed, taken away or added.
pub fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let octet = select(b"a0.@<>\"\\ :,[]-+=;#\r\n\t\0\x80".to_vec());
    (command(), any::<Index>(), octet, 0..3_u8).prop_map(|(line, place, octet, kind)| {
        let mut line = line.into_bytes();
        let place = place.index(line.len());
        match kind {
            0 => line[place] = octet,
            1 => drop(line.remove(place)),
            _ => line.insert(place, octet),
        }
        line
    })
}
