//! A card's settings under the names that they have in `postern.toml`.

use postern_card::settings::{Address, Listener, NextHop, Protocol, Settings, Way, Window};
use postern_core::schedule::Window as Hours;

use super::super::super::table::{size, span};
use crate::config::from_mac_roman;

/// A row for each key that is set.
pub(super) fn rows(settings: &Settings<'_>) -> Vec<[String; 2]> {
    let retry = settings.retry_every_s.map(|pause| span(pause.into()));
    let networks = settings.etrn_from.iter().map(|net| format!("{}/{}", net.address, net.prefix));
    let recipients = if settings.any_recipient { "any" } else { "those listed" };
    let timeout_s = settings.idle_timeout_ms / 1000;
    let mut rows = vec![
        row("hostname", settings.hostname),
        row("postmaster", settings.postmaster),
        row("receive.channels", settings.channels.to_string()),
        row("receive.max_message_size", size(settings.max_message_size.into())),
        row("receive.idle_timeout", span(timeout_s.into())),
        row("receive.listener", listener(settings.listener)),
        row("hold", settings.domains.join(" ")),
        row("hold.recipients", recipients),
        row("hold.deliver_to", next_hop(&settings.next_hop)),
        row("hold.etrn_from", networks.collect::<Vec<_>>().join(" ")),
        row("hold.etrn_names", settings.etrn_names.join(" ")),
        row("hold.retry_every", retry.unwrap_or_else(|| "never".to_owned())),
        row("hold.expire_after", span(settings.expire_after_s.into())),
    ];
    rows.extend(address(&settings.address));
    rows.push(row("device.time_server", settings.time_server));
    rows.push(row("device.wake_on_lan", settings.wake_on_lan.map(hardware).unwrap_or_default()));
    rows.push(row("device.failed_to", settings.failed_to));
    let log = settings.log.map(|to| format!("udp://{}:{}", to.name, to.port));
    rows.push(row("device.log", log.unwrap_or_default()));
    if settings.listener == Listener::Scheduled {
        rows.push(row("receive.idle", span(settings.idle_s.into())));
        rows.push(row("receive.wait", span(settings.wait_s.into())));
    }
    if let Some(schedule) = &settings.schedule {
        let parts = |window: &Window| (window.days, window.from_min, window.until_min);
        let windows = schedule.windows.iter().filter_map(|window| Hours::of_parts(parts(window)));
        let windows = windows.map(|window| window.to_string()).collect::<Vec<_>>().join("; ");
        rows.push(row("link.schedule", if windows.is_empty() { "never" } else { &windows }));
        rows.push(row("link.time_zone", schedule.zone));
    }
    if let Some(appletalk) = &settings.appletalk {
        let names: Vec<_> = appletalk.names.iter().copied().map(from_mac_roman).collect();
        rows.push(row("receive.appletalk.channels", appletalk.channels.to_string()));
        rows.push(row("receive.appletalk.names", names.join(" ")));
    }
    for holder in &settings.holders {
        let hosts = holder.hosts.iter().map(|host| format!("{}:{}", host.name, host.port));
        let hosts = hosts.collect::<Vec<_>>().join(" ");
        match holder.way {
            Way::Atrn { user, .. } => {
                rows.push(row("wakeup.atrn", hosts));
                rows.push(row("wakeup.user", user));
            }
            Way::Etrn => rows.push(row("wakeup.etrn", hosts)),
            Way::Email { to, from } => {
                rows.push(row("wakeup.email", to));
                rows.push(row("wakeup.email_host", hosts));
                rows.push(row("wakeup.email_from", format!("<{from}>")));
            }
        }
        rows.push(row("wakeup.every", span(holder.every_s.into())));
        rows.push(row("wakeup.names", holder.names.join(" ")));
    }
    rows.retain(|[_, value]| !value.is_empty());
    rows
}

fn row(key: &str, value: impl Into<String>) -> [String; 2] {
    [key.to_owned(), value.into()]
}

fn address(address: &Address) -> Vec<[String; 2]> {
    const KEY: &str = "device.address";
    let Address::Static { network: (own, prefix), gateway, dns } = address else {
        return vec![row(KEY, "dhcp")];
    };
    let servers: Vec<_> = dns.iter().map(ToString::to_string).collect();
    vec![
        row(KEY, format!("{own}/{prefix}")),
        row("device.gateway", gateway.map(|gateway| gateway.to_string()).unwrap_or_default()),
        row("device.dns", servers.join(" ")),
    ]
}

fn next_hop(to: &NextHop<'_>) -> String {
    let scheme = if to.protocol == Protocol::Lmtp { "lmtp://" } else { "" };
    format!("{scheme}{}:{}", to.host, to.port)
}

fn listener(listener: Listener) -> &'static str {
    match listener {
        Listener::Always => "always",
        Listener::Scheduled => "scheduled",
        Listener::OnLink => "on-link",
        Listener::Off => "off",
    }
}

fn hardware(address: [u8; 6]) -> String {
    address.map(|octet| format!("{octet:02x}")).join(":")
}
