//! Accesses to the chip (§2.2): by SPI, with a length that the select line tells.

use embedded_hal_async::spi::{Operation, SpiDevice};

use crate::fault::Fault;
use crate::registers::Place;

/// How often two readings of the same are to agree before they are given up.
const READINGS: u8 = 8;

pub(crate) type Result<T> = core::result::Result<T, Fault>;

pub(crate) struct Bus<S>(pub(crate) S);

impl<S: SpiDevice> Bus<S> {
    pub(crate) async fn read(&mut self, place: Place, octets: &mut [u8]) -> Result<()> {
        let header = place.header(false);
        let mut access = [Operation::Write(&header), Operation::Read(octets)];
        self.0.transaction(&mut access).await.map_err(|_| Fault::Bus)
    }

    pub(crate) async fn write(&mut self, place: Place, octets: &[u8]) -> Result<()> {
        self.write_both(place, octets, &[]).await
    }

    /// Writes `octets`, and `more` behind them.
    pub(crate) async fn write_both(
        &mut self,
        place: Place,
        octets: &[u8],
        more: &[u8],
    ) -> Result<()> {
        let header = place.header(true);
        let mut access =
            [Operation::Write(&header), Operation::Write(octets), Operation::Write(more)];
        self.0.transaction(&mut access).await.map_err(|_| Fault::Bus)
    }

    /// Lets go of the select line, which a transaction that was not awaited to its end holds.
    pub(crate) async fn release(&mut self) -> Result<()> {
        self.0.transaction(&mut []).await.map_err(|_| Fault::Bus)
    }

    pub(crate) async fn octets<const N: usize>(&mut self, place: Place) -> Result<[u8; N]> {
        let mut octets = [0; N];
        self.read(place, &mut octets).await?;
        Ok(octets)
    }

    /// Reads what may change between its octets, or on the wires, until two readings agree.
    pub(crate) async fn settled<const N: usize>(&mut self, place: Place) -> Result<[u8; N]> {
        let mut before = self.octets(place).await?;
        for _ in 0..READINGS {
            let octets = self.octets(place).await?;
            if octets == before {
                return Ok(octets);
            }
            before = octets;
        }
        Err(Fault::Desynchronised)
    }
}
