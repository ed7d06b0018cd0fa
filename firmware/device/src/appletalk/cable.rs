//! Core's node and streams on a cable.

use embassy_futures::select::{select, select3};
use postern_card::settings::{AppleTalk, LIST_MAX};
use postern_core::appletalk::adsp::PACKET_MAX;
use postern_core::appletalk::ddp::{self, Datagram};
use postern_core::appletalk::nbp::{Name, Registration, State};
use postern_core::appletalk::node::{Heard, Node, Outgoing};
use postern_core::time::Instant;
use postern_core::wire::Out;

use super::SOCKET;
use crate::adsp::Ports;
use crate::clock;
use crate::log::{info, warning};
use crate::net::{Cable, Net};

/// No name: what stands where there are fewer.
const NOBODY: Name<'_> = Name { object: b"", kind: b"", zone: b"" };

/// Is on the cable whenever the network is up. The same `random` asks for the same number again:
/// where nobody else has taken it meanwhile, connections outlive a network that was away.
pub(super) async fn run(
    settings: &AppleTalk<'_>,
    net: Net<'_>,
    cable: &mut Cable<'_>,
    ports: &Ports,
    random: u32,
) -> ! {
    loop {
        net.up().await;
        cable.join();
        let mut names = [Registration::new(NOBODY, SOCKET); LIST_MAX];
        let places = names.iter_mut().zip(settings.names.iter().filter_map(|name| Name::new(name)));
        let places = places.map(|(place, name)| *place = Registration::new(name, SOCKET));
        let count = places.count();
        let node = Node::new(names.get_mut(..count).unwrap_or_default(), random, clock::now());
        let mut work = Work { node, cable: &mut *cable, ports, told: None };
        select(work.run(), net.down()).await;
        cable.leave();
    }
}

/// The node at work.
struct Work<'w, 'n> {
    node: Node<'w>,
    cable: &'w mut Cable<'n>,
    ports: &'w Ports,
    /// The number, and how many names are ours, as they were logged.
    told: Option<(u8, usize)>,
}

impl Work<'_, '_> {
    async fn run(&mut self) -> ! {
        loop {
            while self.transmit() {
                self.cable.flush().await;
            }
            self.tell();
            let deadline = clock::until(self.deadline());
            select3(self.cable.wait(), self.ports.wait_for_change(), deadline).await;
            self.cable.flush().await;
            self.hear();
        }
    }

    fn deadline(&self) -> Instant {
        match self.node.number() {
            Some(_) => self.node.deadline().min(self.ports.deadline()),
            None => self.node.deadline(),
        }
    }

    /// Hears a frame, if one is there. Not inlined, like the next: their buffers would be on the
    /// stack of all tasks.
    #[inline(never)]
    fn hear(&mut self) {
        let Self { node, cable, ports, .. } = self;
        cable.take(|frame, out| {
            let now = clock::now();
            match node.receive(frame, now, out) {
                Heard::Reply => true,
                Heard::Datagram(Datagram { source, destination, kind: ddp::ADSP, data }) => {
                    if destination.socket == ports.socket() {
                        ports.receive(source, data, now);
                    }
                    false
                }
                Heard::Datagram(_) | Heard::Nothing | Heard::Fault(_) => false,
            }
        });
    }

    /// Sends a frame, if one is due.
    #[inline(never)]
    fn transmit(&mut self) -> bool {
        let Self { node, cable, ports, .. } = self;
        let now = clock::now();
        cable.send(|out| {
            if node.transmit(now, out).unwrap_or(false) {
                return true;
            }
            // Before we have a number nobody could answer.
            if node.number().is_none() {
                return false;
            }
            let mut packet = [0; PACKET_MAX];
            let mut packet = Out::new(&mut packet);
            let Some(to) = ports.transmit(now, &mut packet) else { return false };
            let datagram =
                Outgoing { from: ports.socket(), to, kind: ddp::ADSP, data: packet.written() };
            node.send(&datagram, now, out).is_ok()
        })
    }

    /// Logs the number, and what has become of the names.
    fn tell(&mut self) {
        let Some(number) = self.node.number() else { return };
        let registrations = self.node.registrations();
        let count = |state| registrations.iter().filter(|name| name.state() == state).count();
        let told = Some((number, count(State::Ours)));
        // One that is another's is asked for each minute.
        if self.told == told || count(State::Asking) > 0 {
            return;
        }
        self.told = told;
        info!("on AppleTalk as node {=u8}", number);
        for registration in registrations {
            let name = registration.name();
            match registration.state() {
                State::Ours => info!("its name is {=[u8]:a}:{=[u8]:a}", name.object, name.kind),
                _ => warning!("{=[u8]:a}:{=[u8]:a} is another's", name.object, name.kind),
            }
        }
    }
}
