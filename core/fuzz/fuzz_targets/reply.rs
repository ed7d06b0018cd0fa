//! A peer's octets as a reply: the same however much of them has come, and safe to log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::client::reply::{REPLY_MAX, ReplyFault, parse};

fuzz_target!(|data: &[u8]| {
    match parse(data) {
        Ok(None) => assert!(data.len() < REPLY_MAX),
        Ok(Some(reply)) => {
            let length = reply.length();
            assert!((5..=REPLY_MAX.min(data.len())).contains(&length));
            assert!((200..600).contains(&reply.code()));
            assert!(data[..length].ends_with(b"\r\n"));
            assert_eq!(parse(&data[..length]), Ok(Some(reply)), "what follows changes nothing");
            for prefix in 0..length {
                assert_eq!(parse(&data[..prefix]), Ok(None), "not whole yet at {prefix}");
            }
            let shown = reply.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            if let Some(code) = reply.enhanced() {
                assert_eq!(u16::from(code.class), reply.code() / 100);
            }
        }
        Err(ReplyFault::TooLong) => assert!(data.len() >= REPLY_MAX),
        Err(fault) => {
            let longer = [data, b"250 ok\r\n"].concat();
            assert_eq!(parse(&longer), Err(fault), "a fault stays one");
        }
    }
});
