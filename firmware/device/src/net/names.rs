//! Name servers that can't answer.
//!
//! smoltcp takes whatever the first server says for the last word, so that one which can't answer
//! would keep the others from being asked. The stack does not see such an answer: it asks again,
//! and then the next server.

use smoltcp::wire::{DnsFlags, DnsPacket, DnsRcode};

use super::frames::datagram;

const PORT: u16 = 53;

/// Whether a frame has a name server's word that it can't answer (RFC 1035 §4.1.1), which is not
/// that there is no such name.
pub(super) fn is_failure(frame: &[u8]) -> bool {
    let Some(datagram) = datagram(frame).filter(|it| it.src_port() == PORT) else { return false };
    let Ok(answer) = DnsPacket::new_checked(datagram.payload()) else { return false };
    answer.flags().contains(DnsFlags::RESPONSE)
        && !matches!(answer.rcode(), DnsRcode::NoError | DnsRcode::NXDomain)
}
