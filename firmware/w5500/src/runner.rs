//! What moves frames between the chip and the network stack, and starts the chip again.

use core::convert::Infallible;
use core::future::pending;

use embassy_futures::select::select3;
use embassy_net_driver_channel as channel;
use embassy_net_driver_channel::driver::LinkState;
use embassy_net_driver_channel::{RxRunner, StateRunner, TxRunner};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal_async::digital::Wait;
use embedded_hal_async::spi::SpiDevice;

use crate::bus::Result;
use crate::chip::{Chip, FRAME_MAX, Found};
use crate::fault::Fault;

/// How long the reset line is held (§5.5.1: 0.5 ms), with some to spare.
const RESET: Duration = Duration::from_millis(2);
/// How long after a fault the chip is started again: one that is not there costs no more than this.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the chip is asked how it is, and whether there is a frame that its line did not tell.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// No frame for so long, not even a broadcast, and the chip is reset in case it is deaf. Whoever is
/// connected sends more often, so that the two seconds without a link disturb nobody. A network in
/// which nobody speaks looks the same: until a frame comes each silence may be twice as long as the
/// one before, up to the longest.
const SILENCE: Duration = Duration::from_secs(300);
const SILENCE_MAX: Duration = Duration::from_secs(6 * 3600);
/// A start, and one round of work, take much less. Longer: an interrupt of the SPI's was lost.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// Frames in one direction before the other gets its turn.
const TURN: u8 = 8;
/// Looks that the line asked for and that found nothing, before it is not believed until the next
/// check: one that hangs low would ask for ever.
const VAIN_LOOKS: u8 = 8;
/// How often in a row, without a frame between, the buffers are emptied before the chip is reset.
const REOPENINGS: u8 = 3;

/// The chip's interrupt line: low while there is something.
pub trait Interrupt: Wait + InputPin<Error = Infallible> {}

impl<P: Wait + InputPin<Error = Infallible>> Interrupt for P {}

/// The chip's reset line: low resets.
pub trait Reset: OutputPin<Error = Infallible> {}

impl<P: OutputPin<Error = Infallible>> Reset for P {}

/// What moves the frames. Its `run` belongs into a task of its own.
pub struct Runner<'d, S, I, R> {
    channel: channel::Runner<'d, FRAME_MAX>,
    lines: Lines<S, I, R>,
}

/// What leads to the chip.
struct Lines<S, I, R> {
    chip: Chip<S>,
    interrupt: I,
    reset: R,
    /// The silence after which the chip is reset.
    silence: Duration,
}

/// What leads to the network stack.
struct Stack<'d> {
    state: StateRunner<'d>,
    received: RxRunner<'d, FRAME_MAX>,
    sent: TxRunner<'d, FRAME_MAX>,
}

/// What is known of a chip that was started.
struct Session {
    is_up: bool,
    /// There may be more frames in the chip than the stack had room for.
    is_more: bool,
    vain_looks: u8,
    reopenings: u8,
    /// When the last frame came, or the link.
    heard: Instant,
    next_check: Instant,
}

impl<'d, S: SpiDevice, I: Interrupt, R: Reset> Runner<'d, S, I, R> {
    pub(crate) fn new(
        channel: channel::Runner<'d, FRAME_MAX>,
        spi: S,
        interrupt: I,
        reset: R,
        hardware_address: [u8; 6],
    ) -> Self {
        let chip = Chip::new(spi, hardware_address);
        Self { channel, lines: Lines { chip, interrupt, reset, silence: SILENCE } }
    }

    /// Moves frames, for ever. A chip that does not answer is looked for each second.
    pub async fn run(self) -> ! {
        let mut lines = self.lines;
        let (state, received, sent) = self.channel.split();
        let mut stack = Stack { state, received, sent };
        loop {
            let _fault = match lines.start().await {
                Ok(()) => lines.serve(&mut stack).await,
                Err(fault) => fault,
            };
            #[cfg(feature = "defmt")]
            defmt::warn!("the W5500 is reset: {}", _fault);
            stack.state.set_link_state(LinkState::Down);
            Timer::after(PAUSE).await;
        }
    }
}

impl<S: SpiDevice, I: Interrupt, R: Reset> Lines<S, I, R> {
    async fn start(&mut self) -> Result<()> {
        let Ok(()) = self.reset.set_low();
        Timer::after(RESET).await;
        let Ok(()) = self.reset.set_high();
        within_a_round(self.chip.start()).await
    }

    /// Moves frames until something does not go well.
    async fn serve(&mut self, stack: &mut Stack<'_>) -> Fault {
        let now = Instant::now();
        let mut session = Session {
            is_up: false,
            is_more: false,
            vain_looks: 0,
            reopenings: 0,
            heard: now,
            next_check: now,
        };
        loop {
            self.wait(stack, &session).await;
            let done = match within_a_round(self.round(stack, &mut session)).await {
                Err(Fault::Desynchronised) if session.reopenings < REOPENINGS => {
                    session.reopenings += 1;
                    within_a_round(self.chip.reopen()).await
                }
                done => done,
            };
            if let Err(fault) = done {
                return fault;
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, stack: &mut Stack<'_>, session: &Session) {
        let frame_came = async {
            if !session.is_more {
                if session.vain_looks >= VAIN_LOOKS {
                    pending::<()>().await;
                }
                let Ok(()) = self.interrupt.wait_for_low().await;
            }
            stack.received.rx_buf().await;
        };
        select3(frame_came, stack.sent.tx_buf(), Timer::at(session.next_check)).await;
    }

    /// Does what there is to be done.
    async fn round(&mut self, stack: &mut Stack<'_>, session: &mut Session) -> Result<()> {
        let is_check = Instant::now() >= session.next_check;
        let Ok(is_low) = self.interrupt.is_low();
        if is_low || session.is_more || is_check {
            self.receive(&mut stack.received, session).await?;
        }
        self.send(&mut stack.sent, session).await?;
        if is_check {
            session.next_check = Instant::now() + CHECK_EVERY;
            session.vain_looks = 0;
            self.check(&stack.state, session).await?;
        }
        Ok(())
    }

    /// Reads frames for which the stack has room.
    async fn receive(
        &mut self,
        received: &mut RxRunner<'_, FRAME_MAX>,
        session: &mut Session,
    ) -> Result<()> {
        session.is_more = true;
        for frames in 0..TURN {
            let Some(frame) = received.try_rx_buf() else { break };
            match self.chip.receive(frame).await? {
                Found::Nothing => {
                    session.is_more = false;
                    if frames == 0 {
                        session.vain_looks = session.vain_looks.saturating_add(1);
                    }
                    break;
                }
                Found::TooLong => {}
                Found::Frame(octets) => {
                    received.rx_done(octets);
                    self.silence = SILENCE;
                    session.reopenings = 0;
                }
            }
            session.vain_looks = 0;
            session.heard = Instant::now();
        }
        Ok(())
    }

    /// Sends the stack's frames. Without a link they would wait in the chip, whoever wants them no
    /// more, and those behind them in the stack: they are lost as on any broken cable.
    async fn send(&mut self, sent: &mut TxRunner<'_, FRAME_MAX>, session: &Session) -> Result<()> {
        for _ in 0..TURN {
            let Some(frame) = sent.try_tx_buf() else { break };
            if session.is_up {
                self.chip.send(frame).await?;
            }
            sent.tx_done();
        }
        Ok(())
    }

    /// Looks how the chip and its link are.
    async fn check(&mut self, state: &StateRunner<'_>, session: &mut Session) -> Result<()> {
        self.chip.check().await?;
        let is_up = self.chip.is_link_up().await?;
        if is_up != session.is_up {
            session.is_up = is_up;
            session.heard = Instant::now();
            state.set_link_state(if is_up { LinkState::Up } else { LinkState::Down });
        }
        if is_up && session.heard.elapsed() > self.silence {
            self.silence = SILENCE_MAX.min(self.silence * 2);
            return Err(Fault::Deaf);
        }
        // One that does not go while nothing follows it would be noticed late.
        self.chip.sent().await
    }
}

/// Awaits what takes much less than [`ROUND_TIMEOUT`].
async fn within_a_round<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    with_timeout(ROUND_TIMEOUT, work).await.unwrap_or(Err(Fault::TimedOut))
}
