//! Mail goes on to the next hop.

use postern_tests::mail::{self, Mail};
use postern_tests::play::Peer;

use crate::next_hop::{NextHop, passed_on};
use crate::rig::Rig;

#[test]
fn etrn_releases_it() {
    let next_hop = NextHop::start();
    let rig = Rig::start(&next_hop.configuration("never"));
    let mut client = rig.client();
    mail::greet(&mut client).expect("the device stays");
    let etrn = |client: &mut _, code| {
        Peer::send(client, b"ETRN client.example\r\n").expect("the device stays");
        mail::expect(client, code).expect("the device stays");
    };
    etrn(&mut client, "251");
    let mails = [0, 1, 2].map(|number| Mail { number, octets: number * 20_000 });
    for mail in mails {
        mail::send(&mut client, mail).expect("the device stays");
    }
    assert_eq!(passed_on(&rig.device.log()), 0, "nobody has asked");
    etrn(&mut client, "253");
    rig.device.wait_for("three passed on", |lines| (passed_on(lines) == 3).then_some(()));
    mail::quit(&mut client).expect("the device stays");
    assert_eq!(rig.end().messages().len(), 0);
    assert_eq!(next_hop.end(), mails);
}
