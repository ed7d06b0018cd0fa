//! Lines of the dialogues that smtp-proto reads otherwise, and why we do not follow it.

/// Lines that we refuse and it takes.
pub const STRICTER: &[(&str, &[&str])] = &[
    (
        "a bare CR or LF, or a NUL, is no part of a command (RFC 5321 §2.3.8)",
        &["NOOP\nNOOP", "NOOP\nRSET", "NOOP\r", "ETRN client\0.example", "BDAT 6 LAST\0"],
    ),
    (
        "these commands have no argument (RFC 5321 §4.1.1, RFC 3207 §4)",
        &["DATA now", "QUIT now", "RSET now", "STARTTLS now"],
    ),
    ("a command begins its line (RFC 5321 §4.1.1)", &[" NOOP"]),
    ("a tab is no space (RFC 3030 §2)", &["BDAT 6\tLAST"]),
    (
        "no space before the colon (RFC 5321 §3.3)",
        &["MAIL FROM :<sender@example.org>", "RCPT TO :<user@client.example>"],
    ),
    ("NEVER stands alone (RFC 3461 §4.1)", &["RCPT TO:<user@client.example> NOTIFY=NEVER,SUCCESS"]),
    (
        "a parameter stands once (RFC 1870 §6, RFC 6152 §3, RFC 3461 §5.1)",
        &[
            "MAIL FROM:<sender@example.org> SIZE=10 SIZE=10",
            "MAIL FROM:<sender@example.org> BODY=7BIT BODY=8BITMIME",
            "MAIL FROM:<sender@example.org> RET=FULL RET=HDRS",
            "RCPT TO:<user@client.example> NOTIFY=DELAY NOTIFY=DELAY",
        ],
    ),
    (
        "+ and two hexadecimal digits, or no + (RFC 3461 §4)",
        &[
            "RCPT TO:<user@client.example> ORCPT=rfc822;a+ZZb@example.org",
            "MAIL FROM:<sender@example.org> ENVID=a+GGb",
            "MAIL FROM:<sender@example.org> ENVID=a+2",
        ],
    ),
    (
        "20 digits at most (RFC 1870 §4)",
        &["MAIL FROM:<sender@example.org> SIZE=000000000000000000001"],
    ),
    (
        "parameters stand behind a space (RFC 5321 §4.1.1.2)",
        &["MAIL FROM:<sender@example.org>SIZE=10"],
    ),
    (
        "ETRN names a domain, @domain or #queue (RFC 1985 §5.3)",
        &[
            "ETRN @",
            "ETRN #",
            "ETRN client..example",
            "ETRN client.example other.example",
            "ETRN <client.example>",
            "ETRN user@client.example",
        ],
    ),
    (
        "a label has letters, digits, and hyphens within; a domain has one (RFC 5321 §4.1.2)",
        &[
            "MAIL FROM:<sender@-example.org>",
            "MAIL FROM:<sender@exam_ple.org>",
            "MAIL FROM:<sender@example-.org>",
            "MAIL FROM:<sender@>",
        ],
    ),
    (
        "nothing stands beside a quoted string (RFC 5321 §4.1.2)",
        &["MAIL FROM:<\"sender\"x@example.org>", "MAIL FROM:<x\"sender\"@example.org>"],
    ),
    (
        "a source route is a list of @domain (RFC 5321 §4.1.2)",
        &[
            "MAIL FROM:<@one.example,two.example:sender@example.org>",
            "MAIL FROM:<@one.example,:sender@example.org>",
            "MAIL FROM:<@:sender@example.org>",
        ],
    ),
    (
        "ATRN names domains, with one comma between two (RFC 2645 §5.2.1)",
        &["ATRN waiting..example", "ATRN waiting.example,"],
    ),
    ("the null path is nobody to deliver to (RFC 5321 §4.1.1.3)", &["RCPT TO:<>"]),
];

/// Lines that we take and it refuses or reads otherwise.
pub const WIDER: &[(&str, &[&str])] = &[
    (
        "what most servers take, and the RFC forbids (RFC 5321 §3.3, §4.1.2)",
        &[
            "MAIL FROM:\t<sender@example.org>",
            "RCPT TO: \t<user@client.example>",
            "MAIL FROM: sender@example.org",
            "RCPT TO:user@client.example",
            "RCPT TO:<.a@any.example>",
            "RCPT TO:<a..b@any.example>",
        ],
    ),
    (
        "address literals (RFC 5321 §4.1.3)",
        &["MAIL FROM:<sender@[192.0.2.1]>", "MAIL FROM:<sender@[IPv6:2001:db8::1]>"],
    ),
    (
        "Postmaster is kept as it was written (RFC 5321 §4.5.1)",
        &["RCPT TO:<Postmaster>", "RCPT TO:<postmaster>", "RCPT TO:<POSTMASTER>"],
    ),
    (
        "20 digits are a size, if one that is always too big (RFC 1870 §4)",
        &[
            "MAIL FROM:<sender@example.org> SIZE=99999999999999999999",
            "MAIL FROM:<sender@example.org> SIZE=18446744073709551616",
        ],
    ),
    (
        "Postfix's XCLIENT",
        &["XCLIENT ADDR=192.0.2.1", "XCLIENT ADDR=192.0.2.1 NAME=client.example.org"],
    ),
];
