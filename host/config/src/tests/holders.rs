//! The tables of holders.

use super::*;

#[test]
fn holders_are_one_table_or_several_with_one_name_or_several() {
    let names = |source: &str| -> Vec<String> {
        let config = parse(source).expect(source);
        config.wakeup.iter().map(Wakeup::name).collect()
    };
    assert_eq!(names("[wakeup]\netrn = \"a.example\""), ["a.example:25"]);
    let two = "[[wakeup]]\netrn = [\"a.example\", \"[2001:db8::1]:2525\"]\n\
        [[wakeup]]\netrn = \"192.0.2.1\"";
    assert_eq!(names(two), ["a.example:25, [2001:db8::1]:2525", "192.0.2.1:25"]);
    assert_eq!(names(""), [""; 0]);
    let atrn = "[[wakeup]]\natrn = \"a.example\"\nuser = \"u\"\npassword_file = \"/p\"\n";
    assert_eq!(names(&format!("{atrn}[[wakeup]]\netrn = \"a.example\"")).len(), 2);
    assert_eq!(names(atrn), ["a.example:366"]);
    for (source, expected) in [
        (
            &*format!("{atrn}etrn = \"b.example\""),
            "postern.toml:1: wakeup: has more than one of etrn, atrn and email: write a \
                table for each",
        ),
        (
            "[[wakeup]]\netrn = \"a.example\"\nuser = \"u\"",
            "postern.toml:1: wakeup.user: is for atrn, and this table has none: leave it out",
        ),
        (
            &atrn.replace("user", "#"),
            "postern.toml:1: wakeup.user: is required with atrn: user = \"client.example\"",
        ),
        (
            &atrn.replace("password_file", "#"),
            "postern.toml:1: wakeup.password_file: is required with atrn: password_file = \
                \"/etc/postern/password\"",
        ),
        (
            &format!("{atrn}tls = \"starttls\""),
            "postern.toml:5: wakeup.tls: expected \"verified\", \"implicit\", \
                \"opportunistic\" or \"off\", found \"starttls\"",
        ),
        (
            &format!("{atrn}tls = \"opportunistic\"\ntls_ca = \"/c\""),
            "postern.toml:1: wakeup.tls_ca: is not looked at with tls = \"opportunistic\" or \
                \"off\": leave it out",
        ),
        (
            &atrn.replace("\"u\"", "\"\""),
            "postern.toml:3: wakeup.user: expected a user name such as \"client.example\", of at \
                most 255 octets, found \"\"",
        ),
        ("wakeup = 1", "postern.toml:1: wakeup: expected a [[wakeup]] section, found the number 1"),
        (
            "[[wakeup]]\netrn = \"a.example\"\n[[wakeup]]\netrn = []",
            "postern.toml:4: wakeup.etrn: is empty: expected \"host\" or \"host:port\", such as \
                \"mx2.provider.example\"",
        ),
        (
            "[[wakeup]]\netrn = \"a.example\"\n[[wakeup]]\netrn = \"a.example:25\"",
            "postern.toml:3: wakeup.etrn: a.example:25 is asked in another table already",
        ),
        (
            "[[wakeup]]\netrn = \"a.example\"\n[[wakeup]]\netrm = \"b.example\"\netrn = \"c\"",
            "postern.toml:4: wakeup.etrm: unknown key; did you mean \"etrn\"?",
        ),
    ] {
        assert_eq!(problems(source), [expected], "{source}");
    }
}
