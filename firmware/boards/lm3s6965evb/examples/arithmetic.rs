//! Holds the chip's copying, filling and division against plain loops, and logs that they agree, or
//! panics. The tests run it in QEMU.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use lm3s6965 as _;
use postern_log as _;

const OCTETS: usize = 96;

#[entry]
fn main() -> ! {
    for length in 0..=40 {
        for from in 0..8 {
            for to in 0..48 {
                copy(from, to, length);
            }
            fill(from, length);
        }
    }
    let (mut dividend, mut divisor) = (1, 1);
    for round in 0..20_000_u32 {
        dividend = next(dividend);
        divisor = next(divisor);
        let few = |number: u64, bits: u32| number >> (bits % 64);
        divide(few(dividend, round), few(divisor, round / 64));
    }
    for edge in [0, 1, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 1 << 32, 1 << 63, u64::MAX] {
        for divisor in [1, 2, 1000, 0xFFFF, 0x1_0000, 1_000_000, 1 << 32, 1 << 63, u64::MAX] {
            divide(edge, divisor);
        }
    }
    defmt::info!("the arithmetic is right");
    loop {
        cortex_m::asm::wfi();
    }
}

/// Within one block, so that it overlaps.
fn copy(from: usize, to: usize, length: usize) {
    let before: [u8; OCTETS] = core::array::from_fn(|at| at as u8);
    let mut after = before;
    black_box(&mut after).copy_within(black_box(from..from + length), black_box(to));
    for (at, octet) in after.into_iter().enumerate() {
        let moved = if (to..to + length).contains(&at) { at - to + from } else { at };
        assert!(octet == moved as u8);
    }
}

fn fill(from: usize, length: usize) {
    for value in [0, 0xA7] {
        let mut octets = [1; OCTETS];
        let part = octets.get_mut(black_box(from..from + length)).expect("it is within");
        part.fill(black_box(value));
        for (at, octet) in octets.into_iter().enumerate() {
            assert!(octet == if (from..from + length).contains(&at) { value } else { 1 });
        }
    }
}

fn divide(dividend: u64, divisor: u64) {
    let (dividend, divisor) = (black_box(dividend), black_box(divisor));
    if divisor == 0 {
        return;
    }
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    assert!(remainder < divisor);
    assert!(quotient.wrapping_mul(divisor).wrapping_add(remainder) == dividend);
    assert!(quotient.checked_mul(divisor).is_some());
    for (dividend, divisor) in
        [(dividend as i64, divisor as i64), (-(dividend as i64 >> 1), divisor as i64)]
    {
        let (dividend, divisor) = (black_box(dividend), black_box(divisor));
        if let (Some(quotient), Some(remainder)) =
            (dividend.checked_div(divisor), dividend.checked_rem(divisor))
        {
            assert!(remainder.unsigned_abs() < divisor.unsigned_abs());
            assert!(remainder == 0 || (remainder < 0) == (dividend < 0));
            assert!(quotient.wrapping_mul(divisor).wrapping_add(remainder) == dividend);
        }
    }
}

/// The next number of a row in which all come.
fn next(number: u64) -> u64 {
    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    defmt::error!("the arithmetic is wrong");
    cortex_m::peripheral::SCB::sys_reset()
}
