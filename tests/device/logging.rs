//! The log over the network.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use postern_tests::device::HOLDING;
use postern_tests::mail::{self, Mail};
use postern_tests::qemu::{firmware, lines_in};

use crate::rig::Rig;

#[test]
fn its_log_comes_in_datagrams_from_its_start_on() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    receiver.set_read_timeout(Some(Duration::from_secs(60))).expect("it is not zero");
    let port = receiver.local_addr().expect("it is bound").port();
    // To the device, this machine is 10.0.2.2.
    let rig = Rig::start(&format!("{HOLDING}[device]\nlog = \"udp://10.0.2.2:{port}\"\n"));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device stays");
    mail::send(&mut client, Mail { number: 1, octets: 5000 }).expect("the device stays");
    let image = fs::read(firmware()).expect("the image can be read");
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("accepted")) {
        let mut datagram = [0; 1500];
        let received = receiver.recv(&mut datagram).unwrap_or_else(|_| panic!("{lines:#?}"));
        lines.extend(lines_in(&datagram[..received], &image));
    }
    for what in ["reset by", "card mounted", "listening at"] {
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
    }
    // What was sent is what semihosting has, too.
    let log = rig.device.log();
    let log = log.iter().filter(|line| !line.starts_with("qemu:"));
    assert_eq!(log.take(lines.len()).collect::<Vec<_>>(), lines.iter().collect::<Vec<_>>());
    rig.end();
}
