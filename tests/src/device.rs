//! Scripts on the device in QEMU, over TCP.

use postern_spool::Envelope;

use crate::card::{CardImage, Stored};
use crate::dialogue::{Script, Settings, StoredMessage, StoredPath};
use crate::network::{Client, Played};
use crate::play;
use crate::qemu::{Device, firmware};
use crate::words::body_word;

/// The configuration of a device that keeps what it takes until it is asked for it.
pub const HOLDING: &str = r#"
hostname = "mx.example"
[hold."client.example"]
recipients = ["user"]
deliver_to = "10.0.2.2:25"
etrn_from = ["10.0.2.0/24"]
retry_every = "never"
"#;

/// What a device offers, whatever its card says.
const OFFERED: [&str; 2] = ["PIPELINING", "ETRN"];
/// The recipients that a device takes of one transaction.
const RECIPIENTS: u16 = 100;
/// A recipient whose local part is quoted.
const QUOTED: &str = r#""u s > e \" r"@any.example"#;
/// Octets of the card.
const CARD: u64 = 16 << 20;

/// Why a script can't run on a device, if it can't.
fn obstacle(settings: &Settings) -> Option<String> {
    let offers = |name: &&String| OFFERED.contains(&name.as_str());
    if let Some(name) = settings.needs.iter().find(|name| !offers(name)) {
        return Some(format!("{name} is not offered"));
    }
    if let Some(name) = settings.without.iter().find(offers) {
        return Some(format!("{name} is always offered"));
    }
    if settings.max_recipients != RECIPIENTS {
        return Some(format!("a device takes {RECIPIENTS} recipients, never fewer"));
    }
    settings.core_only.clone()
}

/// Plays `script` on a device of its own; the error says at which step what differs.
pub fn play(script: &Script) -> Result<Played, String> {
    if let Some(why) = obstacle(&script.settings) {
        return Ok(Played::Skipped(why));
    }
    let card = CardImage::make(&configuration(&script.settings), CARD);
    let device = Device::start(&firmware(), &card.path(), &[]);
    let mut client = Client::new(device.connect(), None)?;
    let played = play::play(script, 0, &mut client);
    drop(client);
    // What was promised is on the card, whatever happens to the device now.
    drop(device);
    played?;
    let stored: Vec<StoredMessage> = card.messages().into_iter().map(stored).collect();
    play::compare_stored(script, &stored)?;
    Ok(Played::Well)
}

/// A device takes any recipient in all its domains or in none: those of the scripts are listed.
fn configuration(settings: &Settings) -> String {
    let users = (1..=RECIPIENTS).map(|number| format!("user{number}"));
    let others = ["one", "two", "three", "a..b", ".a", QUOTED].map(str::to_owned);
    let any = users.chain(others).chain([64, 242].map(|octets| "y".repeat(octets)));
    let any: Vec<_> = any.map(|name| format!("'{name}'")).collect();
    format!(
        r#"
hostname = "mx.example"

[receive]
max_message_size = "{} B"

[hold."client.example"]
recipients = ["user", "friend", '"a@any.example"@client.example']
deliver_to = "10.0.2.2:25"
etrn_from = ["10.0.2.0/24"]
retry_every = "never"

[hold."any.example"]
recipients = [{}]
deliver_to = "10.0.2.2:25"
etrn_from = ["10.0.2.0/24"]
retry_every = "never"
"#,
        settings.max_message_size,
        any.join(", ")
    )
}

fn stored(stored: Stored) -> StoredMessage {
    let Envelope { reverse_path, body, recipients, .. } = stored.envelope;
    let from = StoredPath { path: reverse_path, params: body_word(body).into_iter().collect() };
    let to = recipients.into_iter().map(|recipient| recipient.path);
    let to = to.map(|path| StoredPath { path, params: Vec::new() }).collect();
    StoredMessage { from, to, body: stored.body }
}
