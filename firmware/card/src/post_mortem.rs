//! What a device leaves behind when it is reset: written at the next start, for a person.
//!
//! The region has a ring of records: that of mount number n is in block n of it, counted round and
//! round. A block that holds anything else, or can't be read, has none; nothing depends on it.
//!
//! | Octets | A post-mortem |
//! | --- | --- |
//! | 4 | boot: the number of the mount that wrote it |
//! | 8 | the last known time, seconds since 1970-01-01T00:00:00Z |
//! | 24 | the program that wrote it, filled up with zeros |
//! | 1 | what reset the device: 1 power, 2 outside, 3 watchdog, 4 panic, 5 itself |
//! | 1 | why it reset itself: its number in [`Ended`]; 0: it did not |
//! | 1 | its network then: 1 no link, 2 no address, 3 an address; 0: unknown |
//! | 4 | that address |
//! | 4 | seconds that it had run; with what follows, 0 when its memory lost it |
//! | 4 | resets in a row after a panic or by the watchdog, this one included |
//! | 16 | calls in the image that had not returned, the last one first; 0: none |
//! | 10 | the message that was being sent: serial (8), head extent (2); serial 0: none |
//! | 4 | resets in a row, as above, in which it was this message |
//! | 1 | whether it was set aside for that |
//! | … | zeros |
//! | 4 | checksum |

use core::net::Ipv4Addr;

use crate::extent::Serial;
use crate::message::MessageId;
use crate::octets::{Put, Take};
use crate::{Block, Card, Fault, Store};

/// Octets of a program's version and board.
const PROGRAM_OCTETS: usize = 24;
/// Calls that are noted of a panic.
pub const CALLS: usize = 4;

/// What reset a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// Power was switched on, or its voltage dropped.
    Power = 1,
    /// The reset pin, a probe, or the boot loader.
    Outside,
    /// The watchdog.
    Watchdog,
    /// A panic.
    Panic,
    /// The application asked for it.
    Restart,
}

/// Why the application ended. The board is to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ended {
    /// The card could not be written to, or read; or it was pulled out.
    CardFailed = 1,
    /// There was no valid card at boot, and now there is one.
    CardFound,
    /// There is a card, but not one of ours, or a damaged one, or it hangs; it is tried again, or
    /// another.
    CardUseless,
    /// The network's driver hears nothing any more.
    Deaf,
    /// There is new firmware in the board's slot, which the reset starts.
    NewFirmware,
    /// The firmware on trial did not prove itself; the reset starts the one before.
    TrialFailed,
}

impl Ended {
    /// The reason that has this number.
    pub fn from_code(code: u8) -> Option<Self> {
        use Ended::{CardFailed, CardFound, CardUseless, Deaf, NewFirmware, TrialFailed};
        let all = [CardFailed, CardFound, CardUseless, Deaf, NewFirmware, TrialFailed];
        all.into_iter().find(|ended| *ended as u8 == code)
    }
}

/// How far a device's network was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// There was no link.
    NoLink,
    /// There was a link, and no address.
    NoAddress,
    /// It had this address.
    Up(Ipv4Addr),
}

impl Network {
    /// Its number, 0 when it is not known, and the address.
    pub fn encode(network: Option<Self>) -> (u8, Ipv4Addr) {
        match network {
            None => (0, Ipv4Addr::UNSPECIFIED),
            Some(Self::NoLink) => (1, Ipv4Addr::UNSPECIFIED),
            Some(Self::NoAddress) => (2, Ipv4Addr::UNSPECIFIED),
            Some(Self::Up(address)) => (3, address),
        }
    }

    /// What [`Network::encode`] has made two numbers of.
    pub fn decode(number: u8, address: Ipv4Addr) -> Option<Self> {
        match number {
            1 => Some(Self::NoLink),
            2 => Some(Self::NoAddress),
            3 => Some(Self::Up(address)),
            _ => None,
        }
    }
}

/// What is known of a reset, and of the time before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostMortem {
    /// The number of the mount that wrote it.
    pub boot: u32,
    /// The last known time when it was written, seconds since 1970-01-01T00:00:00Z.
    pub time_unix_s: u64,
    /// What reset the device.
    pub cause: Cause,
    /// Why it reset itself, if it did.
    pub ended: Option<Ended>,
    /// How far its network was up, if that is known.
    pub network: Option<Network>,
    /// Seconds that it had run; 0 when that is not known.
    pub uptime_s: u32,
    /// Resets in a row after a panic or by the watchdog, this one included.
    pub crashes: u32,
    /// Calls in the image that had not returned, the last one first; 0: none.
    pub calls: [u32; CALLS],
    /// The message that was being sent.
    pub message: Option<MessageId>,
    /// Crashes in a row in which it was this message.
    pub strikes: u32,
    /// Whether it was set aside for that.
    pub set_aside: bool,
    /// What wrote it, by version and board, filled up with zeros.
    pub program: [u8; PROGRAM_OCTETS],
}

impl PostMortem {
    /// That of a reset of which only its cause is known.
    pub fn new(cause: Cause) -> Self {
        Self {
            boot: 0,
            time_unix_s: 0,
            cause,
            ended: None,
            network: None,
            uptime_s: 0,
            crashes: 0,
            calls: [0; CALLS],
            message: None,
            strikes: 0,
            set_aside: false,
            program: [0; PROGRAM_OCTETS],
        }
    }

    /// Sets what wrote it: its version, and its board. 24 octets are kept.
    pub fn set_program(&mut self, version: &str, board: &str) {
        let program = version.bytes().chain(*b" ").chain(board.bytes());
        self.program.iter_mut().zip(program).for_each(|(kept, octet)| *kept = octet);
    }

    /// What wrote it, by version and board.
    pub fn program(&self) -> &str {
        let name = self.program.split(|octet| *octet == 0).next().unwrap_or(&[]);
        core::str::from_utf8(name).unwrap_or_default()
    }

    /// Whether the program was at fault, or the chip.
    pub fn is_crash(&self) -> bool {
        matches!(self.cause, Cause::Panic | Cause::Watchdog)
    }

    fn write(&self, content: &mut Block) {
        let (network, address) = Network::encode(self.network);
        let mut fields = Put::new(content);
        fields
            .u32(self.boot)
            .u64(self.time_unix_s)
            .octets(&self.program)
            .u8(self.cause as u8)
            .u8(self.ended.map_or(0, |ended| ended as u8))
            .u8(network)
            .octets(&address.octets())
            .u32(self.uptime_s)
            .u32(self.crashes);
        for call in self.calls {
            fields.u32(call);
        }
        let (serial, head) =
            self.message.map_or((Serial::NONE, 0), |id| (id.own_serial(), id.head()));
        serial.put(&mut fields);
        fields.u16(head).u32(self.strikes).u8(self.set_aside.into());
    }

    fn read(content: &Block) -> Option<Self> {
        let mut fields = Take::new(content);
        let (boot, time_unix_s) = (fields.u32()?, fields.u64()?);
        let program = fields.octets()?;
        let cause = cause(fields.u8()?)?;
        let ended = Ended::from_code(fields.u8()?);
        let network = Network::decode(fields.u8()?, fields.octets::<4>()?.into());
        let (uptime_s, crashes) = (fields.u32()?, fields.u32()?);
        let mut calls = [0; CALLS];
        for call in &mut calls {
            *call = fields.u32()?;
        }
        let (serial, head) = (Serial::take(&mut fields)?, fields.u16()?);
        let message = (serial != Serial::NONE).then_some(MessageId::new(serial, head));
        let (strikes, set_aside) = (fields.u32()?, fields.u8()? != 0);
        Some(Self {
            boot,
            time_unix_s,
            cause,
            ended,
            network,
            uptime_s,
            crashes,
            calls,
            message,
            strikes,
            set_aside,
            program,
        })
    }
}

fn cause(number: u8) -> Option<Cause> {
    use Cause::{Outside, Panic, Power, Restart, Watchdog};
    [Power, Outside, Watchdog, Panic, Restart].into_iter().find(|cause| *cause as u8 == number)
}

impl<C: Card, const PAGES: usize> Store<C, PAGES> {
    /// Writes a post-mortem, with the number of this mount and the last known time, in place of the
    /// oldest one.
    pub async fn write_post_mortem(
        &mut self,
        post_mortem: &PostMortem,
    ) -> Result<(), Fault<C::Error>> {
        self.check_ready()?;
        let (boot, time_unix_s) = (self.boot(), self.last_known_time());
        let block = self.post_mortem_block(boot);
        PostMortem { boot, time_unix_s, ..*post_mortem }.write(self.medium.blank().await);
        self.medium.write(block).await?;
        self.medium.flush().await
    }

    /// The post-mortem that mount number `boot` has written, if it is still there.
    pub async fn post_mortem(&mut self, boot: u32) -> Result<Option<PostMortem>, Fault<C::Error>> {
        self.check_ready()?;
        let block = self.post_mortem_block(boot);
        match self.medium.load(block).await {
            Ok(content) => Ok(PostMortem::read(content).filter(|it| it.boot == boot)),
            Err(Fault::Damaged { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// How many post-mortems are kept.
    pub fn post_mortems(&self) -> u32 {
        self.medium.geometry.post_mortem().len() as u32
    }

    fn post_mortem_block(&self, boot: u32) -> u32 {
        let region = self.medium.geometry.post_mortem();
        region.start + boot % (region.end - region.start)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Ended, Network, PostMortem};
    use crate::BLOCK;
    use crate::extent::Serial;
    use crate::message::MessageId;

    #[test]
    fn what_is_written_is_read() {
        let mut panic = PostMortem {
            boot: 7,
            time_unix_s: 1_700_000_000,
            ended: Some(Ended::Deaf),
            network: Some(Network::Up([192, 0, 2, 7].into())),
            uptime_s: 86_400,
            crashes: 3,
            calls: [1, 2, 3, 4],
            message: Some(MessageId::new(Serial { boot: 6, count: 9 }, 12)),
            strikes: 2,
            set_aside: true,
            ..PostMortem::new(Cause::Panic)
        };
        panic.set_program("0.1.0", "board-of-a-long-name");
        assert_eq!(panic.program(), "0.1.0 board-of-a-long-na");
        let no_link = Some(Network::NoLink);
        let restart = PostMortem { network: no_link, ..PostMortem::new(Cause::Restart) };
        for post_mortem in [panic, restart, PostMortem::new(Cause::Power)] {
            let mut content = [0; BLOCK];
            post_mortem.write(&mut content);
            assert_eq!(PostMortem::read(&content), Some(post_mortem));
        }
        assert_eq!(PostMortem::read(&[0; BLOCK]), None);
    }
}
