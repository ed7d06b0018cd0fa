//! A network driver that goes deaf.
//!
//! A chip may lose an interrupt, or its place in a buffer, and then give no frame any more while
//! its link is up. A network in which nobody speaks looks the same, so a neighbour is asked before
//! the device is reset: any answer will do, the one to ARP's question included.

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr};

use embassy_time::{Instant, Timer};
use postern_card::settings::Settings;

use crate::log::warning;
use crate::net::Net;
use crate::shared::SharedDatagrams;

/// Seconds between two looks.
const LOOK_S: u64 = 60;
/// Seconds of silence after which a neighbour is asked, at each look.
const ASK_S: u64 = 240;
/// Seconds of silence after which a driver that has given frames is thought deaf.
const DEAF_S: u64 = 900;
/// The same of one that has given none since the start, or where nobody can be asked: perhaps
/// nobody is there, and a reset has been tried.
const NEVER_S: u64 = 6 * 3600;

/// Returns once the driver seems to be deaf.
pub(crate) async fn until_deaf(
    frames: &Cell<u32>,
    net: Net<'_>,
    datagrams: &SharedDatagrams<'_>,
    settings: &Settings<'_>,
) {
    let (mut heard, mut since) = (frames.get(), Instant::now());
    loop {
        Timer::after_secs(LOOK_S).await;
        if frames.get() != heard || !net.has_link() {
            (heard, since) = (frames.get(), Instant::now());
            continue;
        }
        let silence_s = since.elapsed().as_secs();
        let neighbour = neighbour(net, settings);
        let was_asked = heard != 0 && neighbour.is_some();
        if silence_s >= if was_asked { DEAF_S } else { NEVER_S } {
            warning!("no frame comes in any more");
            return;
        }
        if let Some(neighbour) = neighbour.filter(|_| silence_s >= ASK_S) {
            datagrams.lock().await.knock(neighbour).await;
        }
    }
}

/// Somebody who can be asked without a look-up, if the device has an address to ask from.
fn neighbour(net: Net<'_>, settings: &Settings<'_>) -> Option<IpAddr> {
    if !net.is_up() {
        return None;
    }
    // Without a gateway, everybody is a neighbour.
    // As IPv4: the parser of both kinds is 1 KiB of flash.
    let next_hop = || settings.next_hop.host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    net.gateway().or_else(next_hop).or_else(|| net.name_server())
}
