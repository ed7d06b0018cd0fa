//! The rules of the firmware: what is a board's, what is the network stack's.

use quote::ToTokens;

use super::Source;
use super::rust::{matching, product};

/// embassy-net's tree is moving to a fork of smoltcp: what knows its types is to be one file.
pub fn stack_types(source: &Source) -> Vec<String> {
    let tokens = product(source).into_token_stream();
    matching(source, tokens, |word| word.text == "embassy_net" || word.text == "smoltcp")
}

/// What is written for one board does not run on the next.
pub fn board_names(source: &Source) -> Vec<String> {
    const PARTS: [&str; 7] =
        ["lm3s", "rp235", "w5500", "nucleo", "stm32", "cortex_m", "embassy_executor"];
    let tokens = product(source).into_token_stream();
    matching(source, tokens, |word| PARTS.iter().any(|part| word.text.contains(part)))
}

/// A device has no allocator, and no operating system.
pub fn needs_a_system(source: &Source) -> Vec<String> {
    let tokens = product(source).into_token_stream();
    matching(source, tokens, |word| matches!(word.text.as_str(), "std" | "alloc"))
}

#[cfg(test)]
mod tests {
    use super::{Source, board_names, needs_a_system, stack_types};

    fn found(rule: fn(&Source) -> Vec<String>, text: &str) -> usize {
        rule(&Source::new("firmware/device/src/a.rs", text)).len()
    }

    #[test]
    fn the_stack_is_named_in_one_place() {
        assert_eq!(found(stack_types, "use embassy_net::tcp::TcpSocket;"), 1);
        assert_eq!(found(stack_types, "use embassy_net_driver::Driver;"), 0);
    }

    #[test]
    fn boards_are_found() {
        assert_eq!(found(board_names, "fn f() { embassy_stm32::init(x) }"), 1);
        assert_eq!(found(board_names, "fn f() { board.feed_watchdog() }"), 0);
    }

    #[test]
    fn a_system_is_found() {
        assert_eq!(found(needs_a_system, "use std::vec::Vec;"), 1);
        assert_eq!(found(needs_a_system, "#[cfg(test)] mod tests { use std::vec::Vec; }"), 0);
    }
}
