//! Parameters as scripts write them.

use postern_core::wire::params::{Body, Notify, Ret};

/// BODY.
pub fn body_word(body: Body) -> Option<String> {
    let value = match body {
        Body::Unstated => return None,
        Body::SevenBit => "7BIT",
        Body::EightBitMime => "8BITMIME",
        Body::BinaryMime => "BINARYMIME",
    };
    Some(format!("BODY={value}"))
}

/// RET.
pub fn ret_word(ret: Ret) -> Option<String> {
    let value = match ret {
        Ret::Unstated => return None,
        Ret::Full => "FULL",
        Ret::Headers => "HDRS",
    };
    Some(format!("RET={value}"))
}

/// NOTIFY.
pub fn notify_word(notify: Notify) -> Option<String> {
    let kinds = [
        (Notify::NEVER, "NEVER"),
        (Notify::SUCCESS, "SUCCESS"),
        (Notify::FAILURE, "FAILURE"),
        (Notify::DELAY, "DELAY"),
    ];
    let asked: Vec<&str> =
        kinds.iter().filter(|(kind, _)| notify.has(*kind)).map(|(_, name)| *name).collect();
    if asked.is_empty() { None } else { Some(format!("NOTIFY={}", asked.join(","))) }
}
