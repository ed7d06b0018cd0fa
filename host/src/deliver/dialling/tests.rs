use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use postern_core::time::Timestamp;
use postern_spool::clock::Clock;
use tokio::time::Instant;

use super::super::connector::{Connecting, Connector};
use super::*;

/// What becomes of a connection to each port.
#[derive(Debug, Clone, Copy)]
enum Course {
    Accepts { after_ms: u64 },
    Refuses { after_ms: u64 },
    Silent,
}

struct Hosts {
    courses: BTreeMap<u16, Course>,
    began: Instant,
    tried: Mutex<Vec<(u16, u128)>>,
}

impl Connector for Hosts {
    fn look_up<'c>(&'c self, name: &'c str, _: u16) -> Connecting<'c, Vec<SocketAddr>> {
        panic!("{name} is looked up")
    }

    fn connect(&self, address: SocketAddr) -> Connecting<'_, Stream> {
        let mut tried = self.tried.lock().expect("nobody panics with it");
        tried.push((address.port(), self.began.elapsed().as_millis()));
        let course = self.courses[&address.port()];
        Box::pin(async move {
            match course {
                Course::Accepts { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    let stream: Stream = Box::new(tokio::io::empty());
                    Ok(stream)
                }
                Course::Refuses { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Course::Silent => std::future::pending().await,
            }
        })
    }
}

/// The ports that accepted or failed, and when, in ms, and when each was tried.
type Seen = (Vec<(u16, bool, u128)>, Vec<(u16, u128)>);

async fn dial(courses: &[Course]) -> Seen {
    let hosts = Hosts {
        courses: (1..).zip(courses.iter().copied()).collect(),
        began: Instant::now(),
        tried: Mutex::default(),
    };
    let clock = Clock::manual(Timestamp { unix_seconds: 0, known: false });
    let told = Told::new(None, &clock);
    let dial = Dial { connector: &hosts, within: Duration::from_secs(30), told };
    let addresses: Vec<_> =
        hosts.courses.keys().map(|port| ([192, 0, 2, 1], *port).into()).collect();
    let (mut dialling, mut seen) = (Dialling::new(dial, addresses), Vec::new());
    while let Some((address, connected)) = dialling.next().await {
        seen.push((address.port(), connected.is_ok(), hosts.began.elapsed().as_millis()));
    }
    let tried = hosts.tried.lock().expect("nobody panics with it").clone();
    (seen, tried)
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_costs_a_quarter_of_a_second() {
    let (seen, _) = dial(&[Course::Silent, Course::Accepts { after_ms: 40 }]).await;
    assert_eq!(seen, [(2, true, 290), (1, false, 30_000)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_is_tried_alone() {
    let both = [Course::Accepts { after_ms: 200 }, Course::Accepts { after_ms: 1 }];
    let (seen, tried) = dial(&both).await;
    assert_eq!(seen, [(1, true, 200), (2, true, 201)], "the second only behind the first");
    assert_eq!(tried, [(1, 0), (2, 200)]);
}

#[tokio::test(start_paused = true)]
async fn behind_one_that_refuses_the_next_is_tried_at_once() {
    let courses = [
        Course::Silent,
        Course::Refuses { after_ms: 10 },
        Course::Silent,
        Course::Accepts { after_ms: 5 },
    ];
    let (seen, tried) = dial(&courses).await;
    assert_eq!(tried, [(1, 0), (2, 250), (3, 260), (4, 510)]);
    assert_eq!(seen[..2], [(2, false, 260), (4, true, 515)]);
    assert_eq!(seen[2..], [(1, false, 30_000), (3, false, 30_260)]);
}

#[tokio::test(start_paused = true)]
async fn a_host_with_one_address_has_all_of_its_time() {
    let (seen, _) = dial(&[Course::Accepts { after_ms: 29_999 }]).await;
    assert_eq!(seen, [(1, true, 29_999)]);
    let (seen, _) = dial(&[Course::Silent]).await;
    assert_eq!(seen, [(1, false, 30_000)]);
    assert_eq!(dial(&[]).await.0, []);
}
