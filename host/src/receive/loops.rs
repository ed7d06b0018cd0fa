//! Mail that comes back from the host that it was delivered to.
//!
//! The id in our Received field carries tags: a keyed MAC over the id and each domain that the
//! message is held for. A message has returned when a field with the tag of one of its domains
//! stands in its header, and it came from an address that this domain's mail is delivered to. Once
//! is a host that hands its mail to us while it is away. Twice is a circle.
//!
//! A message has tags for a few domains only. For others its circle ends one round later: what
//! their host hands back is for that domain alone, and gets its tag then.
//!
//! Nothing is kept of the messages, and nobody else can write such a field: copied into other mail
//! it counts only from that host, and for that domain.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postern_core::time::Instant;
use postern_spool::clock::Clock;
use postern_spool::{Domain, MsgId};
use ring::hmac;

/// Domains of one message that have a tag.
const TAGS_MAX: usize = 4;
/// Octets of a tag: 80 bits, in hexadecimal digits.
const TAG_DIGITS: usize = 20;
/// Octets of an id with its tags.
const MARK_MAX: usize = 36 + TAGS_MAX * (1 + TAG_DIGITS);
/// Addresses that are remembered of one domain's host.
const ADDRESSES_MAX: usize = 8;
/// Different messages that go in circles within [`SUSPEND_WITHIN`], at which their domain is
/// suspended.
const SUSPEND_AT: usize = 3;
const SUSPEND_WITHIN: Duration = Duration::from_secs(60 * 60);

/// What is known of where mail went, and of what came back.
#[derive(Debug)]
pub struct Loops {
    key: hmac::Key,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where each domain's mail was delivered to.
    addresses: HashMap<Domain, VecDeque<IpAddr>>,
    /// Where the mail of all others was: there may be very many.
    relay: VecDeque<IpAddr>,
    /// Messages that came back for the second time.
    circling: HashMap<Domain, Vec<(Instant, MsgId)>>,
    /// Domains with too many of those.
    suspects: HashSet<Domain>,
}

impl Loops {
    /// Tags are made with `key`, which nobody else has.
    pub fn new(key: &[u8; 32], clock: Clock) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { key, clock, known: Mutex::default() }
    }

    /// The id for the Received field of a message that is held for `domains`.
    pub fn mark<'d>(&self, id: MsgId, domains: impl IntoIterator<Item = &'d Domain>) -> String {
        let mut mark = id.to_string();
        for domain in domains.into_iter().take(TAGS_MAX) {
            mark.push('/');
            mark.push_str(&self.tag(id, domain));
        }
        mark
    }

    fn tag(&self, id: MsgId, domain: &Domain) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(id.as_bytes());
        context.update(domain.as_str().as_bytes());
        let tag = context.sign();
        let octets = tag.as_ref().iter().take(TAG_DIGITS / 2);
        octets.map(|octet| format!("{octet:02x}")).collect()
    }

    /// A connection to `address` was opened, to deliver mail of `domain`.
    pub fn delivers_to(&self, domain: &Domain, address: IpAddr) {
        note(self.known().addresses.entry(domain.clone()).or_default(), address);
    }

    /// A connection to `address` was opened, to deliver mail of domains that are not held.
    pub fn relays_to(&self, address: IpAddr) {
        note(&mut self.known().relay, address);
    }

    /// What looks for returns in a message that `client` sends for `domains`; none where none of
    /// them is delivered to there.
    pub fn scan<'d>(
        self: &Arc<Self>,
        client: IpAddr,
        domains: impl IntoIterator<Item = &'d Domain>,
    ) -> Option<Scan> {
        let known = self.known();
        let is_relay = known.relay.contains(&client);
        let returns_from = |domain: &&Domain| {
            let own = known.addresses.get(*domain);
            is_relay || own.is_some_and(|addresses| addresses.contains(&client))
        };
        let returns = domains.into_iter().filter(returns_from);
        let returns: Vec<_> = returns.map(|domain| Returns::none(domain.clone())).collect();
        (!returns.is_empty()).then(|| Scan::new(Arc::clone(self), returns))
    }

    /// The reason why `domain` is to be suspended, told once.
    pub fn suspends(&self, domain: &Domain) -> Option<String> {
        self.known().suspects.remove(domain).then(|| {
            format!("{SUSPEND_AT} messages within an hour came back twice from the domain's host")
        })
    }

    fn circled(&self, domain: &Domain, id: MsgId) {
        let now = self.clock.instant();
        let mut known = self.known();
        let circling = known.circling.entry(domain.clone()).or_default();
        circling.retain(|(at, known)| now < at.after(SUSPEND_WITHIN) && *known != id);
        circling.push((now, id));
        if circling.len() >= SUSPEND_AT {
            known.circling.remove(domain);
            known.suspects.insert(domain.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn note(addresses: &mut VecDeque<IpAddr>, address: IpAddr) {
    addresses.retain(|known| *known != address);
    addresses.truncate(ADDRESSES_MAX - 1);
    addresses.push_front(address);
}

/// What stands in one header about one domain.
#[derive(Debug)]
struct Returns {
    domain: Domain,
    count: u32,
    /// The id that the message had at first: the lowest field is the oldest.
    first: Option<MsgId>,
}

impl Returns {
    const fn none(domain: Domain) -> Self {
        Self { domain, count: 0, first: None }
    }
}

/// Reads the Received fields of a message that passes by in pieces of any size.
#[derive(Debug)]
pub struct Scan {
    loops: Arc<Loops>,
    returns: Vec<Returns>,
    place: Place,
    /// The word that is being read, as far as it may be an id with tags.
    word: Vec<u8>,
    /// The word before was `id`.
    is_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a line whose octets so far are the first of the field's name.
    Name(usize),
    /// Behind the name, before the colon.
    Colon,
    /// In the field's body.
    Field,
    /// At the start of a line that goes on with the field, if it begins with white space.
    Folded,
    /// In a line of another field.
    Other,
    /// Behind the header.
    Body,
}

impl Scan {
    fn new(loops: Arc<Loops>, returns: Vec<Returns>) -> Self {
        let word = Vec::with_capacity(MARK_MAX + 1);
        Self { loops, returns, place: Place::Name(0), word, is_id: false }
    }

    /// Reads the next piece of the message.
    pub fn feed(&mut self, piece: &[u8]) {
        for octet in piece {
            if self.place == Place::Body {
                return;
            }
            self.place = self.after(*octet);
        }
    }

    /// Whether the message, now read to its end, is in a circle: then it is to be refused, and
    /// counts against its domain.
    pub fn ends_in_circle(&self) -> bool {
        let circling = |returns: &&Returns| returns.count > 1;
        let Some(Returns { domain, first: Some(id), .. }) = self.returns.iter().find(circling)
        else {
            return false;
        };
        self.loops.circled(domain, *id);
        true
    }

    fn after(&mut self, octet: u8) -> Place {
        const NAME: &[u8] = b"received";
        let place = match (self.place, octet) {
            (Place::Folded, b' ' | b'\t') => Place::Field,
            (Place::Folded, _) => Place::Name(0),
            (place, _) => place,
        };
        match (place, octet) {
            (Place::Name(0), b'\r') => Place::Body,
            (Place::Field, b'\n') => {
                self.end_word();
                Place::Folded
            }
            (_, b'\n') => Place::Name(0),
            (Place::Name(matched), _) if matched < NAME.len() => {
                let alike = NAME[matched].eq_ignore_ascii_case(&octet);
                if alike { Place::Name(matched + 1) } else { Place::Other }
            }
            (Place::Name(_) | Place::Colon, b' ' | b'\t') => Place::Colon,
            (Place::Name(_) | Place::Colon, b':') => {
                self.is_id = false;
                self.word.clear();
                Place::Field
            }
            (Place::Field, _) => {
                self.read(octet);
                Place::Field
            }
            _ => Place::Other,
        }
    }

    fn read(&mut self, octet: u8) {
        if matches!(octet, b' ' | b'\t' | b'\r' | b';') {
            self.end_word();
        } else if self.word.len() <= MARK_MAX {
            self.word.push(octet);
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        if self.is_id {
            self.note();
        }
        self.is_id = self.word.eq_ignore_ascii_case(b"id");
        self.word.clear();
    }

    /// Counts the word if it is an id of ours.
    fn note(&mut self) {
        let Ok(word) = str::from_utf8(&self.word) else { return };
        let mut parts = word.split('/');
        let Some(Ok(id)) = parts.next().map(str::parse::<MsgId>) else { return };
        for returns in &mut self.returns {
            let tag = self.loops.tag(id, &returns.domain);
            if parts.clone().any(|part| part == tag) {
                returns.count += 1;
                returns.first = Some(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_core::time::Timestamp;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 25));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    struct Stand {
        loops: Arc<Loops>,
        clock: Clock,
        domain: Domain,
    }

    impl Stand {
        fn new() -> Self {
            let clock = Clock::manual(Timestamp { unix_seconds: 1_795_306_665, known: true });
            let loops = Arc::new(Loops::new(&[7; 32], clock.clone()));
            let domain = Domain::new("client.example");
            loops.delivers_to(&domain, HOST);
            Self { loops, clock, domain }
        }

        /// The field that we put on top of a message for the domain.
        fn received(&self, id: MsgId) -> String {
            let mark = self.loops.mark(id, [&Domain::new("first.example"), &self.domain]);
            format!("Received: from x ([192.0.2.1])\r\n by mx2.example\r\n id {mark};\r\n Sat\r\n")
        }

        fn circles(&self, client: IpAddr, domain: &Domain, message: &str) -> bool {
            let Some(mut scan) = self.loops.scan(client, [domain]) else { return false };
            for piece in message.as_bytes().chunks(7) {
                scan.feed(piece);
            }
            scan.ends_in_circle()
        }
    }

    #[test]
    fn the_first_return_is_taken_and_the_second_is_refused() {
        let stand = Stand::new();
        let hop = "Received: by primary.example id 7\r\n";
        let once = format!("{hop}{}Subject: hi\r\n\r\nhi\r\n", stand.received(MsgId::now()));
        assert!(!stand.circles(HOST, &stand.domain, &once));
        let twice = format!("{hop}{}{once}", stand.received(MsgId::now()));
        assert!(stand.circles(HOST, &stand.domain, &twice));
    }

    #[test]
    fn only_our_own_fields_count() {
        let stand = Stand::new();
        let (first, second) = (MsgId::now(), MsgId::now());
        let twice = stand.received(first) + &stand.received(second);
        let forged = Arc::new(Loops::new(&[8; 32], stand.clock.clone()));
        let mark = forged.mark(first, [&stand.domain]);
        let by_another_key = format!("Received: by mx2.example id {mark};\r\n").repeat(2);
        let unmarked = format!("Received: by mx2.example id {first};\r\n").repeat(2);
        let elsewhere = stand.loops.mark(first, [&Domain::new("other.example")]);
        let for_another = format!("Received: by mx2.example id {elsewhere};\r\n").repeat(2);
        let in_another_field = twice.replace("Received:", "X-Received:");
        let in_the_body = format!("Subject: hi\r\n\r\n{twice}");
        for (what, message) in [
            ("another key's", &by_another_key),
            ("without a tag", &unmarked),
            ("another domain's", &for_another),
            ("another field", &in_another_field),
            ("body", &in_the_body),
        ] {
            assert!(!stand.circles(HOST, &stand.domain, message), "{what}");
        }
        assert!(stand.circles(HOST, &stand.domain, &twice.replace("Received:", "RECEIVED :")));
    }

    /// A client may forward its mail to another domain that is held here, and anybody may copy our
    /// fields into mail of his own.
    #[test]
    fn mail_from_elsewhere_or_for_another_domain_is_no_loop() {
        let stand = Stand::new();
        let twice = stand.received(MsgId::now()) + &stand.received(MsgId::now());
        assert!(!stand.circles(OTHER, &stand.domain, &twice));
        let forwarded = Domain::new("second.example");
        stand.loops.delivers_to(&forwarded, HOST);
        assert!(!stand.circles(HOST, &forwarded, &twice));
        assert_eq!(stand.loops.suspends(&stand.domain), None);
    }

    #[test]
    fn what_comes_back_from_the_relay_twice_is_in_a_circle() {
        let stand = Stand::new();
        let far = Domain::new("far.example");
        let field = || {
            format!("Received: by mx2.example id {};\r\n", stand.loops.mark(MsgId::now(), [&far]))
        };
        let twice = field() + &field();
        assert!(!stand.circles(OTHER, &far, &twice), "it may be anybody");
        stand.loops.relays_to(OTHER);
        assert!(!stand.circles(OTHER, &far, &field()));
        assert!(stand.circles(OTHER, &far, &twice));
    }

    #[test]
    fn three_different_messages_within_an_hour_suspend_the_domain() {
        let stand = Stand::new();
        let circle = |first: MsgId| {
            let message = stand.received(MsgId::now()) + &stand.received(first);
            assert!(stand.circles(HOST, &stand.domain, &message));
            stand.loops.suspends(&stand.domain).is_some()
        };
        let ids: Vec<_> = std::iter::repeat_with(MsgId::now).take(5).collect();
        assert!(!circle(ids[0]) && !circle(ids[1]) && !circle(ids[1]), "two different ones");
        stand.clock.advance(SUSPEND_WITHIN);
        assert!(!circle(ids[2]) && !circle(ids[3]), "the first two are too long ago");
        assert!(circle(ids[4]));
        assert_eq!(stand.loops.suspends(&stand.domain), None, "told once");
    }

    /// What a host gets, and hands back, is for its own domain alone.
    #[test]
    fn a_domain_without_a_tag_ends_its_circle_one_round_later() {
        let stand = Stand::new();
        let others: Vec<_> =
            (0..TAGS_MAX).map(|nth| Domain::new(&format!("a{nth}.example"))).collect();
        let field = |domains: Vec<&Domain>| {
            format!("Received: by mx2.example id {};\r\n", stand.loops.mark(MsgId::now(), domains))
        };
        // How many returns are taken before the one that is refused.
        let taken = |others: &[Domain]| {
            let mut message = field(others.iter().chain([&stand.domain]).collect());
            let mut taken = 0;
            while !stand.circles(HOST, &stand.domain, &message) {
                message = field(vec![&stand.domain]) + &message;
                taken += 1;
            }
            taken
        };
        assert_eq!([taken(&others[1..]), taken(&others)], [1, 2]);
    }

    #[test]
    fn a_message_of_many_domains_is_marked_in_bounded_room() {
        let stand = Stand::new();
        let domains: Vec<_> = (0..100).map(|nth| Domain::new(&format!("d{nth}.example"))).collect();
        assert_eq!(stand.loops.mark(MsgId::now(), &domains).len(), MARK_MAX);
    }
}
