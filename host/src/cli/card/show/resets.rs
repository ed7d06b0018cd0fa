//! What a device has left behind at each of its last resets.

use std::io;

use postern_card::{Cause, Ended, Fault, Inspection, Network, PostMortem};
use postern_card_tool::{CardFile, CardMessage};
use serde_json::{Value, json};

use super::super::super::table::{foreign, span};

/// Starts that are looked back over for what they have left.
const LOOKED_AT: u32 = 8;

/// The last resets, the latest first.
pub(super) async fn last(
    card: &mut Inspection<CardFile>,
) -> Result<Vec<PostMortem>, Fault<io::Error>> {
    let mut found = Vec::new();
    for boot in (1..=card.boot()).rev().take(LOOKED_AT as usize) {
        found.extend(card.post_mortem(boot).await?);
    }
    Ok(found)
}

/// The heads of the list.
pub(super) fn heads() -> [String; 6] {
    ["START", "RESET BY", "AFTER", "NETWORK", "PROGRAM", "NOTE"].map(str::to_owned)
}

/// One reset in the list.
pub(super) fn row(reset: &PostMortem, held: &[CardMessage]) -> [String; 6] {
    let after = match reset.uptime_s {
        0 => "?".to_owned(),
        seconds => span(seconds.into()),
    };
    let by = match reset.ended {
        Some(ended) => format!("{}: {}", cause(reset.cause), why(ended)),
        None => cause(reset.cause).to_owned(),
    };
    let network = reset.network.map_or_else(|| "?".to_owned(), network);
    let program = foreign(reset.program());
    [reset.boot.to_string(), by, after, network, program, notes(reset, held).join(", ")]
}

fn notes(reset: &PostMortem, held: &[CardMessage]) -> Vec<String> {
    let mut notes = Vec::new();
    if reset.crashes > 1 {
        notes.push(format!("crash {} in a row", reset.crashes));
    }
    let calls: Vec<_> = calls(reset).map(|call| format!("{call:#x}")).collect();
    if !calls.is_empty() {
        notes.push(format!("at {}", calls.join(" ")));
    }
    if let Some(name) = message(reset, held) {
        let set_aside = if reset.set_aside { ", set aside" } else { "" };
        notes.push(format!("sending {name}{set_aside}"));
    }
    notes
}

/// One reset as JSON.
pub(super) fn as_json(reset: &PostMortem, held: &[CardMessage]) -> Value {
    json!({
        "start": reset.boot,
        "last_known_unix_seconds": reset.time_unix_s,
        "cause": cause(reset.cause),
        "restart_because": reset.ended.map(why),
        "network": reset.network.map(network),
        "ran_seconds": (reset.uptime_s > 0).then_some(reset.uptime_s),
        "crashes_in_a_row": reset.crashes,
        "calls": calls(reset).collect::<Vec<_>>(),
        "message": message(reset, held),
        "strikes": reset.strikes,
        "set_aside": reset.set_aside,
        "program": reset.program(),
    })
}

fn calls(reset: &PostMortem) -> impl Iterator<Item = u32> {
    reset.calls.into_iter().filter(|call| *call > 0)
}

/// The message that was being sent: by its name if the card still has it.
fn message(reset: &PostMortem, held: &[CardMessage]) -> Option<String> {
    let id = reset.message?;
    let known = held.iter().find(|held| held.message.id == id);
    Some(known.map_or_else(|| "a message that is gone".to_owned(), CardMessage::name))
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Power => "power",
        Cause::Outside => "reset pin or probe",
        Cause::Watchdog => "watchdog",
        Cause::Panic => "panic",
        Cause::Restart => "restart",
    }
}

fn why(ended: Ended) -> &'static str {
    match ended {
        Ended::CardFailed => "the card failed or was pulled out",
        Ended::CardFound => "a card was put in",
        Ended::CardUseless => "the card could not be used",
        Ended::Deaf => "the network heard nothing",
        Ended::NewFirmware => "new firmware",
        Ended::TrialFailed => "new firmware did not prove itself",
    }
}

fn network(network: Network) -> String {
    match network {
        Network::NoLink => "no link".to_owned(),
        Network::NoAddress => "no address".to_owned(),
        Network::Up(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_in_words() {
        let mut panic = PostMortem {
            boot: 7,
            uptime_s: 90_000,
            network: Some(Network::Up([192, 0, 2, 7].into())),
            crashes: 2,
            calls: [0x1234, 0xABCD, 0, 0],
            ..PostMortem::new(Cause::Panic)
        };
        panic.set_program("0.1.0", "evb");
        let wanted = ["7", "panic", "1d", "192.0.2.7", "0.1.0 evb"];
        let told = row(&panic, &[]);
        assert_eq!(told[..5], wanted.map(str::to_owned));
        assert_eq!(told[5], "crash 2 in a row, at 0x1234 0xabcd");
        let restart =
            PostMortem { ended: Some(Ended::CardFound), ..PostMortem::new(Cause::Restart) };
        let wanted = ["0", "restart: a card was put in", "?", "?", "", ""];
        assert_eq!(row(&restart, &[]), wanted.map(str::to_owned));
        assert_eq!(as_json(&panic, &[])["calls"], json!([0x1234, 0xABCD]));
    }
}
