//! The addresses in JSON, where a pointer leads. Nothing else of it is kept, so that what is sent
//! to use up memory does not.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use std::fmt;

use crate::config::{Select, Step};

/// What takes a text, or says why it takes none.
pub(super) type Taker<'t> = dyn FnMut(&str) -> Result<(), String> + 't;

/// Gives `take` the texts in `json` where one or more of `selects` lead.
///
/// # Errors
/// It is no JSON, one leads to something else or to what is not taken, or none of them leads
/// anywhere.
pub(super) fn select(json: &[u8], selects: &[Select], take: &mut Taker<'_>) -> Result<(), String> {
    let mut is_found = false;
    for select in selects {
        match one(json, select, take) {
            Ok(is_there) => is_found |= is_there,
            Err(error) if error.is_data() => {
                return Err(format!("select finds no addresses in it: {error}"));
            }
            // Its end may be missing, or there may be something behind it: no pointer mends that.
            Err(error) => return Err(format!("it is no JSON: {error}")),
        }
    }
    let nothing = || "select finds nothing in it: there is nothing where it leads".to_owned();
    is_found.then_some(()).ok_or_else(nothing)
}

fn one(json: &[u8], select: &Select, take: &mut Taker<'_>) -> Result<bool, serde_json::Error> {
    let mut json = Deserializer::from_slice(json);
    let walk = Walk { steps: select.steps(), is_one_of_many: false, take };
    let is_there = walk.deserialize(&mut json)?;
    json.end()?;
    Ok(is_there)
}

/// Goes on by `steps`; says whether they lead somewhere, be it to a list that has nothing.
struct Walk<'w, 't> {
    steps: &'w [Step],
    /// Whether it may lead nowhere here, as others stand beside it.
    is_one_of_many: bool,
    take: &'w mut Taker<'t>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.steps.first() {
            None => "an address, or a list of them",
            Some(Step::Each) => "a list for `*`",
            Some(Step::Key(_)) => "an object",
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        if !self.steps.is_empty() {
            return Err(E::invalid_type(serde::de::Unexpected::Other("a string"), &self));
        }
        (self.take)(text).map_err(E::custom)?;
        Ok(true)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match self.is_one_of_many {
            true => Ok(false),
            false => Err(E::invalid_type(serde::de::Unexpected::Unit, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        let (steps, number) = match self.steps {
            [] => (&[][..], None),
            [Step::Each, rest @ ..] => (rest, None),
            [Step::Key(key), rest @ ..] => match key.parse::<usize>() {
                Ok(number) => (rest, Some(number)),
                Err(_) if self.is_one_of_many => {
                    return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
                }
                // Another answer's pointer.
                Err(_) => {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(false);
                }
            },
        };
        let (mut nth, mut is_there) = (0, number.is_none());
        let mut is_any = false;
        loop {
            let is_wanted = number.is_none_or(|number| number == nth);
            let walk = self.inner(steps, number.is_none());
            let next = match is_wanted {
                true => list.next_element_seed(walk)?,
                false => list.next_element::<IgnoredAny>()?.map(|_| false),
            };
            let Some(is_found) = next else { break };
            (nth, is_any) = (nth + 1, is_any | is_found);
        }
        if nth > 0 || number.is_some() {
            is_there = is_any;
        }
        Ok(is_there)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<bool, A::Error> {
        let (steps, wanted) = match self.steps {
            [] => return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
            [Step::Each, rest @ ..] => (rest, None),
            [Step::Key(key), rest @ ..] => (rest, Some(key)),
        };
        let (mut is_empty, mut is_any) = (true, false);
        while let Some(key) = object.next_key::<String>()? {
            is_empty = false;
            if wanted.is_none_or(|wanted| *wanted == key) {
                is_any |= object.next_value_seed(self.inner(steps, wanted.is_none()))?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(is_any || is_empty && wanted.is_none())
    }
}

impl<'t> Walk<'_, 't> {
    fn inner<'w>(&'w mut self, steps: &'w [Step], is_one_of_many: bool) -> Walk<'w, 't> {
        let is_one_of_many = self.is_one_of_many || is_one_of_many;
        Walk { steps, is_one_of_many, take: &mut *self.take }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Recipients};

    fn pointers(texts: &[&str]) -> Vec<Select> {
        let config = format!(
            "[hold.\"a.example\"]\nrecipients = {{ urls = [\"https://b.example\"], select = \
             {texts:?} }}\ndeliver_to = \"b.example:25\"\n"
        );
        let config = Config::parse(std::path::Path::new("postern.toml"), &config);
        let hold = config.expect("it is sound").hold.into_values().next().expect("one");
        let Recipients::Fetched(source) = hold.recipients else { panic!("it has urls") };
        source.select.clone()
    }

    fn found(json: &str, texts: &[&str]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let mut take = |text: &str| {
            found.push(text.to_owned());
            Ok(())
        };
        select(json.as_bytes(), &pointers(texts), &mut take)?;
        Ok(found)
    }

    #[test]
    fn a_pointer_leads_to_texts() {
        for (json, select, expected) in [
            (r#"["a","b"]"#, "", &["a", "b"][..]),
            (r#"["a","b"]"#, "/*", &["a", "b"]),
            (r#"["a","b"]"#, "/1", &["b"]),
            (r#""a""#, "", &["a"]),
            (r#"[{"u":"a","x":{"u":"no"}},{"u":"b"}]"#, "/*/u", &["a", "b"]),
            (
                r#"{"data":{"items":[{"emails":["a","b"]},{"emails":"c"}]}}"#,
                "/data/items/*/emails",
                &["a", "b", "c"],
            ),
            (
                r#"{"data":{"items":[{"emails":["a"]},{"name":"group"},{"emails":null}]}}"#,
                "/data/items/*/emails",
                &["a"],
            ),
            (r#"{"1":{"u":"a"},"2":{"u":"b"}}"#, "/*/u", &["a", "b"]),
            (r#"[{"a/b":{"~":"x"}}]"#, "/*/a~1b/~0", &["x"]),
            (r#"[{"u":"\u00fc\n"}]"#, "/*/u", &["\u{fc}\n"]),
            ("[]", "/*/u", &[]),
            ("{}", "/*/u", &[]),
            (r#"{"data":{"items":[],"total":0}}"#, "/data/items/*/emails", &[]),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(found(json, &[select]), Ok(expected), "{json} {select}");
        }
    }

    #[test]
    fn each_answer_has_its_own_of_several_pointers() {
        let both = ["/*/username", "/*/address"];
        assert_eq!(found(r#"[{"username":"a"}]"#, &both), Ok(vec!["a".to_owned()]));
        assert_eq!(found(r#"[{"address":"b"}]"#, &both), Ok(vec!["b".to_owned()]));
        assert_eq!(found("[]", &both), Ok(Vec::new()));
        assert!(found(r#"[{"name":"b"}]"#, &both).is_err());
        let apart = ["/*/username", "/data/items/*/emails"];
        assert_eq!(found(r#"[{"username":"a"}]"#, &apart), Ok(vec!["a".to_owned()]));
        assert_eq!(
            found(r#"{"data":{"items":[{"emails":"b"}]}}"#, &apart[1..]).map(|it| it.len()),
            Ok(1)
        );
        for json in [r#"[{"username":"a","address":7}]"#, r#"[{"username":{},"address":"a"}]"#] {
            assert!(found(json, &both).is_err(), "a wrong type is no other's shape: {json}");
        }
    }

    /// Shapes of answers as the documentation of these has them: mailcow's openapi.yaml of
    /// 2026-08-05, Mailu's API of 2026-07-26, and Stalwart's openapi.yml 1.0.0 (0.15).
    #[test]
    fn what_the_documentation_of_others_shows_is_read() {
        let mailcow = ["/*/username", "/*/address"];
        let mailboxes = r#"[{"active":"1","attributes":{"tls_enforce_in":"0"},"domain":"doman3.tld",
            "local_part":"info","quota":3221225472,"rl":false,"sender_acl":["@aliasdomain.tld"],
            "username":"info@doman3.tld","tags":["tag1"]}]"#;
        let aliases = r#"[{"active":"1","address":"alias@domain.tld","goto":"a@domain.tld","id":6,
            "modified":null},{"active":"1","address":"@domain.tld","is_catch_all":1}]"#;
        let users = r#"[{"email":"John.Doe@example.com","enabled":true,"quota_bytes":1000000000}]"#;
        let principals = r#"{"data":{"items":[{"id":90,"type":"individual","name":"jane","quota":0,
            "emails":"jane@example.org","roles":["user"]},{"type":"group","name":"all","emails":
            ["all@example.org","everybody@example.org"]}],"total":2}}"#;
        let principal = "/data/items/*/emails";
        for (json, select, expected) in [
            (mailboxes, &mailcow[..], &["info@doman3.tld"][..]),
            (aliases, &mailcow, &["alias@domain.tld", "@domain.tld"]),
            (users, &["/*/email"], &["John.Doe@example.com"]),
            (
                principals,
                &[principal],
                &["jane@example.org", "all@example.org", "everybody@example.org"],
            ),
            (r#"{"data":{"items":[],"total":0}}"#, &[principal], &[]),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(found(json, select), Ok(expected), "{json}");
        }
        let refused = r#"{"type":"about:blank","status":401,"title":"Unauthorized"}"#;
        assert!(found(refused, &[principal]).is_err() && found(refused, &mailcow).is_err());
    }

    #[test]
    fn what_leads_nowhere_or_is_no_json_is_an_error() {
        for (json, select) in [
            (r#"{"type":"error","msg":"access denied"}"#, "/*/username"),
            (r#"[{"type":"danger","msg":"access denied"}]"#, "/*/username"),
            (r#"{"error":"unauthorized"}"#, "/data/items/*/emails"),
            (r#"{"data":{"items":null}}"#, "/data/items/*/emails"),
            (r#"[{"u":7}]"#, "/*/u"),
            (r#"[{"u":true}]"#, "/*/u"),
            (r#"[{"u":{"x":"a"}}]"#, "/*/u"),
            (r#"["a",7]"#, "/*"),
            (r#"["a"]"#, "/u"),
            (r#"["a"]"#, "/1"),
            ("null", ""),
        ] {
            let why = found(json, &[select]).expect_err(json);
            assert!(why.starts_with("select finds no"), "{json}: {why}");
        }
        let deep = "[".repeat(1_000_000);
        for json in
            ["", "[", r#"["a","#, r#"["a"] "b""#, r#"["a"]]"#, "<html>", "[\"\\ud800\"]", &deep]
        {
            let why = found(json, &["/*"]).expect_err("no JSON");
            assert!(why.starts_with("it is no JSON: "), "{why}");
        }
        let whole = r#"{"data":[{"u":"a@b.example"},{"u":"c@b.example"}]}"#;
        for cut in 0..whole.len() {
            assert!(found(&whole[..cut], &["/data/*/u"]).is_err(), "{cut}");
        }
    }
}
