//! Waking a turn's host (Wake-on-LAN) before it is connected to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_core::time::Instant;
use postern_spool::Spool;
use tokio::net::UdpSocket;

use super::Work;
use crate::deliver::Failed;
use crate::policy::Wake;
use crate::release::waking::Missed;

/// How often the packet has the hardware address.
const REPEATS: usize = 16;

impl<S: Spool> Work<'_, S> {
    /// Sends the host the packet, if it is one that sleeps and may be woken now.
    pub(super) async fn wake(&self) {
        let (Some(wake), host) = (&self.policy.wake, self.host) else { return };
        if !host.is_host() {
            return;
        }
        let asked = self.turn.asked.then_some(self.turn.epoch);
        if !self.shared.waking().wakes(host, wake, asked, self.began) {
            return;
        }
        match send(wake).await {
            Ok(()) => tracing::debug!(%host, to = %wake.to, "woken"),
            // It may be up nevertheless.
            Err(error) => tracing::warn!(%host, to = %wake.to, %error, "not woken"),
        }
    }

    /// What it means for a host that sleeps that the connection `failed`.
    pub(super) fn missed(&self, failed: Failed, now: Instant) -> Missed {
        let (Some(wake), host) = (&self.policy.wake, self.host) else { return Missed::Away };
        if failed == Failed::Unrouted {
            return Missed::Away;
        }
        if failed != Failed::Absent {
            self.is_up();
            return Missed::Away;
        }
        let missed = self.shared.waking().missed(host, wake, now);
        if missed == Missed::Alarm {
            tracing::error!(%host, "woken three times, and no connection: only the timer wakes it");
            self.shared.engine.progress.sleeps(host, true);
        }
        missed
    }

    /// The host took a connection.
    pub(super) fn is_up(&self) {
        if self.shared.waking().reached(self.host) {
            tracing::info!(host = %self.host, "it has started");
            self.shared.engine.progress.sleeps(self.host, false);
        }
    }
}

/// Broadcasts the packet: six octets of ones, and the hardware address sixteen times.
async fn send(wake: &Wake) -> io::Result<()> {
    let any: SocketAddr = match wake.to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    if any.is_ipv4() {
        socket.set_broadcast(true)?;
    }
    let packet = [vec![0xff; 6], wake.address.repeat(REPEATS)].concat();
    socket.send_to(&packet, wake.to).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::ladder::TRY_INTERVAL;
    use postern_spool::{Domain, NextTry, Wake};
    use tokio::net::TcpSocket;

    use super::super::super::stand::{NOW, Stand, away, terms, to};
    use super::super::{End, run};
    use super::*;
    use postern_spool::memory::MemorySpool;

    /// A host that sleeps, and who hears what wakes it.
    struct Night {
        stand: Stand<MemorySpool>,
        domain: Domain,
        wire: UdpSocket,
        _away: TcpSocket,
    }

    impl Night {
        async fn new() -> Self {
            let (away, address) = away();
            let wire = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            let rest = format!(
                "{}\nwake_on_lan = \"02:00:00:00:00:0a\"\nwake_to = \"{}\"",
                to(address),
                wire.local_addr().expect("it is bound"),
            );
            let stand = Stand::new(terms([("b.example".to_owned(), rest)]));
            let night = Self { stand, domain: Domain::new("b.example"), wire, _away: away };
            night.hold().await;
            night
        }

        async fn hold(&self) {
            self.stand.hold(&["bob@b.example".to_owned()], NOW).await;
        }

        /// One turn; whether it sent the packet.
        async fn turn(&self) -> (End, bool) {
            let Self { stand, domain, wire, .. } = self;
            let host = stand.host(domain);
            let end = run(&stand.shared, domain, &host, stand.stopping.subscribe()).await;
            // On the loopback interface a packet is there once it was sent.
            let mut packet = [0; 200];
            let packet = wire.try_recv(&mut packet).ok().map(|length| packet[..length].to_vec());
            let expected = [vec![0xff; 6], [2, 0, 0, 0, 0, 10].repeat(16)].concat();
            assert!(packet.as_ref().is_none_or(|packet| *packet == expected), "{packet:?}");
            (end.expect("the spool works"), packet.is_some())
        }

        /// The host has all its time to start, and does not.
        async fn boot(&self) {
            let mut packets = 0;
            loop {
                let (end, sent) = self.turn().await;
                packets += u32::from(sent);
                let now = self.stand.clock.instant();
                let End::HostWaits(until) = end else { break };
                assert_eq!(until, now.after(TRY_INTERVAL));
                self.stand.clock.advance(TRY_INTERVAL);
            }
            assert!(packets > 30, "one may be lost: {packets}");
        }

        fn unix_seconds(&self) -> u64 {
            self.stand.clock.timestamp().unix_seconds
        }
    }

    #[tokio::test]
    async fn mail_wakes_a_host_and_what_comes_later_is_collected() {
        let night = Night::new().await;
        night.boot().await;
        assert_eq!(night.unix_seconds(), NOW.unix_seconds + 180);
        let queue = night.stand.queue(&night.domain).await;
        assert_eq!(queue.next_try, NextTry::At(NOW.unix_seconds + 900));
        night.hold().await;
        assert_eq!(night.turn().await, (End::Done, false));
        // Who asks need not wait.
        night.stand.clock.advance(Duration::from_secs(60));
        let released =
            night.stand.spool.release(std::slice::from_ref(&night.domain), Wake::Etrn).await;
        assert_eq!(released.expect("the spool works")[0].waiting, 2);
        let (end, sent) = night.turn().await;
        assert!(matches!(end, End::HostWaits(_)) && sent, "{end:?}");
    }

    #[tokio::test]
    async fn a_host_that_does_not_start_three_times_is_told_of_until_it_is_reached() {
        let night = Night::new().await;
        let progress = &night.stand.shared.engine.progress;
        for boot in 1..=3 {
            assert_eq!(progress.sleeping(), Vec::<String>::new(), "{boot}");
            night.boot().await;
            let next = night.stand.queue(&night.domain).await.next_try;
            let NextTry::At(next) = next else { panic!("it was put off: {next:?}") };
            let left = next - night.unix_seconds();
            // Ten per cent of the timer's half hour.
            let expected = if boot < 3 { 720..=720 } else { 1620..=1980 };
            assert!(expected.contains(&left), "{left} after {boot}");
            night.stand.clock.advance(Duration::from_secs(left));
        }
        let host = night.stand.host(&night.domain);
        assert_eq!(progress.sleeping(), [host.to_string()]);
    }

    /// It is told of for as long as anybody wakes it: not behind the key's end, nor the domain's,
    /// but where one of two domains has moved.
    #[tokio::test]
    async fn a_host_that_nobody_wakes_any_more_is_forgotten() {
        let table = |host: &str, wake: &str| format!("deliver_to = \"{host}:25\"\n{wake}");
        let wake = "wake_on_lan = \"02:00:00:00:00:0a\"";
        let (here, there) = ("192.0.2.1", "192.0.2.2");
        let policies = |tables: &[String]| {
            let domains = tables.iter().enumerate();
            let domains = domains.map(|(nth, table)| (format!("d{nth}.example"), table.clone()));
            terms(domains.collect::<Vec<_>>()).policies
        };
        let both = policies(&[table(here, wake), table(here, wake)]);
        for (now, stays) in [
            (policies(&[table(there, wake), table(here, wake)]), true),
            (policies(&[table(here, wake)]), true),
            (policies(&[table(there, wake), table(there, wake)]), false),
            (policies(&[table(here, ""), table(here, "")]), false),
            (policies(&[]), false),
        ] {
            let night = Night::new().await;
            let shared = &night.stand.shared;
            let host = both.held()[0].deliver_to.clone().expect("it has a host");
            let wake = both.held()[0].wake.as_ref().expect("it is woken");
            let begun = night.stand.clock.instant();
            assert!(shared.waking().wakes(&host, wake, None, begun));
            shared.engine.progress.sleeps(&host, true);
            shared.note_woken(&both, &now);
            assert_eq!(shared.engine.progress.sleeping().len(), usize::from(stays));
            assert_eq!(shared.waking().starts(&host), stays);
        }
    }
}
