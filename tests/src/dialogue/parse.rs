//! The parser of scripts.

use super::cite::sections;
use super::escape::{repeat_lines, unescape};
use super::{ExpectedReply, LinePattern, Script, Settings, Step, StoredMessage, StoredPath};

/// Parses a script; a fault is named with script and line.
pub fn parse(name: &str, text: &str) -> Result<Script, String> {
    let mut parser = Parser::new(name);
    for (number, line) in text.lines().enumerate() {
        parser.line(line).map_err(|fault| format!("{name}.smtp:{}: {fault}", number + 1))?;
    }
    parser.end().map_err(|fault| format!("{name}.smtp: {fault}"))
}

struct Parser {
    script: Script,
    /// A reply whose last line has not come yet.
    reply: Option<ExpectedReply>,
    /// Whether the step before was the client's, so that the next octets belong to its group.
    sending: bool,
}

impl Parser {
    fn new(name: &str) -> Self {
        let script = Script {
            name: name.to_owned(),
            cites: Vec::new(),
            settings: Settings::default(),
            steps: Vec::new(),
            stored: Vec::new(),
        };
        Self { script, reply: None, sending: false }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            self.script.cites.extend(sections(comment));
            return Ok(());
        }
        if let Some(setting) = line.strip_prefix('%') {
            return self.setting(setting.trim());
        }
        let (keyword, argument) = line.split_once(':').unwrap_or((line, ""));
        let argument = argument.strip_prefix(' ').unwrap_or(argument);
        if self.reply.is_some() && keyword != "S" {
            return Err("the reply before has no last line".into());
        }
        let sends = matches!(keyword, "C" | "C-raw" | "C-repeat");
        let grouped = std::mem::replace(&mut self.sending, sends);
        match keyword {
            "C" => self.send(with_crlf(argument), grouped),
            "C-raw" => self.send(unescape(argument)?, grouped),
            "C-repeat" => self.send(joined(argument)?, grouped),
            "S" => self.reply_line(argument)?,
            "S-repeat" => {
                for reply in repeat_lines(argument)? {
                    self.reply_line(&reply)?;
                }
            }
            _ if keyword.starts_with("STORED") => self.stored(keyword, argument)?,
            _ => self.script.steps.push(other_step(keyword, argument)?),
        }
        Ok(())
    }

    fn end(self) -> Result<Script, String> {
        match () {
            () if self.script.cites.is_empty() => {
                Err("no comment names an RFC and its section".into())
            }
            () if self.reply.is_some() => Err("the last reply has no last line".into()),
            () if self.script.steps.is_empty() => Err("nothing is said".into()),
            () => Ok(self.script),
        }
    }

    fn setting(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once(": ").ok_or("a setting is KEY: VALUE")?;
        let words = || value.split(' ').map(str::to_owned).collect();
        let settings = &mut self.script.settings;
        let number = || format!("'{value}' is not a number");
        match key {
            "needs" => settings.needs = words(),
            "without" => settings.without = words(),
            "max-message-size" => {
                settings.max_message_size = value.parse().map_err(|_| number())?;
            }
            "max-recipients" => settings.max_recipients = value.parse().map_err(|_| number())?,
            "core-only" => settings.core_only = Some(value.to_owned()),
            "plain-only" => settings.plain_only = Some(value.to_owned()),
            _ => return Err(format!("'{key}' is not a setting")),
        }
        Ok(())
    }

    fn send(&mut self, octets: Vec<u8>, grouped: bool) {
        match self.script.steps.last_mut() {
            Some(Step::Send(group)) if grouped => group.extend(octets),
            _ => self.script.steps.push(Step::Send(octets)),
        }
    }

    fn reply_line(&mut self, text: &str) -> Result<(), String> {
        let digits = text.get(..3).ok_or("a reply begins with three digits")?;
        let code = digits.parse().map_err(|_| format!("'{digits}' is not a reply code"))?;
        let pattern = match text.get(4..) {
            Some("...") => LinePattern::Gap,
            Some(pattern) => LinePattern::Text(pattern.to_owned()),
            None => return Err("behind the code stand a space or hyphen and a text".into()),
        };
        let reply = self.reply.get_or_insert(ExpectedReply { code, lines: Vec::new() });
        if reply.code != code {
            return Err(format!("the reply began with {}", reply.code));
        }
        reply.lines.push(pattern);
        match text.as_bytes().get(3) {
            Some(b' ') => self.script.steps.extend(self.reply.take().map(Step::Expect)),
            Some(b'-') => {}
            _ => return Err("behind the code stands a space or a hyphen".into()),
        }
        Ok(())
    }

    fn stored(&mut self, keyword: &str, argument: &str) -> Result<(), String> {
        if keyword == "STORED-FROM" {
            let from = stored_path(argument)?;
            self.script.stored.push(StoredMessage { from, ..StoredMessage::default() });
            return Ok(());
        }
        let message = self.script.stored.last_mut().ok_or("STORED-FROM comes first")?;
        match keyword {
            "STORED-TO" => message.to.push(stored_path(argument)?),
            "STORED-TO-repeat" => {
                for path in repeat_lines(argument)? {
                    message.to.push(stored_path(&path)?);
                }
            }
            "STORED" => message.body.extend(with_crlf(argument)),
            "STORED-raw" => message.body.extend(unescape(argument)?),
            "STORED-repeat" => message.body.extend(joined(argument)?),
            _ => return Err(format!("'{keyword}' is not a keyword")),
        }
        Ok(())
    }
}

fn other_step(keyword: &str, argument: &str) -> Result<Step, String> {
    let number = || argument.parse().map_err(|_| format!("'{argument}' is not a number"));
    match (keyword, argument) {
        ("OFFERS", pattern) => Ok(Step::Offers(LinePattern::Text(pattern.to_owned()))),
        ("OFFERS-NOT", keyword) => Ok(Step::OffersNot(keyword.to_owned())),
        ("WAIT", _) => Ok(Step::Wait(number()?)),
        ("TLS", "") => Ok(Step::Tls),
        ("TURN", "") => Ok(Step::Turn),
        ("CLOSE", "") => Ok(Step::Close),
        ("HANGUP", "") => Ok(Step::HangUp),
        _ => Err(format!("'{keyword}: {argument}' is not a step")),
    }
}

fn with_crlf(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\r\n"].concat()
}

fn joined(argument: &str) -> Result<Vec<u8>, String> {
    Ok(repeat_lines(argument)?.iter().flat_map(|line| with_crlf(line)).collect())
}

/// `<path> KEY=VALUE KEY`; the path may hold `>` in quotes, so the last `>` ends it.
fn stored_path(argument: &str) -> Result<StoredPath, String> {
    let (path, params) = argument.rsplit_once('>').ok_or("a path stands in <>")?;
    let path = path.strip_prefix('<').ok_or("a path stands in <>")?;
    let mut params: Vec<String> = params.split_whitespace().map(str::to_owned).collect();
    params.sort();
    Ok(StoredPath { path: path.as_bytes().to_vec(), params })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::dialogue::{LinePattern, Step};

    const HEAD: &str = "# RFC 5321 §3.1: a script.\n";

    #[test]
    fn lines_of_the_client_that_follow_each_other_are_one_group() {
        let text = format!("{HEAD}C: A\nC-raw: B\\n\nC-repeat: 2 C{{n}}\nS: 250 2.0.0 *\nC: D\n");
        let script = parse("x", &text).expect("well formed");
        let [Step::Send(first), Step::Expect(_), Step::Send(second)] = &script.steps[..] else {
            panic!("three steps, not {:?}", script.steps)
        };
        assert_eq!((&first[..], &second[..]), (&b"A\r\nB\nC1\r\nC2\r\n"[..], &b"D\r\n"[..]));
    }

    #[test]
    fn a_reply_has_its_lines() {
        let text = format!("{HEAD}S: 250-mx\nS: 250-...\nS: 250 *\n");
        let script = parse("x", &text).expect("well formed");
        let [Step::Expect(reply)] = &script.steps[..] else { panic!("one reply") };
        assert_eq!((reply.code, reply.lines.len()), (250, 3));
        assert_eq!(reply.lines[1], LinePattern::Gap);
    }

    #[test]
    fn what_is_stored() {
        let text = format!(
            "{HEAD}% needs: DSN\nS: 220 *\nSTORED-FROM: <\"a>b\"@c> RET=FULL BODY=7BIT\n\
             STORED-TO-repeat: 2 <u{{n}}@x>\nSTORED: one\nSTORED-raw: two\n"
        );
        let script = parse("x", &text).expect("well formed");
        let message = &script.stored[0];
        assert_eq!(message.from.path, b"\"a>b\"@c");
        assert_eq!(message.from.params, ["BODY=7BIT", "RET=FULL"]);
        assert_eq!(message.to[1].path, b"u2@x");
        assert_eq!(message.body, b"one\r\ntwo");
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (bad, place) in [
            ("X: what\n", "x.smtp:2: 'X: what' is not a step"),
            ("S: 250-a\nC: b\n", "x.smtp:3: the reply before has no last line"),
            ("S: 25O a\n", "x.smtp:2: '25O' is not a reply code"),
            ("S: 250-a\nS: 251 b\n", "x.smtp:3: the reply began with 250"),
            ("S: 250-a\n", "x.smtp: the last reply has no last line"),
            ("% speed: 9\n", "x.smtp:2: 'speed' is not a setting"),
            ("STORED: a\n", "x.smtp:2: STORED-FROM comes first"),
            ("STORED-FROM: a\n", "x.smtp:2: a path stands in <>"),
            ("CLOSE: now\n", "x.smtp:2: 'CLOSE: now' is not a step"),
            ("", "x.smtp: nothing is said"),
        ] {
            assert_eq!(parse("x", &format!("{HEAD}{bad}")), Err(place.to_owned()));
        }
        let fault = parse("x", "S: 220 *\n").expect_err("no RFC");
        assert!(fault.contains("RFC"), "{fault}");
    }
}
